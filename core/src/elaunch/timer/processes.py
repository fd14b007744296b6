"""Processes as timers need them: whose one is, and that it is still the same."""

import errno
import os
import signal
from collections.abc import Collection
from typing import NamedTuple, Self

from elaunch.process_state import stat_fields


class Holder(NamedTuple):
    """A process that holds timers.

    Attributes:
        pid: Its id.
        root: The process that it is, or is below.
        started: When it was started, in the kernel's ticks; 0 where nothing tells.
    """

    pid: int
    root: int
    started: int

    def is_there(self) -> bool:
        """Whether it runs, and its id is not another's by now."""
        if not self.started:
            return _exists(self.pid)
        seen = _parent_and_start(self.pid)
        return seen is not None and seen[1] == self.started

    def send(self, signum: int) -> bool:
        """Send it a signal; return whether it got it."""
        try:
            with _handle(self.pid) as handle:
                if not self.is_there():
                    return False
                handle.send(signum)
        except (ProcessLookupError, PermissionError):  # gone, or another user's now
            return False
        return True


def holder(pid: int, roots: Collection[int]) -> Holder | None:
    """Return a process, if it is one of some processes or below one of them.

    Args:
        pid: Its id.
        roots: Ids of those processes.
    """
    first = _parent_and_start(pid)
    if first is None:  # gone, or a system without /proc
        return Holder(pid, pid, 0) if pid in roots and _exists(pid) else None
    root = pid
    while root not in roots:
        if root <= 1 or (seen := _parent_and_start(root)) is None:
            return None
        root = seen[0]
    return Holder(pid, root, first[1])


class _handle:  # noqa: N801 - used as a function
    """A process that can't become another one meanwhile, where the system allows."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._fd = -1

    def __enter__(self) -> Self:
        if hasattr(os, "pidfd_open"):
            try:
                self._fd = os.pidfd_open(self._pid)
            except OSError as error:
                if error.errno not in (errno.ENOSYS, errno.EPERM):
                    raise  # but for kernels and sandboxes that have none
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def send(self, signum: int) -> None:
        if self._fd >= 0:
            signal.pidfd_send_signal(self._fd, signum)
        else:
            os.kill(self._pid, signum)


def _parent_and_start(pid: int) -> tuple[int, int] | None:
    fields = stat_fields(pid)
    return (int(fields[1]), int(fields[19])) if fields else None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True
