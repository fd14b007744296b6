"""The end of a stream: what a failure report shows of it."""

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import attrs

from elaunch_spawn_local.output.lines import state


TAIL_LINES = 100
TAIL_LINE_LENGTH = 4 * 1024
"""What is kept of a line: its beginning, which tells what happened."""

_BLOCK = 64 * 1024
_FAR = 4 * 1024 * 1024
"""How far a file is read back for `TAIL_LINES` lines."""


@attrs.define(eq=False, repr=False)
class Tail:
    """Keeps the last lines of a stream, each as a terminal shows it.

    Args:
        stamp: Length of the time at the beginning of each line, which is left out.
    """

    _stamp: int = 0
    _lines: deque[bytes] = attrs.field(
        factory=lambda: deque(maxlen=TAIL_LINES), init=False
    )
    _rest: bytes = attrs.field(default=b"", init=False)

    def take(self, data: bytes) -> None:
        """Take what the stream brought."""
        # No more lines are looked at than are kept.
        first, *others = data.rsplit(b"\n", TAIL_LINES)
        if b"\n" in first:
            self._rest, first = b"", first[first.rindex(b"\n") + 1 :]
        self._rest += first
        for line in others:
            self._lines.append(self._shown(self._rest))
            self._rest = line
        if len(self._rest) > _BLOCK:
            # A bar that runs for days takes no memory, nor does a line without end.
            moved = b"\r" if self._rest.endswith(b"\r") else b""
            self._rest = self._rest[: self._stamp] + self._shown(self._rest) + moved

    def lines(self) -> tuple[str, ...]:
        """Return the last lines; in any thread."""
        rest, lines = self._rest, list(self._lines)
        if rest:
            lines.append(self._shown(rest))
        return tuple(line.decode(errors="replace") for line in lines[-TAIL_LINES:])

    def _shown(self, line: bytes) -> bytes:
        return state(line[self._stamp :])[:TAIL_LINE_LENGTH]


def tail_of_file(path: str, start: int, *, backups: int, stamp: int) -> tuple[str, ...]:
    """Return the last lines of a file, and of what was rotated away; blocks.

    Args:
        path: The file; where it can't be read it has no lines.
        start: Where to begin in the oldest part, unless that was rotated away.
        backups: How many older parts there can be, ``PATH.1`` and so on.
        stamp: Length of the time at the beginning of each line, which is left out.
    """
    found: list[bytes] = []
    newlines = size = 0
    for block in _backwards(path, start, backups):
        found.append(block)
        newlines, size = newlines + block.count(b"\n"), size + len(block)
        if newlines > TAIL_LINES or size >= _FAR:
            break
    tail = Tail(stamp)
    for block in reversed(found):
        tail.take(block)
    return tail.lines()


def _backwards(path: str, start: int, backups: int) -> Iterator[bytes]:
    if backups and Path(f"{path}.1").exists():
        start = 0
    for name in (path, *(f"{path}.{number}" for number in range(1, backups + 1))):
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return
        try:
            end = os.fstat(fd).st_size
            while end > start:
                first = max(start, end - _BLOCK)
                yield os.pread(fd, end - first, first)
                end = first
        except OSError:
            return
        finally:
            os.close(fd)
