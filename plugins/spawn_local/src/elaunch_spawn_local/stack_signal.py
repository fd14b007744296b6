"""The worker's side of stack dumps: on a signal it writes where its threads are.

The handler is written in C and needs neither the interpreter's lock nor a thread that
listens, so that it works in a process that hangs. The standard library alone is used.
"""

import contextlib
import faulthandler
import fcntl
import os
import signal


SIGNUM = int(getattr(signal, "SIGRTMIN", 0)) and int(signal.SIGRTMIN) + 9
"""The signal; a real-time one, since programs have uses of their own for the others.

0 where the system has none.
"""

_OUT_OF_REACH = 800  # programs that close all descriptors rarely go so far


def register(path: str) -> None:
    """Write stacks to the end of a file whenever `SIGNUM` comes."""
    if not SIGNUM:
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with contextlib.suppress(OSError):  # the limit of open files is lower
        high = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_REACH)
        os.close(descriptor)
        descriptor = high
    faulthandler.register(SIGNUM, file=descriptor, all_threads=True)
