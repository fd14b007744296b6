"""Bytes of a stream, cut into lines."""

import attrs


LINE_LIMIT = 64 * 1024
"""Bytes of the longest line that is kept in one piece."""


@attrs.define(eq=False)
class LineCutter:
    """Cuts what a stream brings into lines, without losing a byte but the newlines.

    A carriage return stays inside its line. A line longer than ``limit`` bytes comes
    in several pieces, so that a stream without newlines needs no endless memory.
    """

    limit: int = LINE_LIMIT
    _rest: bytes = attrs.field(default=b"", init=False)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that ``data`` completes, without their newlines."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [piece for line in whole for piece in self._pieces(line)]
        if len(self._rest) > self.limit:
            *full, self._rest = self._pieces(self._rest)
            lines += full
        return lines

    def finish(self) -> list[bytes]:
        """Return the last line if the stream ended without a newline."""
        last, self._rest = self._rest, b""
        return [last] if last else []

    def _pieces(self, line: bytes) -> list[bytes]:
        if len(line) <= self.limit:
            return [line]
        starts = range(0, len(line), self.limit)
        return [line[start : start + self.limit] for start in starts]
