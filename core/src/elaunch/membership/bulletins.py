"""What a coordinator tells all nodes now and then: one write, so that none reads much.

Whom the job waits for while a generation forms, and, once one runs, how long steps take
and who puts off that nodes come in.
"""

import math
from collections.abc import Callable

import attrs

from elaunch.membership.holding import HeldRecord
from elaunch.membership.records import (
    JobPhase,
    JobRecord,
    Keys,
    PaceRecord,
    encode,
)
from elaunch.membership.roster import Roster
from elaunch.store import Lease, Store


WAITING_INTERVAL = 0.1
"""Seconds after which a job that waits says for whom, and fewest between two times."""

PACE_INTERVAL = 10.0
"""Seconds after which what is told of the pace is told on, and fewest between two."""

HELD_INTERVAL = 5.0
"""Fewest seconds between two times that it is told who puts off a scaling."""

TOLD_RATE = 500
"""Most nodes that hear of it in a second: in a large job it is said less often."""


@attrs.define(eq=False, repr=False)
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
    _held: tuple[tuple[str, ...], float] | None = attrs.field(default=None, init=False)
    _held_due: float | None = attrs.field(default=None, init=False)
    _held_told_at: float = attrs.field(default=-math.inf, init=False)

    @property
    def due(self) -> float | None:
        """When there is something to tell next; `None` for nothing."""
        times = (self._waiting_due, self._pace_due, self._held_due)
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

    def held(self, by: tuple[str, ...], until: float) -> None:
        """Note who puts off a scaling, and until when at most.

        It is told at once that somebody does, or nobody any more: ``by`` is empty then.
        """
        before, self._held = self._held, (by, until) if by else None
        if bool(before) != bool(self._held):
            self._held_due = self.now()
        elif self._held != before and self._held_due is None:
            self._held_due = self._held_told_at + self._pause(HELD_INTERVAL)

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
        if self._held_due is not None and now >= self._held_due:
            await self._tell_who_holds(job, now)

    async def _tell_who_holds(self, job: JobRecord, now: float) -> None:
        if self._held:
            by, until = self._held
            await self._put(self.keys.held, HeldRecord(job.generation, by, until - now))
        else:
            await self.store.delete(self.keys.held)
        self._held_due, self._held_told_at = None, now

    def _pause(self, least: float) -> float:
        return max(least, self.roster.count / TOLD_RATE)

    async def _put(self, key: str, record: object) -> None:
        await self.store.put(key, encode(record), lease=self.lease)
