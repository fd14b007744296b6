"""The names of signals, as flags give them, and which of them mean what to an agent."""

import signal

from elaunch.errors import UsageError, suggestion


END_SIGNALS: tuple[int, ...] = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
)
"""What ends an agent in good order."""

PREEMPTION_SIGNAL = signal.SIGTERM
"""How a scheduler, a cluster or a service manager takes a node away."""

NO_SIGNAL = "none"
"""Stands for no signal at all."""

_NOT_FOR_NOTICES = frozenset(
    {
        *END_SIGNALS,
        *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD),
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
    }
)
"""What ends an agent, what it can't handle, and what means something else to it."""


def notice_signal(name: str) -> int | None:
    """Return the signal that announces a preemption, `None` for none.

    Raises:
        UsageError: If there is no such signal, or an agent can't take it for that.
    """
    if name.lower() == NO_SIGNAL:
        return None
    number = _number(name, "notice_signal", f"a name like SIGUSR1, or {NO_SIGNAL!r}")
    if number in _NOT_FOR_NOTICES:
        raise UsageError(
            f"notice_signal can't be {number.name!r}: an agent ends by that signal or "
            f"can't handle it; use SIGUSR1, SIGUSR2 or another of its kind"
        )
    return number


def stop_signal(name: str) -> int:
    """Return the signal that stops workers.

    Raises:
        UsageError: If there is no such signal, or it can't be handled.
    """
    number = _number(name, "stop_signal", "a name like SIGTERM")
    if number in (signal.SIGKILL, signal.SIGSTOP):
        raise UsageError(
            f"stop_signal can't be {number.name!r}: no worker can handle it; for "
            f"workers that are killed at once use shutdown_timeout 0"
        )
    return number


def _number(name: str, field: str, wanted: str) -> signal.Signals:
    known = signal.Signals.__members__
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    if full not in known:
        raise UsageError(
            f"{field} must be {wanted}, not {name!r}{suggestion(full, known)}"
        )
    return known[full]
