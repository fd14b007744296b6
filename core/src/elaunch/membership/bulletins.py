"""What a coordinator tells all nodes now and then: one write, so that none reads much.

Whom the job waits for while a generation forms, and how long steps take once one runs.
"""

from collections.abc import Callable

import attrs

from elaunch.membership.records import JobPhase, JobRecord, Keys, PaceRecord, encode
from elaunch.membership.roster import Roster
from elaunch.store import Lease, Store


WAITING_INTERVAL = 0.1
"""Seconds after which a job that waits says for whom, and fewest between two times."""

PACE_INTERVAL = 10.0
"""Seconds after which what is told of the pace is told on, and fewest between two."""

TOLD_RATE = 500
"""Most nodes that hear of it in a second: in a large job it is said less often."""


@attrs.define(eq=False)
class Bulletins:
    """The bulletins of one coordinator.

    Attributes:
        store: Where the job lives.
        keys: Keys of the job.
        lease: Under it they lie: they mean nothing without their coordinator.
        roster: What is known of the job.
        now: Tells the time of the loop.
        clock: Tells it in Unix seconds.
    """

    store: Store
    keys: Keys
    lease: Lease
    roster: Roster
    now: Callable[[], float]
    clock: Callable[[], float]
    _waiting_due: float | None = attrs.field(default=None, init=False)
    _pace_due: float | None = attrs.field(default=None, init=False)

    @property
    def due(self) -> float | None:
        """When there is something to tell next; `None` for nothing."""
        times = (self._waiting_due, self._pace_due)
        return min((time for time in times if time is not None), default=None)

    def nodes_changed(self, job: JobRecord) -> None:
        """Note that nodes came or went, or stand elsewhere."""
        if job.phase is JobPhase.FORMING and self._waiting_due is None:
            self._waiting_due = self.now() + self._pause(WAITING_INTERVAL)

    def vitals_changed(self, job: JobRecord) -> bool:
        """Note that nodes have told how they go; tell whether `due` is another now."""
        fresh = job.phase is JobPhase.SEALED and self._pace_due is None
        if fresh:
            self._pace_due = self.now() + self._pause(PACE_INTERVAL)
        return fresh

    async def tell(self, job: JobRecord) -> None:
        """Tell what it is time to tell.

        Raises:
            RendezvousUnreachable: If the store does not take it.
        """
        now = self.now()
        if job.phase is not JobPhase.FORMING:
            self._waiting_due = None
        if job.phase is not JobPhase.SEALED:
            self._pace_due = None
        if self._waiting_due is not None and now >= self._waiting_due:
            record = self.roster.waiting(job, now, self.clock())
            await self._put(self.keys.waiting, record)
            self._waiting_due = None
        if self._pace_due is not None and now >= self._pace_due:
            pace = self.roster.vitals.pace(job.generation)
            if pace:
                await self._put(self.keys.pace, PaceRecord(job.generation, pace))
            self._pace_due = None

    def _pause(self, least: float) -> float:
        return max(least, self.roster.count / TOLD_RATE)

    async def _put(self, key: str, record: object) -> None:
        await self.store.put(key, encode(record), lease=self.lease)
