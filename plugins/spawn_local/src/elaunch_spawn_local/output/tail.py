"""The end of a stream: what a failure report shows of it."""

import os
from collections.abc import Sequence

import attrs

from elaunch_spawn_local.output.lines import state


TAIL_LINES = 100
TAIL_LINE_LENGTH = 4 * 1024

_KEPT = 64 * 1024


@attrs.define(eq=False)
class Tail:
    """Keeps the last bytes of a stream; they are cut into lines when asked for."""

    _bytes: bytearray = attrs.field(factory=bytearray, init=False)

    def take(self, data: bytes) -> None:
        """Take what the stream brought."""
        self._bytes += data
        if len(self._bytes) > 2 * _KEPT:
            del self._bytes[:-_KEPT]

    def lines(self) -> tuple[str, ...]:
        """Return the last lines, each as a terminal shows it."""
        return last_lines(bytes(self._bytes))


def tail_of_files(paths: Sequence[str], start: int, *, stamp: int) -> tuple[str, ...]:
    """Return the last lines of a file that may have been continued; blocks.

    Args:
        paths: Its parts, oldest first; one that can't be read has no lines.
        start: Where in the oldest part to begin.
        stamp: Length of the time at the beginning of each line, which is left out.
    """
    data = b"".join(_last_bytes(p, 0 if i else start) for i, p in enumerate(paths))
    return last_lines(data, stamp=stamp)


def _last_bytes(path: str, start: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        end = os.fstat(fd).st_size
        first = max(start, end - 2 * _KEPT)
        return os.pread(fd, max(0, end - first), first)
    except OSError:
        return b""
    finally:
        os.close(fd)


def last_lines(data: bytes, *, stamp: int = 0) -> tuple[str, ...]:
    """Return the last lines of some bytes, each as a terminal shows it."""
    lines = data.removesuffix(b"\n").rsplit(b"\n", TAIL_LINES)[-TAIL_LINES:]
    if lines == [b""]:
        return ()
    return tuple(
        state(line[stamp:])[:TAIL_LINE_LENGTH].decode(errors="replace")
        for line in lines
    )
