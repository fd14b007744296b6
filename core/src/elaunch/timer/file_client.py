"""Timers over a named pipe: a worker's side. One JSON line tells of one timer."""

import errno
import json
import os
import select
import signal
import time
from collections.abc import Hashable

from elaunch.timer.api import TimerClient, TimerRequest


TRIES = 10
"""How often a pipe that nobody reads is opened: the server may still start."""

BETWEEN_TRIES = 0.1
"""Seconds between two tries."""


class FileTimerRequest(TimerRequest):
    """One timer of a process, with the signal that is to kill it.

    Attributes:
        version: Version of the wire format.
        signal: Number of the signal; 0 or less for none.
    """

    __slots__ = ("signal", "version")

    def __init__(
        self, worker_pid: int, scope_id: str, expiration_time: float, signal: int = 0
    ) -> None:
        super().__init__(worker_pid, scope_id, expiration_time)
        self.version = 1
        self.signal = signal

    @property
    def worker_pid(self) -> int:
        """Process id of the worker."""
        return int(self.worker_id)

    def to_json(self) -> str:
        """Return the line that tells of it, without its end."""
        return json.dumps(
            {
                "version": self.version,
                "pid": self.worker_pid,
                "scope_id": self.scope_id,
                "expiration_time": self.expiration_time,
                "signal": self.signal,
            }
        )

    def _facts(self) -> tuple[Hashable, ...]:
        return (*super()._facts(), self.signal)


class FileTimerClient(TimerClient):
    """Tells a file timer server of this process's timers: elaunch's or torch's.

    Args:
        file_path: The named pipe that the server reads.
        signal: What kills this process when a timer expires; 0 or less for nothing.
    """

    def __init__(self, file_path: str, signal: int = signal.SIGKILL) -> None:
        self._file_path = file_path
        self.signal = signal

    def acquire(self, scope_id: str, expiration_time: float) -> None:
        """Start a timer.

        Raises:
            BrokenPipeError: If nobody reads the pipe.
            RuntimeError: If the name of the scope is too long for one write.
        """
        self._send(
            FileTimerRequest(os.getpid(), scope_id, expiration_time, self.signal)
        )

    def release(self, scope_id: str) -> None:
        """End a timer; raises as `acquire`."""
        self._send(FileTimerRequest(os.getpid(), scope_id, -1))

    def _send(self, request: FileTimerRequest) -> None:
        line = f"{request.to_json()}\n".encode()
        # What is longer may be torn by what others write at the same time.
        if len(line) > select.PIPE_BUF:
            raise RuntimeError(
                f"a timer's scope is too long: its line has {len(line)} bytes, and "
                f"{select.PIPE_BUF} are possible: {request.scope_id[:80]!r}..."
            )
        pipe = self._open()
        try:
            os.set_blocking(pipe, True)  # a full pipe is soon read
            os.write(pipe, line)
        finally:
            os.close(pipe)

    def _open(self) -> int:
        for left in reversed(range(TRIES)):
            try:
                return os.open(self._file_path, os.O_WRONLY | os.O_NONBLOCK)
            except OSError as error:
                if not left or error.errno not in (errno.ENXIO, errno.ENOENT):
                    raise BrokenPipeError(
                        f"no timer server reads {self._file_path!r}; is the monitor "
                        f"'timer' on? ({error})"
                    ) from error
            time.sleep(BETWEEN_TRIES)
        raise AssertionError("the last try returns or raises")
