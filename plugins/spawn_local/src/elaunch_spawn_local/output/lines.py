"""Bytes of a stream, cut into blocks of whole lines.

Nothing here looks at single lines where it need not: a stream of a million lines costs
what its bytes cost.
"""

import attrs


LINE_LIMIT = 64 * 1024
"""Bytes of the longest line that is kept in one piece, and of the largest chunk."""

BAR_INTERVAL = 1.0
"""Seconds between two states of a progress bar that are shown as lines."""


@attrs.define(eq=False, repr=False)
class WholeLines:
    """Cuts what a stream brings into blocks of whole lines, without losing a byte.

    A line longer than ``limit`` bytes comes in several, so that a stream without
    newlines needs no endless memory. What ends in a carriage return counts as whole:
    so does a progress bar move.
    """

    limit: int = LINE_LIMIT
    _rest: bytes = attrs.field(default=b"", init=False)

    def feed(self, data: bytes) -> bytes:
        """Return the lines that ``data`` completes; it has ``limit`` bytes at most."""
        end = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        whole, self._rest = _split(self._rest, data, end, self.limit)
        return whole

    def finish(self) -> bytes:
        """Return the last line if the stream ended without a newline."""
        last, self._rest = self._rest, b""
        return last + b"\n" if last else b""


@attrs.define(eq=False, repr=False)
class ThrottledLines:
    """Likewise, for streams of which several share a console: bars become lines.

    Of a line that was written over again and again, as progress bars are, the last
    state is shown, and while it goes on one state every `BAR_INTERVAL` seconds.
    """

    limit: int = LINE_LIMIT
    due: float | None = attrs.field(default=None, init=False)
    """When `tick` has a state to show; `None` for never."""
    _rest: bytes = attrs.field(default=b"", init=False)
    _told: bytes = attrs.field(default=b"", init=False)
    _next: float = attrs.field(default=0.0, init=False)

    def feed(self, data: bytes, now: float) -> bytes:
        """Return what is to be shown, in whole lines, at a time in seconds."""
        whole, rest = _split(self._rest, data, data.rfind(b"\n") + 1, self.limit)
        if b"\r" in whole:
            whole = b"".join(state(line) + b"\n" for line in whole.split(b"\n")[:-1])
        if whole and self._told:
            # What was shown of the line while it was unfinished is not shown twice.
            if whole.startswith(self._told + b"\n"):
                whole = whole[len(self._told) + 1 :]
            self._told = b""
        if b"\r" in rest:
            # Only the state counts: a bar that runs for days takes no memory.
            shown = state(rest)
            rest = b"\r" + shown
            news = shown and shown != self._told
            self.due = max(now, self._next) if news else None
        else:
            self.due = None
        self._rest = rest
        return whole + self.tick(now)

    def tick(self, now: float) -> bytes:
        """Return the state of a bar if one is due."""
        if self.due is None or now < self.due:
            return b""
        self.due, self._next = None, now + BAR_INTERVAL
        self._told = state(self._rest)
        return self._told + b"\n"

    def finish(self) -> bytes:
        """Return the last line if the stream ended without a newline."""
        last, self._rest, self.due = state(self._rest), b"", None
        return last + b"\n" if last and last != self._told else b""


def state(line: bytes) -> bytes:
    """Return what a terminal shows in the end of a line with carriage returns."""
    if b"\r" not in line:
        return line
    written = [part for part in line.split(b"\r") if part.strip()]
    return written[-1] if written else b""


def _split(rest: bytes, data: bytes, end: int, limit: int) -> tuple[bytes, bytes]:
    """Return whole lines, the last ends at ``end`` of the data, and the rest."""
    whole = b""
    if end:
        whole, rest = rest + data[:end], data[end:]
        # Only the first line can be too long: each other is a part of the chunk.
        first = whole.find(b"\n")
        if first > limit:
            whole = _pieces(whole[:first], limit) + whole[first:]
    else:
        rest += data
    if len(rest) > limit:
        kept = (len(rest) - 1) % limit + 1
        whole += _pieces(rest[:-kept], limit) + b"\n"
        rest = rest[-kept:]
    return whole, rest


def _pieces(line: bytes, limit: int) -> bytes:
    starts = range(0, len(line), limit)
    return b"\n".join(line[start : start + limit] for start in starts)
