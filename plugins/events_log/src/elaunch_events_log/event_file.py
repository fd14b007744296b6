"""A file of lines: whole ones, kept until they can be written, rotated when asked."""

import contextlib
import errno
import fcntl
import os
import time
from collections import deque
from pathlib import Path

import attrs

from elaunch.api import Event, UsageError
from elaunch_events_log.formats import Format


_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
# Without a reader, opening a pipe would wait for one.
_NOTHING_TO_SYNC = (errno.EINVAL, errno.ENOTSUP)
"""What the system says of a pipe or a terminal."""


@attrs.frozen(kw_only=True)
class Rotation:
    """When a file is full, and how many full ones are kept.

    Attributes:
        max_bytes: Bytes of a full file; 0 for no limit.
        max_age: Seconds after which it counts as full; 0 for no limit.
        backups: How many full ones are kept, as ``FILE.1`` (the youngest) and so on.
    """

    max_bytes: int = 0
    max_age: float = 0.0
    backups: int = 5

    def __bool__(self) -> bool:
        return bool(self.max_bytes or self.max_age)


@attrs.define(eq=False)
class EventFile:
    """Writes one line for each event, each with one write to the end of a file.

    Attributes:
        path: Path of the file.
        format: How an event reads.
        rotation: When another file is begun.
        sync: Whether the disk must have it before it counts as written.
        written: How many lines were.
    """

    path: Path
    format: Format
    rotation: Rotation = attrs.field(factory=Rotation)
    sync: bool = False
    written: int = attrs.field(default=0, init=False)
    _fd: int = attrs.field(default=-1, init=False)
    _lines: deque[bytes] = attrs.field(factory=deque, init=False)
    _torn: bool = attrs.field(default=False, init=False)
    _since: float = attrs.field(factory=time.monotonic, init=False)

    def __attrs_post_init__(self) -> None:
        self._fd = _open(self.path, alone=bool(self.rotation))

    @property
    def name(self) -> str:
        """What messages call it."""
        return repr(str(self.path))

    def put(self, event: Event) -> None:
        """Take an event."""
        self._lines += (f"{line}\n".encode() for line in self.format(event))

    def flush(self) -> None:
        """Write the lines that are not in the file yet.

        Raises:
            OSError: If the file takes no more; the line it concerns is written as a
                whole when it does again.
        """
        while self._lines:
            self._rotate_if_full(len(self._lines[0]))
            self._append(self._lines[0])
            self._lines.popleft()
            self.written += 1
        if self.sync:
            try:
                os.fsync(self._fd)
            except OSError as error:
                if error.errno not in _NOTHING_TO_SYNC:
                    raise

    def close(self) -> None:
        """Close the file."""
        if self._fd != -1:
            os.close(self._fd)
            self._fd = -1

    def _append(self, line: bytes) -> None:
        # What was cut off gets a line of its own, which no reader takes for an event.
        data = memoryview(b"\n" + line if self._torn else line)
        begun = False
        try:
            while data:  # once, unless the disk is full or a signal came in between
                data = data[os.write(self._fd, data) :]
                begun = True
        except OSError:
            self._torn |= begun
            raise
        self._torn = False

    def _rotate_if_full(self, more: int) -> None:
        size = os.fstat(self._fd).st_size
        limit, age = self.rotation.max_bytes, self.rotation.max_age
        full = bool(limit) and size + more > limit
        old = bool(age) and time.monotonic() - self._since >= age
        if size and (full or old):
            # Where that is impossible, a file that is too large is better than none.
            with contextlib.suppress(OSError, UsageError):
                self._rotate()

    def _rotate(self) -> None:
        # The next file comes first: where there is no room for it, nothing has changed.
        coming = self.path.with_name(f"{self.path.name}.next")
        coming.unlink(missing_ok=True)  # of an agent that was killed
        fd = _open(coming, alone=True, flags=os.O_EXCL)  # no link to what others chose
        try:
            for number in range(self._first_free() - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._full(number).rename(self._full(number + 1))
            self.path.rename(self._full(1))
            coming.rename(self.path)
        except OSError:
            os.close(fd)
            raise
        os.close(self._fd)
        self._fd, self._since, self._torn = fd, time.monotonic(), False

    def _first_free(self) -> int:
        """Return the first number that no full file has; the last one may have it."""
        last = self.rotation.backups
        free = (n for n in range(1, last) if not self._full(n).exists())
        return next(free, last)

    def _full(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def _open(path: Path, *, alone: bool, flags: int = 0) -> int:
    """Open a file to append to; make its directory if there is none.

    Raises:
        UsageError: If that is impossible, or others write to it and one of them would
            take it away from the others.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, _FLAGS | flags, 0o644)
    except OSError as error:
        raise UsageError(
            f"can't write events to {str(path)!r}: {error.strerror}; "
            f"give the recorder 'jsonl' another path"
        ) from error
    os.set_blocking(fd, True)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise UsageError(
            f"{str(path)!r} is written to by another agent, and a file that is rotated "
            f"must be one agent's alone; put '{{agent}}' into the path"
        ) from None
    except OSError:  # a file system without locks
        return fd
    return fd
