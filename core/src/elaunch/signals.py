"""The names of signals, as flags give them, and which of them mean what to an agent."""

import signal

import attrs

from elaunch.errors import UsageError
from elaunch.text import suggestion


END_SIGNALS: tuple[int, ...] = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
)
"""What ends an agent in good order, if nobody says otherwise."""

NOTICE_SIGNAL = signal.SIGUSR1
"""What announces a preemption, likewise."""

PREEMPTION_SIGNAL = signal.SIGTERM
"""How a scheduler, a cluster or a service manager takes a node away."""

NO_SIGNAL = "none"
"""Stands for no signal at all."""

_NOT_FOR_AGENTS = frozenset(
    {
        *(signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD),
        *(signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT),
    }
)
"""What an agent can't handle, and what means something else to it."""


@attrs.frozen
class AgentSignals:
    """The signals that an agent handles.

    Attributes:
        end: Those that end it in good order.
        notice: The one that announces a preemption, `None` for none.
    """

    end: tuple[int, ...] = END_SIGNALS
    notice: int | None = NOTICE_SIGNAL


def agent_signals(end: str, notice: str) -> AgentSignals:
    """Return what an agent handles.

    Args:
        end: Names of the signals that end it, separated by commas.
        notice: Name of the one that announces a preemption, or ``none``. The default
            one does not, where it ends the agent.

    Raises:
        UsageError: If there is no such signal, an agent can't handle it, or one is
            asked to mean both.
    """
    ending = end_signals(end)
    noticing = notice_signal(notice)
    if noticing == NOTICE_SIGNAL and noticing in ending:
        noticing = None
    if noticing in ending:
        raise UsageError(
            f"signal {notice!r} is both in signals_to_handle, which end the agent, and "
            f"the notice_signal; leave it out of one of them"
        )
    return AgentSignals(ending, noticing)


def end_signals(names: str) -> tuple[int, ...]:
    """Return the signals that end an agent in good order, from their names.

    Raises:
        UsageError: If there is no such signal, or it can't be handled.
    """
    found: list[int] = []
    for name in filter(None, map(str.strip, names.split(","))):
        number = _number(name, "signals_to_handle", "names like SIGTERM,SIGINT")
        if number in _NOT_FOR_AGENTS:
            raise UsageError(
                f"signals_to_handle can't have {number.name!r}: no agent can handle it"
            )
        found.append(number)
    return tuple(dict.fromkeys(found))


def notice_signal(name: str) -> int | None:
    """Return the signal that announces a preemption, `None` for none.

    Raises:
        UsageError: If there is no such signal, or an agent can't take it for that.
    """
    if name.lower() == NO_SIGNAL:
        return None
    number = _number(name, "notice_signal", f"a name like SIGUSR1, or {NO_SIGNAL!r}")
    if number in _NOT_FOR_AGENTS or number in END_SIGNALS:
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
