"""The worker's side of stack dumps: on a signal it writes where its threads are.

The handler is written in C and needs neither the interpreter's lock nor a thread that
listens, so that it works in a process that hangs. Nothing is imported here that a fresh
interpreter has not imported already: it would take longer than all the rest. A program
that nobody prepares does the same when it first speaks to its agent
(`elaunch.worker.stacks`).
"""

import faulthandler
import fcntl
import os


FILE = "ELAUNCH_STACK_FILE"
"""Variable that names the file to which stacks are written."""

SIGNAL = "ELAUNCH_STACK_SIGNAL"
"""Variable with the number of the signal; not there where the system has none."""

_OUT_OF_REACH = 800  # programs that close all descriptors rarely go so far


def register() -> None:
    """Write stacks to the end of the file whenever the signal comes."""
    path, signum = os.environ.get(FILE), os.environ.get(SIGNAL)
    if not path or not signum:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_REACH)
    except OSError:  # the limit of open files is lower
        high = descriptor
    else:
        os.close(descriptor)
    faulthandler.register(int(signum), file=high, all_threads=True)
