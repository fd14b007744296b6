"""Lines of files as they are written, also where files are rotated or yet to come."""

import contextlib
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs

from elaunch.api import UsageError
from elaunch_events_log.reading.entry import LINE_LIMIT


LOOK_AGAIN = 0.25
"""Seconds between two looks where the system tells of no news."""

_IN_MODIFY, _IN_MOVED_TO, _IN_CREATE = 0x002, 0x080, 0x100  # <sys/inotify.h>


@attrs.define(eq=False)
class Followed:
    """One file that grows, whatever it is called meanwhile."""

    fd: int
    _rest: bytes = attrs.field(default=b"", init=False)
    _too_long: bool = attrs.field(default=False, init=False)

    def lines(self) -> list[str]:
        """Return the whole lines that came since the last call."""
        if os.fstat(self.fd).st_size < os.lseek(self.fd, 0, os.SEEK_CUR):
            os.lseek(self.fd, 0, os.SEEK_SET)  # emptied, to be written anew
            self._rest = b""
        blocks = [self._rest]
        while block := os.read(self.fd, 1 << 20):
            blocks.append(block)
        *lines, self._rest = b"".join(blocks).split(b"\n")
        if lines and self._too_long:
            del lines[0]
            self._too_long = False
        if len(self._rest) > LINE_LIMIT:  # which is not kept till it ends
            self._rest, self._too_long = b"", True
        return [line.decode(errors="backslashreplace") for line in lines]

    def is_removed(self) -> bool:
        """Whether it has no name any more."""
        return os.fstat(self.fd).st_nlink == 0

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


@attrs.define(eq=False)
class News:
    """Waits until something happens in some directories."""

    _library: Any = attrs.field(default=None, init=False)
    _fd: int = attrs.field(default=-1, init=False)
    _watched: set[Path] = attrs.field(factory=set, init=False)
    _blind: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        if sys.platform == "linux":
            import ctypes

            self._library = ctypes.CDLL(None, use_errno=True)
            self._fd = self._library.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def watch(self, directories: Iterable[Path]) -> None:
        """Begin to watch directories; those that are watched already go on."""
        mask = _IN_MODIFY | _IN_MOVED_TO | _IN_CREATE
        self._blind = self._fd == -1
        for directory in {*directories} - self._watched:
            if self._fd == -1:
                break
            name = os.fsencode(directory)
            if self._library.inotify_add_watch(self._fd, name, mask) == -1:
                self._blind = True  # it may be made later
            else:
                self._watched.add(directory)

    def wait(self) -> None:
        """Wait for news; return also without where the system may not tell of them."""
        descriptors = () if self._fd == -1 else (self._fd,)
        select.select(descriptors, (), (), LOOK_AGAIN if self._blind else None)
        with contextlib.suppress(BlockingIOError):
            while descriptors and os.read(self._fd, 1 << 16):
                continue

    def close(self) -> None:
        """Wait no more."""
        if self._fd != -1:
            os.close(self._fd)
            self._fd = -1


def follow(
    find: Callable[[], list[Path]], parents: Iterable[Path]
) -> Iterator[list[str]]:
    """Yield the lines of files, and then those that come; without an end.

    Args:
        find: Returns the files; asked again whenever there are news.
        parents: Directories in which there may be files later.

    Raises:
        UsageError: If a file can't be read.
    """
    # A file that is put aside keeps its inode, and there is no other of that number
    # as long as it is open here.
    files: dict[tuple[int, int], Followed] = {}
    news = News()
    try:
        while True:
            # Watched first: what comes after the look wakes us up.
            paths = find()
            news.watch({*parents, *(path.parent for path in paths)})
            yield _new_lines(files, find())
            news.wait()
    finally:
        news.close()
        for file in files.values():
            file.close()


def _opened(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UsageError(f"can't read {str(path)!r}: {error.strerror}") from error
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise UsageError(f"can't read {str(path)!r}: it is a directory")
    return fd


def _new_lines(
    files: dict[tuple[int, int], Followed], paths: Iterable[Path]
) -> list[str]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # it is being put aside
            fd = _opened(path)
            status = os.fstat(fd)
            key = (status.st_dev, status.st_ino)
            if key in files:
                os.close(fd)
            else:
                files[key] = Followed(fd)
    lines = [line for file in files.values() for line in file.lines()]
    # One that has another name now is listed under it only the next time.
    for key in [key for key, file in files.items() if file.is_removed()]:
        files.pop(key).close()
    return lines
