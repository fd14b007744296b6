"""The law of holds: whom workers hold up waits, and not for ever."""

from collections.abc import Callable

import attrs

from elaunch.api import StoreEvent, Vitals
from elaunch.membership.records import JobPhase, JobRecord, Keys, decode


KNOWN_WITHIN = 2.0
"""Seconds in which whoever decides knows of a hold, or can no longer take it back."""

Worker = tuple[str, int]


@attrs.define
class Told:
    """A hold, as the store has it: its number, since when, and its end."""

    number: int
    since: float
    until: float


def grows(before: JobRecord, job: JobRecord) -> bool:
    """Whether a job forms anew only for nodes that joined."""
    why = job.reason.partition(", held up for ")[0]
    forming = job.phase is JobPhase.FORMING
    return before.phase is JobPhase.SEALED and forming and why.endswith(" joined")


@attrs.define(eq=False)
class HoldLaws:
    """Watches who holds up a scaling in one run.

    That the job grows when it should is seen at the end, when all must have a place.

    Attributes:
        require: Told of each law whether it holds, and what is wrong if not.
        keys: Keys of the job.
        limit: Seconds for which workers can hold it up at most.
    """

    require: Callable[[bool, str], None]
    keys: Keys
    limit: float = 0.0
    _sealed_at: float = attrs.field(default=0.0, init=False)
    _held: dict[Worker, Told] = attrs.field(factory=dict, init=False)
    _released: set[Worker] = attrs.field(factory=set, init=False)

    def begins(self) -> None:
        """Note that another generation, or another job, begins."""
        self._held.clear()
        self._released.clear()

    def told(self, job: JobRecord | None, event: StoreEvent, now: float) -> None:
        """Note what a node tells of its workers."""
        node_id = event.key.removeprefix(self.keys.all_vitals)
        vitals = decode(Vitals, event.key, event.value) if event.value else None
        current = vitals and job and vitals.generation == job.generation
        holds = {h.rank: h for h in vitals.holds} if vitals and current else {}
        for worker in [w for w in self._held if w[0] == node_id]:
            hold = holds.get(worker[1])
            if hold is None or hold.number != self._held[worker].number:
                del self._held[worker]
                self._released.add(worker)
        for rank, hold in holds.items():
            worker = (node_id, rank)
            known = self._held.get(worker)
            since = known.since if known else now
            self._held[worker] = Told(hold.number, since, now + hold.seconds)

    def transition(self, before: JobRecord, job: JobRecord, now: float) -> None:
        """No job grows while a worker holds it up that has not released it once."""
        if grows(before, job):
            holding = [
                worker
                for worker, hold in self._held.items()
                if hold.since + KNOWN_WITHIN < now < hold.until
                and worker not in self._released
            ]
            self.require(
                not holding or now >= self._sealed_at + self.limit,
                f"generation {job.generation} forms at {now} for {job.reason!r}, held "
                f"up by {holding}",
            )
        if job.phase is JobPhase.SEALED:
            self._sealed_at = now
            self.begins()
