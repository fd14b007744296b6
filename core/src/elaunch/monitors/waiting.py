"""Waits for the moment at which a monitor has to judge, and sees pauses of the agent.

An agent that stood still (SIGSTOP, a frozen container, a paused machine, a loop that
was blocked) has heard nothing meanwhile, and often its workers stood still with it.
That time is nobody's silence.
"""

import asyncio
import contextlib
import math
from collections.abc import Iterable

import attrs


LONGEST_NAP = 5.0
"""Seconds after which the clock is looked at, however far the deadline is."""

SHORTEST_NAP = 1.0
"""Seconds of a nap, however short limits are: a busy host wakes nobody in time."""

NAPS_OF_A_LIMIT = 16
"""In how many naps a short limit is divided at least."""

SETTLING = 0.1
"""Seconds before a judgement in which what lies in sockets is read: in many rounds."""


def nap_of(limits: Iterable[float]) -> float:
    """Return how long to sleep at a time for some limits; 0 is none."""
    shortest = min((each for each in limits if each > 0), default=math.inf)
    return min(LONGEST_NAP, max(SHORTEST_NAP, shortest / NAPS_OF_A_LIMIT))


@attrs.frozen
class Pause:
    """A time in which this process did not run, or not all the time.

    Attributes:
        since: Its begin, by the loop's clock.
        until: Its end.
    """

    since: float
    until: float

    def shifted(self, moment: float) -> float:
        """Return a moment since which a time counts, without what the pause took."""
        return moment + max(0.0, self.until - max(self.since, moment))


@attrs.define(eq=False)
class Waiting:
    """Waits until a moment, in naps.

    Attributes:
        nap: Seconds of the longest nap: one that was late by half of that was a pause.
        now: When the last wait was over: what came later is not to be judged yet.
    """

    nap: float = LONGEST_NAP
    now: float = attrs.field(factory=lambda: asyncio.get_running_loop().time())
    _wake: float = attrs.field(default=-math.inf, init=False)
    _came: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def mind(self, limit: float | None) -> None:
        """Take short naps from now on, if there is a short limit."""
        if limit is not None and limit < self.nap * NAPS_OF_A_LIMIT:
            self.nap = nap_of([limit])

    def expect(self, moment: float) -> None:
        """End the wait if it would not be over at a moment."""
        if moment < self._wake:
            self._came.set()

    async def until(self, moment: float) -> Pause | None:
        """Wait until a moment, `expect`, or the end of a nap.

        Where nothing has a limit there are naps, too: limits are learned meanwhile,
        of times without pauses.

        Returns:
            When this process did not run since the last wait, if it did not.
        """
        loop = asyncio.get_running_loop()
        since, begin = self.now, loop.time()
        self._wake = min(moment, begin + self.nap)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._wake):
                await self._came.wait()
        wake, self._wake = self._wake, -math.inf
        self._came.clear()
        self.now = loop.time()
        late = max(self.now - max(wake, begin), begin - since)
        if self.now >= moment:
            await asyncio.sleep(SETTLING)
        return Pause(since, self.now) if late > self.nap / 2 else None
