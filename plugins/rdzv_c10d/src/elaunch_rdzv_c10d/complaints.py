"""Log lines about peers that misbehave, few of them however many there are."""

import asyncio
import logging

import attrs


_LINES = 10
_INTERVAL = 10.0  # seconds


@attrs.define(eq=False, repr=False)
class Complaints:
    """Writes ten lines in ten seconds at most, and how many it did not write.

    Attributes:
        logger: Where they go.
    """

    logger: logging.Logger
    _began: float = attrs.field(default=float("-inf"), init=False)
    _written: int = attrs.field(default=0, init=False)
    _untold: int = attrs.field(default=0, init=False)

    def __call__(self, text: str) -> None:
        """Write a line, or count it."""
        now = asyncio.get_running_loop().time()
        if now - self._began >= _INTERVAL:
            self.tell_the_rest()
            self._began, self._written = now, 0
        if self._written < _LINES:
            self._written += 1
            self.logger.warning("%s", text)
        else:
            self._untold += 1

    def tell_the_rest(self) -> None:
        """Write how many lines were not written since the last that was."""
        if self._untold:
            self.logger.warning("%d more connections were closed", self._untold)
            self._untold = 0
