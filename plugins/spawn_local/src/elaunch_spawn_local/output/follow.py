"""A file that somebody writes, read as it grows, also where it is rotated."""

import logging
import os
from pathlib import Path

import attrs


logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class Follower:
    """Reads a log file from a given place on, and what takes its place.

    A file is rotated by giving it the name ``PATH.1``, what had that name ``PATH.2``
    and so on, and beginning ``PATH`` anew. What becomes of the name otherwise is of no
    matter: the file is read on, also where it was renamed or removed. One that was
    truncated is read from its new beginning.

    Attributes:
        path: Name of the file.
        start: Where to begin.
        rotates: Whether another file can take its place.
        shown: Whether somebody misses what can't be read.
    """

    path: str
    start: int = 0
    rotates: bool = True
    shown: bool = True
    _fd: int | None = attrs.field(default=None, init=False)
    _told: bool = attrs.field(default=False, init=False)
    _truncated: bool = attrs.field(default=False, init=False)

    def open(self) -> None:
        """Open the file, before it can be rotated away.

        Raises:
            OSError: If it can't be read.
        """
        self._fd = _open(self.path)
        os.lseek(self._fd, self.start, os.SEEK_SET)

    def read(self, size: int) -> bytes:
        """Return what comes next; nothing if there is nothing more by now.

        Raises:
            OSError: If the file can't be read.
        """
        if self._fd is None:
            self.open()
            assert self._fd is not None  # noqa: S101 - for mypy
        while not (data := os.read(self._fd, size)):
            if self._starts_again(self._fd):
                continue
            following = self._following()
            if following is None:
                return b""
            # It got its name after we saw the end of ours, but before that ours may
            # have grown.
            data = os.read(self._fd, size)
            if data:
                os.close(following)
                return data
            os.close(self._fd)
            self._fd = following
        return data

    def size(self) -> int:
        """Return how large the file is now."""
        return os.fstat(self._fd).st_size if self._fd is not None else 0

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _starts_again(self, fd: int) -> bool:
        """Go to the beginning of a file that was truncated, as a shell's ``>`` does."""
        if os.fstat(fd).st_size >= os.lseek(fd, 0, os.SEEK_CUR):
            return False
        os.lseek(fd, 0, os.SEEK_SET)
        if not self._truncated:
            self._truncated = True
            logger.warning(
                "%s was truncated: lines may be missing there and on the console; a "
                "worker that writes to /dev/stdout must append, as '>>' does",
                self.path,
            )
        return True

    def _following(self) -> int | None:
        """Open the file that continues ours, if ours was rotated away."""
        if not self.rotates:
            return None
        try:
            return self._successor()
        except OSError:  # the directory is gone: ours is still there, and all there is
            return None

    def _successor(self) -> int | None:
        ours = _identity(os.fstat(self._fd or 0))
        while True:
            if _is(self.path, ours):
                return None
            names = self._names()
            if not names:
                return None  # in motion: there is news when it is over
            place = next((i for i, n in enumerate(names) if _is(n, ours)), None)
            if place is None:
                self._skip()
                return _open(names[-1])
            if place == 0:
                continue
            try:
                found = _open(names[place - 1])
            except FileNotFoundError:
                continue
            if _is(names[place], ours):
                return found
            os.close(found)  # while we looked, all moved on by one

    def _names(self) -> list[str]:
        """Return the names of all parts, newest first; none while they are renamed."""
        directory, name = os.path.split(self.path)
        numbers = sorted(
            int(entry[len(name) + 1 :])
            for entry in os.listdir(directory)  # noqa: PTH208 - names alone
            if entry.startswith(f"{name}.") and entry[len(name) + 1 :].isdigit()
        )
        whole = numbers == list(range(1, len(numbers) + 1))
        if not whole or not Path(self.path).exists():
            return []
        return [self.path, *(f"{self.path}.{number}" for number in numbers)]

    def _skip(self) -> None:
        if self.shown and not self._told:
            self._told = True
            logger.warning(
                "%s was rotated faster than the console took it: lines may be missing "
                "there; allow more files with --log-backups",
                self.path,
            )


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _is(path: str, identity: tuple[int, int]) -> bool:
    """Return whether a name leads to a file."""
    try:
        return _identity(Path(path).stat()) == identity
    except FileNotFoundError:
        return False
