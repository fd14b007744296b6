"""Stacks on demand: on a signal a process writes where its threads are.

The handler is written in C and needs neither the interpreter's lock nor a thread that
listens, so that it works in a process that hangs. The signal and the file are told by
variables; the signal is a real-time one that programs hardly use.
"""

import contextlib
import faulthandler
import os


FILE = "ELAUNCH_STACK_FILE"
"""Variable that names the file to which stacks are written."""

SIGNAL = "ELAUNCH_STACK_SIGNAL"
"""Variable with the number of the signal; not there where the system has none."""

_OUT_OF_REACH = 800  # programs that close all descriptors rarely go so far

_prepared = False


def prepare() -> None:
    """Let the agent ask this process, and those that it forks, for their stacks.

    The channel does it when it is used first. An agent that has not prepared its
    workers by itself can ask only then. Twice is fine; without an agent, or where
    anything goes wrong, nothing happens.
    """
    global _prepared  # noqa: PLW0603 - a process has one handler for a signal
    path, signum = os.environ.get(FILE), os.environ.get(SIGNAL)
    if _prepared or not path or not signum:
        return
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        descriptor = out_of_reach(
            os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        )
        faulthandler.register(int(signum), file=descriptor, all_threads=True)
        _prepared = True


def out_of_reach(descriptor: int) -> int:
    """Return a descriptor in place of another that programs hardly close or reuse."""
    import fcntl  # which not every system has

    with contextlib.suppress(OSError):  # the limit of open files is lower
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_REACH)
        os.close(descriptor)
        return high
    return descriptor
