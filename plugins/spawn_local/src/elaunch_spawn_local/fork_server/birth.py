"""From the fork to the worker: what a child does before it is what was asked for."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import warnings  # noqa: F401 - `os.execvpe` wants it: once here, not in each child


TYPE_CHECKING = False  # see `frames`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


IGNORED = tuple(
    getattr(signal, name)
    for name in (
        *("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGTTOU", "SIGTSTP"),
        *("SIGUSR1", "SIGUSR2"),
    )
)
"""What the fork server ignores: whoever stops the job says so to the agent.

So does who announces a preemption; a scheduler may signal all processes of a node.
"""

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36


def ignore_signals() -> dict[int, Any]:
    """Ignore what is the agent's business; return the handlers that were there."""
    return {number: signal.signal(number, signal.SIG_IGN) for number in IGNORED}


def restore_signals(handlers: dict[int, Any]) -> None:
    """Undo `ignore_signals`, and what every Python program changes for itself."""
    for number, handler in handlers.items():
        # Of a handler that is not Python's there is nothing but `None`.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


def prctl() -> Callable[..., int] | None:
    """Return the system call of that name, looked up before any fork."""
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        call: Callable[..., int] = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    return call


def become_subreaper(call: Callable[..., int] | None) -> None:
    """Make orphans below this process its children."""
    if call:
        call(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_thread(call: Callable[..., int] | None, *, dies: bool) -> None:
    """Let the kernel kill this process when the thread that started it ends, or not."""
    if call:
        call(_PR_SET_PDEATHSIG, int(signal.SIGKILL) if dies else 0, 0, 0, 0)


def die_with_parent(call: Callable[..., int] | None, parent: int) -> None:
    """Let the kernel kill this process when the one that forked it ends."""
    if call:
        call(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it ended before the request was made
        os._exit(128 + signal.SIGKILL)


def settle(request: dict[str, Any], descriptors: tuple[int, ...]) -> None:
    """Take the place that was asked for: session, directory, processors, descriptors.

    Raises:
        OSError: If a step can't be done.
    """
    if request["terminal"]:
        _join_terminal(descriptors[0], request["lender"])
    else:
        os.setsid()
    os.chdir(request["directory"])
    if request["cpus"]:
        # Processors may have been taken away meanwhile: better anywhere than not.
        with contextlib.suppress(OSError, AttributeError):
            os.sched_setaffinity(0, request["cpus"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    for descriptor in descriptors:
        if descriptor >= len(descriptors):  # else it is one of those just made
            os.close(descriptor)


def _join_terminal(terminal: int, lender: int) -> None:
    """Become a process group of the agent's session, the one its terminal listens to.

    So Ctrl-C is this worker's alone. Ctrl-Z would stop it and leave the terminal with
    nobody to listen to, so it does nothing.

    Args:
        terminal: Descriptor of the terminal.
        lender: The process group that the terminal is taken from; 0 if there is none.
    """
    os.setpgid(0, 0)
    signal.signal(signal.SIGTSTP, signal.SIG_IGN)
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # it is no terminal, or another session's
        if lender and os.tcgetpgrp(terminal) == lender:
            os.tcsetpgrp(terminal, os.getpid())
    signal.signal(signal.SIGTTOU, before)


def run_program(argv: list[str], environment: dict[str, str]) -> None:
    """Become another program, found on the ``PATH`` of its environment.

    Raises:
        OSError: If it can't be started.
    """
    # Python ignores these for itself; a program is to find them as they are.
    for name in ("SIGPIPE", "SIGXFSZ"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    os.execvpe(argv[0], argv, environment)  # noqa: S606 - what the user names
