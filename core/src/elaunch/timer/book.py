"""What a file timer server knows: from lines of a pipe to timers that have expired.

No clock, no I/O: both are given. Times are of a clock that nobody sets; what a client
says, in Unix time, counts from the moment at which it was read.
"""

import json
import select
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from elaunch.timer.file_client import FileTimerRequest
from elaunch.timer.processes import Holder


LINE_LIMIT = select.PIPE_BUF + 1
"""Bytes of a line, with its end: torch's clients don't count that."""

TIMERS_LIMIT = 1024
"""Timers that one process may hold."""


class Timer(NamedTuple):
    """One timer that runs.

    Attributes:
        request: What was asked for.
        holder: Whose it is.
        deadline: When it expires, by the server's clock.
    """

    request: FileTimerRequest
    holder: Holder
    deadline: float


class Lines:
    """Makes whole lines of what a pipe gives; one that is too long is left out."""

    def __init__(self) -> None:
        self._rest = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are whole now, without their ends."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines and self._skipping:
            del lines[0]
            self._skipping = False
        if len(self._rest) >= LINE_LIMIT:
            self._rest, self._skipping = b"", True
        return [line for line in lines if 0 < len(line) < LINE_LIMIT]


def parsed(line: bytes) -> FileTimerRequest | None:
    """Return what a line asks for, `None` if it is none that a client writes."""
    try:
        told: Any = json.loads(line)
        pid, signum = int(told["pid"]), int(told["signal"])
        when = float(told["expiration_time"])
        scope = str(told["scope_id"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    # Neither a process group, nor init, nor what is no number.
    if pid <= 1 or signum > _LAST_SIGNAL or when != when:  # noqa: PLR0124 - a NaN
        return None
    return FileTimerRequest(pid, scope, when, signum)


_LAST_SIGNAL = 64


class Book:
    """The timers of one server.

    Args:
        find: Returns a process whose timers count, by its id; else `None`.
    """

    def __init__(self, find: Callable[[int], Holder | None]) -> None:
        self._find = find
        self._timers: dict[int, dict[str, Timer]] = {}

    def take(
        self, requests: Sequence[FileTimerRequest], *, now: float, unix: float
    ) -> list[FileTimerRequest]:
        """Take requests; return those that are refused.

        Args:
            requests: What was asked for, in its order.
            now: The time by the server's clock.
            unix: The Unix time.
        """
        return [each for each in requests if not self._take(each, now, unix)]

    def _take(self, request: FileTimerRequest, now: float, unix: float) -> bool:
        pid, scope = request.worker_pid, request.scope_id
        if request.expiration_time < 0:
            mine = self._timers.get(pid, {})
            mine.pop(scope, None)
            if not mine:
                self._timers.pop(pid, None)
            return True
        holder = self._find(pid)
        mine = self._timers.get(pid, {})
        if holder is None or (len(mine) >= TIMERS_LIMIT and scope not in mine):
            return False
        timer = Timer(request, holder, now + request.expiration_time - unix)
        self._timers.setdefault(pid, {})[scope] = timer
        return True

    def next_deadline(self) -> float | None:
        """Return when the first timer expires."""
        times = (t.deadline for mine in self._timers.values() for t in mine.values())
        return min(times, default=None)

    def expire(self, now: float) -> list[list[Timer]]:
        """Take out the timers of each process that has one which expired.

        Returns:
            Of each such process that still runs, those that expired, first the
            earliest. Its other timers are gone too, as it soon is; if none of those
            that expired has a signal, it lives on with its others.
        """
        found = []
        for pid, mine in list(self._timers.items()):
            over = sorted(
                (timer for timer in mine.values() if timer.deadline <= now),
                key=lambda timer: timer.deadline,
            )
            if not over:
                continue
            self._forget(pid, over)
            if over[0].holder.is_there():
                found.append(over)
        return found

    def _forget(self, pid: int, over: Sequence[Timer]) -> None:
        mine = self._timers.pop(pid)
        if killing(over) is None:
            kept = {timer.request.scope_id for timer in over}
            rest = {scope: timer for scope, timer in mine.items() if scope not in kept}
            if rest:
                self._timers[pid] = rest


def killing(over: Sequence[Timer]) -> Timer | None:
    """Return which of a process's expired timers kills it: the first with a signal."""
    return next((timer for timer in over if timer.request.signal > 0), None)
