"""Events about files: somebody wrote to one, or put another in its place."""

import contextlib
import os
import struct
import sys
from typing import Protocol

import attrs


_IN_MODIFY = 0x002  # <sys/inotify.h>
_IN_MOVED_TO = 0x080
_IN_CREATE = 0x100
_IN_DELETE = 0x200
_IN_IGNORED = 0x8000
_EVENT = struct.Struct("iIII")

POLL_INTERVAL = 0.1
"""Seconds between two looks at files where the system tells no events of them."""


class Watch(Protocol):
    """Tells which directories have news."""

    fd: int | None
    """Readable when there is news; `None` where nobody tells."""
    blind: bool
    """Whether nobody tells of some of them: whoever uses it looks again and again."""

    def add(self, directory: str) -> None:
        """Begin to watch a directory, before its files are looked at."""

    def news(self) -> set[str] | None:
        """Return the directories with news since the last call; `None` for any."""

    def close(self) -> None:
        """Release what the watch holds."""


@attrs.define(eq=False)
class Inotify:
    """Asks Linux."""

    fd: int | None = None
    blind: bool = attrs.field(default=False, init=False)
    _add: object = None
    _directories: dict[int, str] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        import ctypes

        library = ctypes.CDLL(None, use_errno=True)
        self.fd = library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._add = library.inotify_add_watch
        if self.fd == -1:
            number = ctypes.get_errno()
            raise OSError(number, f"inotify: {os.strerror(number)}")

    def add(self, directory: str) -> None:
        """Begin to watch a directory.

        Raises:
            OSError: If the system watches no more.
        """
        import ctypes

        mask = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE
        watch = self._add(self.fd, os.fsencode(directory), mask)  # type: ignore[operator] # a function of C
        if watch == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), directory)
        self._directories[watch] = directory

    def news(self) -> set[str] | None:
        """Return the directories with news; `None` if the system lost count."""
        found: set[str] = set()
        with contextlib.suppress(BlockingIOError):
            data = os.read(self.fd or 0, 64 * 1024)
            start = 0
            while start < len(data):
                watch, kind, _, length = _EVENT.unpack_from(data, start)
                start += _EVENT.size + length
                if watch not in self._directories:  # -1: the queue ran over
                    return None
                # What is open is written on, but nothing tells of it any more where
                # its name, or the directory, was removed; old parts don't matter.
                name = data[start - length : start].rstrip(b"\0")
                gone = kind & _IN_DELETE and name.endswith(b".log")
                if kind & _IN_IGNORED or gone:
                    self.blind = True
                found.add(self._directories[watch])
        return None if self.blind else found

    def close(self) -> None:
        """Stop watching."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


@attrs.define(eq=False)
class Polling:
    """Knows nothing: whoever uses it looks every `POLL_INTERVAL` seconds."""

    fd: int | None = attrs.field(default=None, init=False)
    blind: bool = attrs.field(default=True, init=False)

    def add(self, directory: str) -> None:
        """Nothing is to be done."""

    def news(self) -> set[str] | None:
        """There may be news anywhere."""
        return None

    def close(self) -> None:
        """Nothing is held."""


def new_watch(directories: set[str]) -> Watch:
    """Return the best watch of some directories that this system offers."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            watch = Inotify()
            try:
                for directory in directories:
                    watch.add(directory)
            except OSError:
                watch.close()
                raise
            return watch
    return Polling()
