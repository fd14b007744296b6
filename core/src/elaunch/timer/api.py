"""What a timer is asked for with, and the two sides: who asks and who watches."""

import contextlib
import logging
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any


logger = logging.getLogger(__name__)


class TimerRequest:
    """One timer that is acquired or released.

    Attributes:
        worker_id: Whose it is; what that is depends on client and server.
        scope_id: Which of the worker's timers it is.
        expiration_time: Unix time in seconds at which it expires; below 0 it is
            released.
    """

    __slots__ = ("expiration_time", "scope_id", "worker_id")

    def __init__(self, worker_id: Any, scope_id: str, expiration_time: float) -> None:
        self.worker_id = worker_id
        self.scope_id = scope_id
        self.expiration_time = expiration_time

    def _facts(self) -> tuple[Hashable, ...]:
        return (self.worker_id, self.scope_id, self.expiration_time)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._facts() == other._facts()

    def __hash__(self) -> int:
        return hash(self._facts())

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._facts()!r}"


class TimerClient(ABC):
    """A worker's side: tells the server of its timers."""

    @abstractmethod
    def acquire(self, scope_id: str, expiration_time: float) -> None:
        """Start a timer, or start it anew.

        Args:
            scope_id: Which one.
            expiration_time: Unix time in seconds at which it expires.
        """

    @abstractmethod
    def release(self, scope_id: str) -> None:
        """End a timer."""


class RequestQueue(ABC):
    """What a server reads requests from."""

    @abstractmethod
    def size(self) -> int:
        """Return how many requests are there at least."""

    @abstractmethod
    def get(self, size: int, timeout: float) -> list[TimerRequest]:
        """Wait for requests.

        Args:
            size: Most requests to return.
            timeout: Seconds after which those that came are returned.
        """

    def wake(self) -> None:  # noqa: B027 - not every queue can
        """Let a waiting `get` return at once, where that is possible."""


class TimerServer(ABC):
    """Watches timers in a thread, and reaps workers whose timers expire.

    Args:
        request_queue: Where requests come from.
        max_interval: Most seconds between two looks at the timers.
        daemon: Whether the process may end while the thread runs.
    """

    def __init__(
        self,
        request_queue: RequestQueue,
        max_interval: float,
        daemon: bool = True,  # noqa: FBT001, FBT002 - torchelastic's signature
    ) -> None:
        self._request_queue = request_queue
        self._max_interval = max_interval
        self._daemon = daemon
        self._watchdog_thread: threading.Thread | None = None
        self._stop_signaled = False

    @abstractmethod
    def register_timers(self, timer_requests: list[TimerRequest]) -> None:
        """Take requests; one that expires before 0 releases its timer."""

    @abstractmethod
    def clear_timers(self, worker_ids: set[Any]) -> None:
        """Forget all timers of these workers."""

    @abstractmethod
    def get_expired_timers(
        self, deadline: float
    ) -> Mapping[Any, Sequence[TimerRequest]]:
        """Return the timers that expire at a time or before, by worker."""

    @abstractmethod
    def _reap_worker(self, worker_id: Any) -> bool:
        """End a worker; return whether that went well. If not, it is tried again."""

    def next_expiration(self) -> float | None:
        """Return when the first timer expires, where that is known."""
        return None

    def start(self) -> None:
        """Begin to watch."""
        self._stop_signaled = False
        self._watchdog_thread = threading.Thread(
            target=self._watchdog_loop, name="elaunch-timers", daemon=self._daemon
        )
        self._watchdog_thread.start()

    def stop(self) -> None:
        """End the thread. Twice is fine."""
        self._stop_signaled = True
        thread, self._watchdog_thread = self._watchdog_thread, None
        if thread:
            self._request_queue.wake()
            thread.join(self._max_interval)

    def _watchdog_loop(self) -> None:
        while not self._stop_signaled:
            try:
                self._run_watchdog()
            except Exception:  # the workers of the others are still watched
                logger.exception("the timer server failed, and goes on")

    def _run_watchdog(self) -> None:
        size = max(1, self._request_queue.size())
        self.register_timers(self._request_queue.get(size, self._patience()))
        reaped = {
            worker_id
            for worker_id, timers in self.get_expired_timers(time.time()).items()
            if self._reap(worker_id, timers)
        }
        self.clear_timers(reaped)

    def _patience(self) -> float:
        expiration = self.next_expiration()
        if expiration is None:
            return self._max_interval
        return min(self._max_interval, max(0.0, expiration - time.time()))

    def _reap(self, worker_id: Any, timers: Sequence[TimerRequest]) -> bool:
        scopes = [timer.scope_id for timer in timers]
        logger.warning("timers %s of worker %s have expired", scopes, worker_id)
        try:
            return self._reap_worker(worker_id)
        except Exception:
            logger.exception("worker %s counts as reaped, which failed", worker_id)
            return True


_configured: list[TimerClient] = []


def configure(timer_client: TimerClient) -> None:
    """Name the client that `expires` uses if it is given none."""
    _configured[:] = [timer_client]


@contextlib.contextmanager
def expires(
    after: float, scope: str | None = None, client: TimerClient | None = None
) -> Iterator[None]:
    """Run a block that must end in time, or its process is killed.

    Args:
        after: Seconds that it has.
        scope: Which timer of this process it is; by default one for each place in the
            code, so that a function that calls itself starts the same one anew.
        client: Who tells the server; by default the one given to `configure`.

    Raises:
        RuntimeError: If there is no client.
    """
    if client is None:
        if not _configured:
            raise RuntimeError(
                "there is no timer client; call elaunch.timer.configure(client) first"
            )
        client = _configured[0]
    if scope is None:
        caller = sys._getframe(2)  # noqa: SLF001 - past contextlib, who asks
        scope = f"{caller.f_code.co_filename}#{caller.f_lineno}"
    client.acquire(scope, time.time() + after)
    try:
        yield
    finally:
        client.release(scope)
