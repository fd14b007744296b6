"""Which workers have ended: nobody tells a monitor, and an end is no silence."""

import os
from collections.abc import Mapping

from elaunch.process_state import stat_fields


class Ends:
    """Tells whether a worker has ended.

    Args:
        pids: Process id by local rank.
    """

    def __init__(self, pids: Mapping[int, int]) -> None:
        self._pids = pids
        self._started = {rank: _start(pid) for rank, pid in pids.items()}

    def __call__(self, rank: int) -> bool:
        """Return whether the worker of a local rank has ended."""
        pid = self._pids[rank]
        return _is_gone(pid) or _start(pid) != self._started[rank]

    def below(self, rank: int, pid: int) -> bool:
        """Return whether a process of a worker has ended.

        Args:
            rank: The worker, by local rank.
            pid: The process: the worker itself, one below it, or 0 for nobody knows.
        """
        return self(rank) if pid in (0, self._pids[rank]) else _is_gone(pid)


def _is_gone(pid: int) -> bool:
    """Whether no process of an id runs."""
    if fields := stat_fields(pid):
        return fields[0] in ("Z", "X")
    try:  # also on a system without /proc
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _start(pid: int) -> str:
    """Return when a process was started, by which it differs from a later one."""
    fields = stat_fields(pid)
    return fields[19] if fields else ""
