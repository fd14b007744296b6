"""The scribe of a group, and its successors should it be killed."""

import logging
import os
from collections.abc import Collection

import attrs

from elaunch_spawn_local.output.scribe_process import Scribe, Shape


logger = logging.getLogger(__name__)

_LIVES = 3
"""How often a scribe is replaced that was killed."""


@attrs.define(eq=False)
class Scribes:
    """Sees to it that there is a scribe for as long as streams need one.

    Args:
        shape: How files are written.
    """

    _shape: Shape
    _streams: list[tuple[int, str]] = attrs.field(factory=list, init=False)
    _ended: set[int] = attrs.field(factory=set, init=False)
    _scribe: Scribe | None = attrs.field(default=None, init=False)
    _numbers: list[int] = attrs.field(factory=list, init=False)
    _lives: int = attrs.field(default=_LIVES, init=False)

    def add(self, path: str) -> tuple[int, int]:
        """Take over a file; return the stream's number and the pipe's writing end.

        Raises:
            OSError: If the system gives no pipe.
        """
        reading, writing = os.pipe()
        self._streams.append((reading, path))
        return len(self._streams) - 1, writing

    @property
    def wanted(self) -> bool:
        """Whether there is anything to write."""
        return bool(self._streams)

    def start(self) -> None:
        """Start one for all streams that have not ended.

        Raises:
            OSError: If it can't be started.
        """
        self._numbers = [n for n in range(len(self._streams)) if n not in self._ended]
        streams = [self._streams[number] for number in self._numbers]
        self._scribe = Scribe.start(streams, self._shape)

    @property
    def told(self) -> int:
        """Readable when there is something to hear."""
        return self._scribe.told if self._scribe else -1

    def hear(self) -> Collection[int] | None:
        """Return the streams that have been written to their end since the last call.

        `None` when the scribe has ended.
        """
        news = self._scribe.news() if self._scribe else None
        if news is None:
            return None
        ended = set()
        for word, place, text in news:
            number = self._numbers[place]
            if word == "end":
                ended.add(number)
            else:
                path = self._streams[number][1]
                logger.warning("can't write to %s: %s; output is lost", path, text)
        self._ended |= ended
        return ended

    def succeed(self) -> bool:
        """Put another in the place of one that has ended, if there is work left.

        Returns:
            Whether there is another.
        """
        if self._scribe:
            self._scribe.close()
            self._scribe = None
        if len(self._ended) == len(self._streams):
            return False
        self._lives -= 1
        if self._lives >= 0:
            try:
                self.start()
            except OSError as error:
                logger.warning("can't start what writes the logs: %s", error)
            else:
                logger.warning("what writes the logs was killed; another goes on")
                return True
        logger.error("what writes the logs was killed; workers' output is lost")
        self._release()  # a worker that writes must not wait for ever
        return False

    def close(self) -> None:
        """Let go of all. Twice is fine."""
        if self._scribe:
            self._scribe.close()
            self._scribe = None
        self._release()

    def _release(self) -> None:
        while self._streams:
            os.close(self._streams.pop()[0])
