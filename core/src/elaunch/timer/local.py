"""Timers over a queue: the server is in the process that started the workers."""

import logging
import os
import queue
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from elaunch.timer.api import RequestQueue, TimerClient, TimerRequest, TimerServer


logger = logging.getLogger(__name__)


class _Queue(Protocol):
    """What of a queue is needed: `multiprocessing.Queue` and `queue.Queue` have it."""

    def put(self, obj: Any, /) -> None:
        """Add one."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - theirs
        """Take one."""

    def qsize(self) -> int:
        """Return how many there are."""


class LocalTimerClient(TimerClient):
    """Tells a `LocalTimerServer` of this process's timers.

    Args:
        mp_queue: The queue that the server reads.
    """

    def __init__(self, mp_queue: _Queue) -> None:
        self._queue = mp_queue

    def acquire(self, scope_id: str, expiration_time: float) -> None:
        """Start a timer."""
        self._queue.put(TimerRequest(os.getpid(), scope_id, expiration_time))

    def release(self, scope_id: str) -> None:
        """End a timer."""
        self._queue.put(TimerRequest(os.getpid(), scope_id, -1))


class MultiprocessingRequestQueue(RequestQueue):
    """Requests of a `multiprocessing.Queue`."""

    def __init__(self, mp_queue: _Queue) -> None:
        self._queue = mp_queue

    def size(self) -> int:
        """Return how many there are."""
        return self._queue.qsize()

    def get(self, size: int, timeout: float) -> list[TimerRequest]:
        """Wait for requests."""
        requests: list[TimerRequest] = []
        deadline = time.monotonic() + timeout
        while len(requests) < size:
            left = max(0.0, deadline - time.monotonic())
            try:
                requests.append(self._queue.get(timeout=left))
            except queue.Empty:
                break
        return requests

    def wake(self) -> None:
        """Let a waiting `get` return: by the release of a timer that nobody has."""
        self._queue.put(TimerRequest(None, "", -1))


class LocalTimerServer(TimerServer):
    """Kills with SIGKILL whose timers expire.

    Args:
        mp_queue: The queue that the clients write.
        max_interval: Most seconds between two looks at the timers.
        daemon: Whether the process may end while the thread runs.
    """

    def __init__(
        self,
        mp_queue: _Queue,
        max_interval: float = 60,
        daemon: bool = True,  # noqa: FBT001, FBT002 - torchelastic's signature
    ) -> None:
        super().__init__(MultiprocessingRequestQueue(mp_queue), max_interval, daemon)
        self._timers: dict[tuple[int, str], TimerRequest] = {}

    def register_timers(self, timer_requests: list[TimerRequest]) -> None:
        """Take requests; one that expires before 0 releases its timer."""
        for request in timer_requests:
            key = (request.worker_id, request.scope_id)
            if request.expiration_time < 0:
                self._timers.pop(key, None)
            else:
                self._timers[key] = request

    def clear_timers(self, worker_ids: set[int]) -> None:
        """Forget all timers of these processes."""
        for key in [key for key in self._timers if key[0] in worker_ids]:
            del self._timers[key]

    def get_expired_timers(
        self, deadline: float
    ) -> Mapping[int, Sequence[TimerRequest]]:
        """Return the timers that expire at a time or before, by process id."""
        expired: dict[int, list[TimerRequest]] = {}
        for request in self._timers.values():
            if request.expiration_time <= deadline:
                expired.setdefault(request.worker_id, []).append(request)
        return expired

    def next_expiration(self) -> float | None:
        """Return when the first timer expires."""
        times = (request.expiration_time for request in self._timers.values())
        return min(times, default=None)

    def _reap_worker(self, worker_id: int) -> bool:
        try:
            os.kill(worker_id, signal.SIGKILL)
        except ProcessLookupError:
            return True
        except OSError:
            logger.exception("process %d can't be killed", worker_id)
            return False
        return True
