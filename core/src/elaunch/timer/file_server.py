"""Timers over a named pipe: a server in a thread, for launchers that are no elaunch.

elaunch's own agents watch the same pipe by the monitor `timer`.
"""

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Sequence

from elaunch.timer.book import Book, Lines, Timer, killing, parsed
from elaunch.timer.file_client import FileTimerRequest
from elaunch.timer.pipe import PipeReader, make_pipe
from elaunch.timer.processes import Holder, holder


logger = logging.getLogger(__name__)

LogEvent = Callable[[str, FileTimerRequest | None], None]
"""Told of "watchdog started", "timer expired", "kill worker process" and so on."""


class FileTimerServer:
    """Kills processes below this one whose timers expire.

    Unlike torch's it kills nobody else, least of all the process that it is in, and its
    thread ends with `stop` whether a client came or not.

    Args:
        file_path: The named pipe; it is made here.
        run_id: Id of the job, for the log.
        max_interval: Most seconds between two looks at the timers.
        daemon: Whether the process may end while the thread runs.
        log_event: Told what happens.
    """

    def __init__(
        self,
        file_path: str,
        run_id: str,
        max_interval: float = 10,
        daemon: bool = True,  # noqa: FBT001, FBT002 - torchelastic's signature
        log_event: LogEvent | None = None,
    ) -> None:
        self._file_path = file_path
        self._run_id = run_id
        self._max_interval = max_interval
        self._daemon = daemon
        self._log_event = log_event or _log_nothing
        self._book = Book(_below_this_process)
        self._lines = Lines()
        self._last_progress = time.time()
        self._came = False
        self._wake: int | None = None
        self._once = False
        self._thread: threading.Thread | None = None
        make_pipe(file_path)

    def start(self) -> None:
        """Begin to watch."""
        pipe = PipeReader(self._file_path)
        ending, self._wake = os.pipe()
        self._thread = threading.Thread(
            target=self._watch,
            args=(pipe, ending),
            name="elaunch-file-timers",
            daemon=self._daemon,
        )
        self._thread.start()
        self._log_event("watchdog started", None)

    def stop(self) -> None:
        """End the thread and remove the pipe. Twice is fine."""
        if self._end():
            self._log_event("watchdog stopped", None)

    def run_once(self) -> None:
        """Take what has come, look at the timers once more, and end."""
        self._once = True
        self._end()

    def get_last_progress_time(self) -> int:
        """Return the Unix time of the last look, or now if no client has come."""
        return int(self._last_progress if self._came else time.time())

    @staticmethod
    def is_process_running(pid: int) -> bool:
        """Whether there is a process of this id that may be signalled."""
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True

    def _end(self) -> bool:
        thread, self._thread = self._thread, None
        wake, self._wake = self._wake, None
        if wake is None or thread is None:
            return False
        os.close(wake)
        thread.join()
        return True

    def _watch(self, pipe: PipeReader, ending: int) -> None:
        selector = selectors.DefaultSelector()
        selector.register(pipe.fd, selectors.EVENT_READ)
        selector.register(ending, selectors.EVENT_READ)
        try:
            while True:
                ready = {key.fd for key, _ in selector.select(self._wait())}
                over = ending in ready
                if self._once:
                    pipe.drain(self._take)
                elif data := pipe.read():
                    self._take(data)
                if not over or self._once:
                    self._look()
                if over:
                    return
        finally:
            selector.close()
            pipe.close()
            os.close(ending)

    def _wait(self) -> float:
        deadline = self._book.next_deadline()
        if deadline is None:
            return self._max_interval
        return min(self._max_interval, max(0.0, deadline - time.monotonic()))

    def _take(self, data: bytes) -> None:
        self._came = True
        requests = [each for each in map(parsed, self._lines.feed(data)) if each]
        refused = self._book.take(requests, now=time.monotonic(), unix=time.time())
        for request in refused:
            logger.warning("job %s: a timer is refused: %r", self._run_id, request)

    def _look(self) -> None:
        for over in self._book.expire(time.monotonic()):
            self._expire(over)
        self._last_progress = time.time()

    def _expire(self, over: Sequence[Timer]) -> None:
        for timer in over:
            logger.warning("job %s: expired: %r", self._run_id, timer.request)
            self._log_event("timer expired", timer.request)
        fatal = killing(over)
        if fatal and fatal.holder.send(fatal.request.signal):
            self._log_event("kill worker process", fatal.request)


def _below_this_process(pid: int) -> Holder | None:
    own = os.getpid()
    found = holder(pid, {own})
    return found if found and found.pid != own else None


def _log_nothing(name: str, request: FileTimerRequest | None, /) -> None:
    """Nobody wants to know."""
