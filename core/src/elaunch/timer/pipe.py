"""The pipe of a file timer server: for its user alone, read without waits."""

import contextlib
import os
import stat
from collections.abc import Callable


READ_AT_ONCE = 64 * 1024


def is_read(path: str) -> bool:
    """Whether a server reads from a named pipe."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def make_pipe(path: str) -> None:
    """Make a named pipe that only this user can write to.

    Raises:
        FileExistsError: If something else than a pipe of this user is there, or another
            server reads it.
    """
    with contextlib.suppress(FileNotFoundError):
        there = os.lstat(path)
        if not stat.S_ISFIFO(there.st_mode) or there.st_uid != os.getuid():
            raise FileExistsError(
                f"{path!r} is there and no named pipe of this user; name another file "
                f"with TORCHELASTIC_TIMER_FILE, or remove it"
            )
        if is_read(path):
            raise FileExistsError(f"another timer server reads {path!r}")
        os.unlink(path)  # noqa: PTH108 - of an earlier server; readers keep theirs
    os.mkfifo(path, 0o600)


class PipeReader:
    """Reads a pipe; it has no end, since this holds it open for writing too.

    Args:
        file: The named pipe, which goes with this; empty for a pipe that is no file, so
            that none is left whatever this process dies of.
    """

    def __init__(self, file: str = "") -> None:
        self._file = file
        self._owner = os.getpid()
        self.fd, self._writer = _both_ends(file) if file else os.pipe()
        os.set_blocking(self.fd, False)

    @property
    def path(self) -> str:
        """Where writers open it; without a file, only where there is a /proc."""
        return self._file or f"/proc/{self._owner}/fd/{self.fd}"

    def read(self) -> bytes:
        """Return what has come; nothing if nothing has."""
        try:
            return os.read(self.fd, READ_AT_ONCE)
        except BlockingIOError:
            return b""

    def drain(self, take: Callable[[bytes], None]) -> None:
        """Give on all that has come."""
        while data := self.read():
            take(data)

    def close(self) -> None:
        """Close and remove it."""
        os.close(self.fd)
        os.close(self._writer)
        if self._file and os.getpid() == self._owner:  # and no copy of it
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file)  # noqa: PTH108 - what mkfifo made


def _both_ends(path: str) -> tuple[int, int]:
    flags = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    reader = os.open(path, os.O_RDONLY | flags)
    try:
        return reader, os.open(path, os.O_WRONLY | flags)
    except BaseException:
        os.close(reader)
        raise
