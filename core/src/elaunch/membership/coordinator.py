"""The coordinator: performs what the planner decides, for as long as it is the one.

Any agent that holds ``job/coordinator`` runs one. It is fenced by the revision of
``job/state``: a new coordinator first rewrites that key, so every decision that an
older one still has in flight fails its compare-and-set.
"""

import asyncio
import contextlib
import logging
from typing import Any

import attrs

from elaunch.events import EventName, Record
from elaunch.membership.bulletins import Bulletins
from elaunch.membership.planner import (
    Charge,
    Close,
    Decision,
    Exclude,
    Form,
    Refund,
    Seal,
    Suspicion,
    Wait,
    plan,
)
from elaunch.membership.ranks import memberships
from elaunch.membership.records import (
    Assignment,
    JobPhase,
    JobRecord,
    Keys,
    decode,
    encode,
)
from elaunch.membership.roster import Roster
from elaunch.policy import RestartPolicy
from elaunch.rendezvous import JobSettings
from elaunch.store import ABSENT, Lease, Store, StoreEvent, WatchCompacted


logger = logging.getLogger(__name__)


class SteppedDownError(Exception):
    """Another coordinator has taken over."""


@attrs.define(eq=False, kw_only=True)
class Coordinator:
    """Decides for one job.

    Attributes:
        store: Where the job lives.
        keys: Keys of the job.
        settings: Settings for the job if this is its first coordinator.
        policy: Asked after failures.
        lease: Under it lies what must not outlive this coordinator.
        token: Fencing token: the revision at which ``job/coordinator`` was created.
        node_id: The node it runs on, which is the last to leave.
        over: Whether that node knows that the job is over. A job without a state was
            cleaned up then, and is not begun anew.
        last_call_timeout: Seconds the first generation waits beyond the minimum.
        suspicion: How a failure that would end the job is told from the loss of a
            member.
        close_timeout: Seconds a finished job waits for goodbyes before the clean-up.
        record: Told what happens.
    """

    store: Store
    keys: Keys
    settings: JobSettings
    policy: RestartPolicy
    lease: Lease
    token: int
    node_id: str
    over: bool
    last_call_timeout: float
    suspicion: Suspicion
    close_timeout: float
    record: Record

    _job: JobRecord = attrs.field(init=False)
    _state_revision: int = attrs.field(default=ABSENT, init=False)
    _roster: Roster = attrs.field(init=False)
    _overtaken: bool = attrs.field(default=False, init=False)
    _bulletins: Bulletins = attrs.field(init=False)
    _events: asyncio.Queue[StoreEvent | Exception] = attrs.field(
        factory=asyncio.Queue, init=False
    )

    def __attrs_post_init__(self) -> None:
        self._roster = Roster(self.keys)
        self._bulletins = Bulletins(
            self.store, self.keys, self.lease, self._roster, self._now
        )

    async def serve(self) -> bool:
        """Decide until the job is over, or another coordinator has taken over.

        Returns:
            Whether the job is over.

        Raises:
            RendezvousUnreachable: If the store is lost.
            RendezvousCorrupt: If the store holds what no agent writes.
        """
        try:
            await self.run()
        except SteppedDownError:
            logger.info("no longer the coordinator: another node took over")
            return False
        return True

    async def run(self) -> None:
        """Decide until the job is over, then clean up after the last goodbye.

        Raises:
            SteppedDownError: If another coordinator has taken over.
            RendezvousUnreachable: If the store is lost.
            RendezvousCorrupt: If the store holds what no agent writes.
        """
        job = await self._claim()
        if job is None:
            return
        self._job = job
        self.record(EventName.RENDEZVOUS_COORDINATOR, generation=self._job.generation)
        while True:
            try:
                await self._follow(since=await self._read())
            except WatchCompacted:
                # Too much has happened at once: read all again and go on from there.
                continue
            return

    async def _follow(self, since: int) -> None:
        pumps = [
            asyncio.create_task(self._pump(prefix, since))
            for prefix in (self.keys.nodes, self.keys.all_vitals, self.keys.state)
        ]
        try:
            while self._job.phase is not JobPhase.CLOSED:
                await self._decide()
            await self._clean_up()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _decide(self) -> None:
        if self._overtaken:
            self._overtaken = False
            await self._check_office()
            return
        now = self._now()
        view = self._roster.view(self._job)
        decision = plan(view, self.policy, self.last_call_timeout, now, self.suspicion)
        if not isinstance(decision, Wait):
            await self._perform(decision)
            return
        self._roster.note_quorum(now, quorum=decision.quorum)
        await self._bulletins.tell(self._job)
        await self._next_events(_earliest(decision.until, self._bulletins.due))

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _perform(self, decision: Decision) -> None:
        job = self._job
        match decision:
            case Wait():
                raise AssertionError("there is nothing to perform")
            case Form(reason, restarts):
                await self._write_state(
                    phase=JobPhase.FORMING,
                    generation=job.generation + 1,
                    restarts=restarts,
                    failed=job.generation if restarts > job.restarts else job.failed,
                    reason=reason,
                    size=0,
                )
                self._roster.forming(self._now())
                self._roster.charged(charged=restarts > job.restarts)
                self._bulletins.nodes_changed(self._job)
            case Charge(reason, restarts):
                await self._write_state(
                    restarts=restarts, failed=job.members_of, reason=reason
                )
                self._roster.charged(charged=True)
            case Refund(reason, restarts):
                await self._write_state(restarts=restarts, failed=0, reason=reason)
                self._roster.charged(charged=False)
            case Seal():
                await self._seal(decision)
            case Exclude(node_ids):
                await self._check_office()
                for node_id in node_ids:
                    await self.store.delete(self.keys.node(node_id))
                    self._roster.excluded(node_id, self._now())
            case Close(outcome):
                await self._write_state(
                    phase=JobPhase.CLOSED, reason=outcome.reason, outcome=outcome
                )

    async def _seal(self, decision: Seal) -> None:
        members = decision.members
        places = memberships(
            members,
            generation=self._job.generation,
            restart_count=self._job.restarts,
            reason=self._job.reason,
        )
        await asyncio.gather(
            *(
                self._assign(
                    member.node_id,
                    Assignment(
                        membership=place,
                        host=member.facts.host,
                        token=self.token,
                        previous_rank=self._roster.rank_of(member.node_id),
                    ),
                )
                for member, place in zip(members, places, strict=True)
            )
        )
        await self._write_state(
            phase=JobPhase.SEALED,
            size=len(members),
            token=self.token,
            departed=decision.departed,
        )
        self._roster.sealed(members)
        stale = self._roster.stale_assignments()
        for node_id in stale:
            del self._roster.assigned[node_id]
        stale_keys = [self.keys.assignment(node_id) for node_id in stale]
        stale_keys += map(self.keys.vitals, self._roster.stale_vitals())
        await asyncio.gather(*(self.store.delete(key) for key in stale_keys))

    async def _assign(self, node_id: str, assignment: Assignment) -> None:
        key = self.keys.assignment(node_id)
        expected = self._roster.assigned.get(node_id, ABSENT)
        while True:
            revision = await self.store.compare_and_set(
                key, encode(assignment), expected=expected
            )
            if revision is not None:
                self._roster.assigned[node_id] = revision
                return
            # Another coordinator wrote it: an older one, which is overruled, or a newer
            # one. The key is read before the office is checked, so that whatever a
            # newer one writes from here on makes the next attempt fail.
            entry = await self.store.get(key)
            await self._check_office()
            expected = entry.revision if entry else ABSENT

    async def _claim(self) -> JobRecord | None:
        """Rewrite the job's state, so that no older coordinator can write it.

        The state is read before the office is checked: whatever a newer coordinator
        claims from there on makes this claim fail.

        Raises:
            SteppedDownError: If the office has been lost meanwhile.
        """
        while True:
            entry = await self.store.get(self.keys.state)
            office = await self.store.get(self.keys.coordinator)
            if office is None or office.revision != self.token:
                raise SteppedDownError
            if entry is None and self.over:
                return None
            job = (
                decode(JobRecord, entry.key, entry.value)
                if entry
                else JobRecord(
                    phase=JobPhase.FORMING,
                    generation=1,
                    settings=self.settings,
                    token=self.token,
                    reason="first generation",
                )
            )
            revision = await self.store.compare_and_set(
                self.keys.state,
                encode(job),
                expected=entry.revision if entry else ABSENT,
            )
            if revision is not None:
                self._state_revision = revision
                return job

    async def _check_office(self) -> None:
        """Make sure that nobody has claimed the job since.

        Only a user's explicit close may overtake a coordinator that still is one; then
        the end is taken over from there.

        Raises:
            SteppedDownError: If another coordinator has claimed it.
        """
        entry = await self.store.get(self.keys.state)
        if entry is None:
            raise SteppedDownError
        if entry.revision == self._state_revision:
            return
        job = decode(JobRecord, entry.key, entry.value)
        if job.phase is not JobPhase.CLOSED:
            raise SteppedDownError
        self._state_revision, self._job = entry.revision, job

    async def _write_state(self, **changes: Any) -> None:
        progress = self._roster.vitals.progress
        job = attrs.evolve(self._job, progress=progress, **changes)
        revision = await self.store.compare_and_set(
            self.keys.state, encode(job), expected=self._state_revision
        )
        if revision is None:
            await self._check_office()
        else:
            self._state_revision, self._job = revision, job

    async def _read(self) -> int:
        """Build the view from the store alone; return the revision it stands for."""
        listing = await self.store.list(self.keys.root)
        self._roster.read(self._job, listing, self._now())
        self._bulletins.nodes_changed(self._job)
        return listing.revision

    async def _pump(self, prefix: str, since: int) -> None:
        """Move events into the queue, so that waiting for them can have a deadline."""
        watch = self.store.watch(prefix, since)
        async with contextlib.aclosing(watch) as events:
            try:
                async for event in events:
                    self._events.put_nowait(event)
            except Exception as error:  # noqa: BLE001 - raised by who takes it out
                self._events.put_nowait(error)

    async def _next_events(self, until: float | None) -> None:
        """Take all events there are; wait for the first one, at most until then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while not self._apply(await self._events.get()):
                    pass
        while not self._events.empty():
            self._apply(self._events.get_nowait())

    def _apply(self, event: StoreEvent | Exception) -> bool:
        """Take in what has happened; tell whether there can be something to do.

        How nodes go decides nothing by itself, and is told often.
        """
        if isinstance(event, Exception):
            raise event
        if event.key == self.keys.state:
            # Our own writes are known before they are told.
            self._overtaken = self._overtaken or event.revision > self._state_revision
            return True
        if event.key.startswith(self.keys.all_vitals):
            self._roster.note_vitals(event.key, event.value)
            return self._bulletins.vitals_changed(self._job)
        self._roster.apply(self._job, event, self._now())
        self._bulletins.nodes_changed(self._job)
        return True

    async def _clean_up(self) -> None:
        """Remove the job's keys when everybody else has said goodbye.

        All but what goes with this node, and the state: who comes too late must read
        how the job ended for as long as there is a coordinator that decides nothing.
        """
        deadline = self._now() + self.close_timeout
        while self._roster.others(self.node_id) and self._now() < deadline:
            await self._next_events(deadline)
        listing = await self.store.list(self.keys.root)
        keys = self.keys
        kept = {keys.state, keys.coordinator, keys.node(self.node_id)}
        for entry in listing.entries:
            if entry.key not in kept:
                await self.store.delete(entry.key)


def _earliest(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)
