"""The scribe: a process between workers and their files, for times and rotation.

A worker that writes its file itself can do neither. The scribe is a process of its own
so that no byte is lost with the agent: it reads until all workers have closed their
pipes, whoever else has died by then. It runs without site-packages. On stdin it is told
as JSON what to do. On stdout it tells, in lines, ``end N`` when stream N has been
written to its end, and ``error N TEXT`` the first time that a file can't be written.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time


_CHUNK = 64 * 1024


class Log:
    """A file that is continued, and begun anew when it is full.

    Args:
        path: The file.
        timestamps: Whether each line begins with the time at which it was read.
        max_bytes: Bytes of a full file; 0 for no limit.
        backups: How many full files are kept.
    """

    def __init__(
        self, path: str, *, timestamps: bool, max_bytes: int, backups: int
    ) -> None:
        self._path = path
        self._timestamps = timestamps
        self._max_bytes = max_bytes
        self._backups = backups
        self._fresh = True  # the next byte begins a line
        self._fd: int | None = None
        self._size = 0
        self._ends_a_line = True

    def take(self, data: bytes) -> None:
        """Write bytes.

        Raises:
            OSError: If they can't be written; they are lost.
        """
        if self._timestamps:
            data = self._stamped(data)
        if not self._max_bytes:
            self._write(data)
            return
        while data:
            room = self._max_bytes - self._size
            end = len(data)
            if end > room:
                # A file ends where a line does; one that has no line yet takes one.
                end = data.rfind(b"\n", 0, max(0, room)) + 1
                if not end and not self._size:
                    end = data.find(b"\n") + 1 or len(data)
            if not end:
                # The rest of a line goes where it began, unless it has no end.
                if self._ends_a_line or room < -_CHUNK:
                    self._rotate()
                    continue
                end = data.find(b"\n") + 1 or len(data)
            self._write(data[:end])
            data = data[end:]

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _stamped(self, data: bytes) -> bytes:
        seconds, thousandths = divmod(time.time_ns() // 1_000_000, 1000)
        day = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        stamp = f"{day}.{thousandths:03}Z ".encode()
        first = stamp if self._fresh else b""
        self._fresh = data.endswith(b"\n")
        body = data[:-1] if self._fresh else data
        last = b"\n" if self._fresh else b""
        return first + body.replace(b"\n", b"\n" + stamp) + last

    def _write(self, data: bytes) -> None:
        if self._fd is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._fd = os.open(self._path, flags, 0o666)
            self._size = os.fstat(self._fd).st_size
        self._ends_a_line = data.endswith(b"\n")
        view = memoryview(data)
        while view:
            written = os.write(self._fd, view)
            self._size += written
            view = view[written:]

    def _rotate(self) -> None:
        self.close()
        self._size = 0
        for number in range(self._backups, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                _rename(f"{self._path}.{number - 1}", f"{self._path}.{number}")
        if self._backups:
            _rename(self._path, f"{self._path}.1")
        else:
            os.unlink(self._path)  # noqa: PTH108 - as `_rename`


def _rename(old: str, new: str) -> None:
    os.replace(old, new)  # noqa: PTH105 - to import pathlib takes longer than to start


def main() -> None:
    """Do what stdin says, until all pipes have ended."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(signum, signal.SIG_IGN)  # the end of the workers ends it
    wishes = json.load(sys.stdin)
    shape = wishes["shape"]
    logs = {
        fd: (number, Log(path, **shape))
        for number, (fd, path) in enumerate(wishes["streams"])
    }
    broken: set[int] = set()
    poll = select.poll()
    for fd in logs:
        poll.register(fd, select.POLLIN)
    while logs:
        for fd, _ in poll.poll():
            number, log = logs[fd]
            data = os.read(fd, _CHUNK)
            try:
                if data:
                    log.take(data)
            except OSError as error:
                if number not in broken:
                    broken.add(number)
                    tell(f"error {number} {error}")
            if not data:
                poll.unregister(fd)
                os.close(fd)
                log.close()
                del logs[fd]
                tell(f"end {number}")


def tell(line: str) -> None:
    """Tell the agent, if it still lives."""
    with contextlib.suppress(OSError):
        os.write(1, line.replace("\n", " ").encode(errors="replace") + b"\n")


if __name__ == "__main__":
    main()
    os._exit(0)  # nothing is left to be cleaned up
