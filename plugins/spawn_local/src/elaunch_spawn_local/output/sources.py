"""Where the pump reads from: pipes, terminals, files that grow, a scribe's word."""

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs

from elaunch_spawn_local.output.lines import LINE_LIMIT
from elaunch_spawn_local.output.stream import Stream


if TYPE_CHECKING:  # few jobs have files that are shown
    from elaunch_spawn_local.output.follow import Follower


_LEFTOVER = 1024 * 1024  # a pipe holds no more, unless root says so


class Source(Protocol):
    """One stream of one worker, as the pump sees it.

    Attributes:
        rank: Local rank of the worker.
        stream: What becomes of the bytes; `None` where there is nothing to read.
        deadline: When it counts as ended, whatever still holds it open.
    """

    rank: int
    stream: Stream | None
    deadline: float | None

    def close(self) -> None:
        """Release what it holds. Twice is fine."""


@attrs.define(eq=False, repr=False)
class Pipe:
    """A pipe, or a terminal, whose other end a worker has.

    Attributes:
        fd: Our end.
    """

    rank: int
    stream: Stream
    fd: int
    deadline: float | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        os.set_blocking(self.fd, False)

    def read(self) -> int | None:
        """Carry a chunk of what is there; return its size, `None` at the end."""
        try:
            data = os.read(self.fd, LINE_LIMIT)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno != errno.EIO:  # how a terminal says that it has ended
                raise
            data = b""
        if not data:
            return None
        self.stream.take(data)
        return len(data)

    def read_rest(self) -> None:
        """Carry what is there now, however much it is."""
        left = _LEFTOVER
        while left > 0 and (size := self.read()):
            left -= size

    def close(self) -> None:
        """Close our end."""
        if not self._closed:
            self._closed = True
            os.close(self.fd)


@attrs.define(eq=False, repr=False)
class File:
    """A file that a worker writes, or the scribe for it.

    Attributes:
        directory: Where it is.
        number: The scribe's number of the stream; `None` if the worker writes itself.
    """

    rank: int
    stream: Stream
    follower: "Follower"
    number: int | None = None
    deadline: float | None = attrs.field(default=None, init=False)

    @property
    def directory(self) -> str:
        """Directory that has news when the file has."""
        return str(Path(self.follower.path).parent)

    def read(self) -> int:
        """Carry a chunk of what is there; return its size."""
        data = self.follower.read(LINE_LIMIT)
        if data:
            self.stream.take(data)
        return len(data)

    def read_rest(self) -> None:
        """Carry everything that is there by now."""
        with contextlib.suppress(OSError):
            # Not what is still to come: something that the worker left may write on.
            left = self.follower.size()
            while (size := self.read()) and (left > 0 or self.number is not None):
                left -= size

    def close(self) -> None:
        """Close the file."""
        self.follower.close()


@attrs.define(eq=False, repr=False)
class Written:
    """A stream that the scribe writes and nobody shows: its end alone is of interest.

    Attributes:
        number: The scribe's number of it.
    """

    rank: int
    number: int
    stream: None = attrs.field(default=None, init=False)
    deadline: float | None = attrs.field(default=None, init=False)

    def read_rest(self) -> None:
        """Nothing is read here."""

    def close(self) -> None:
        """Nothing is held."""
