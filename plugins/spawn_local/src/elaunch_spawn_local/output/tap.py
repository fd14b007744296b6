"""The tap: what workers write, told to whoever follows it, as it comes."""

from collections.abc import Callable, Iterable

import attrs

from elaunch.api import Feed, OutputBlock


LOOK_INTERVAL = 0.5
"""Seconds after which a worker that writes nothing is said to have written nothing."""


@attrs.define(eq=False)
class Tap:
    """Tells what one stream brings.

    Args:
        tell: Is told.
        rank: Local rank of the worker.
        stream: Number of the stream, see `elaunch.api.OutputBlock`.
        stamp: Length of the time at the beginning of each line, which is left out.
    """

    _tell: Callable[[OutputBlock], None]
    _rank: int
    _stream: int
    _stamp: int = 0
    _skip: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._skip = self._stamp

    def take(self, data: bytes) -> None:
        """Take what the stream brought."""
        if self._stamp:
            data = self._unstamped(data)
        if data:
            self._tell(OutputBlock(self._rank, self._stream, data))

    def _unstamped(self, data: bytes) -> bytes:
        first, *others = data.split(b"\n")
        rest, skip = first[self._skip :], max(0, self._skip - len(first))
        if others:
            skip = max(0, self._stamp - len(others[-1]))
        self._skip = skip
        return b"\n".join([rest, *(line[self._stamp :] for line in others)])


@attrs.define(eq=False)
class Taps:
    """The taps of a group.

    Args:
        feed: Who is told.
    """

    _feed: Feed[OutputBlock]
    due: float = attrs.field(default=0.0, init=False)
    """When `look` has something to say."""
    _closed: bool = attrs.field(default=False, init=False)

    def of(self, rank: int, stream: int, stamp: int = 0) -> Tap:
        """Return a tap for a stream."""
        return Tap(self._tell, rank, stream, stamp)

    def look(self, now: float, ranks: Iterable[int]) -> None:
        """Say of workers that they have written no more, if it is time.

        Args:
            now: The time, by a clock that nobody sets.
            ranks: Local ranks of those of which everything was read.
        """
        if now < self.due:
            return
        self.due = now + LOOK_INTERVAL
        for rank in ranks:
            self._tell(OutputBlock(rank, 0, b""))

    def close(self) -> None:
        """Tell nothing more: whoever still reads may do so for as long as it likes."""
        self._closed = True

    def _tell(self, block: OutputBlock) -> None:
        if not self._closed:
            self._feed.tell(block)
