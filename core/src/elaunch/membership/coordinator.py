"""The coordinator: performs what the planner decides, for as long as it is the one.

Any agent that holds ``job/coordinator`` runs one.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence

import attrs

from elaunch.decisions import decided
from elaunch.events import EventName, Record
from elaunch.membership.bulletins import Bulletins
from elaunch.membership.effects import after
from elaunch.membership.holding import Hold, holders
from elaunch.membership.mandate import Mandate, SteppedDownError
from elaunch.membership.planner import plan
from elaunch.membership.progress import NAMED
from elaunch.membership.ranks import memberships
from elaunch.membership.records import Assignment, JobPhase, JobRecord, Keys
from elaunch.membership.roster import Roster
from elaunch.membership.steps import (
    Charge,
    Close,
    Exclude,
    Form,
    Refund,
    Seal,
    Step,
    Timing,
    Wait,
)
from elaunch.membership.view import View
from elaunch.policy import PastFailure, RestartPolicy
from elaunch.rendezvous import JobSettings
from elaunch.store import ABSENT, Lease, Store, StoreEvent, WatchCompacted


logger = logging.getLogger(__name__)


@attrs.define(eq=False, repr=False, kw_only=True)
class Coordinator:
    """Decides for one job.

    Attributes:
        mandate: The right to write for it.
        settings: Settings for the job if this is its first coordinator.
        policy: Asked after failures.
        lease: Under it lies what must not outlive this coordinator.
        node_id: The node it runs on, which is the last to leave.
        over: Whether that node knows that the job is over. A job without a state was
            cleaned up then, and is not begun anew.
        timing: How long to wait for what.
        close_timeout: Seconds a finished job waits for goodbyes before the clean-up.
        clock: Tells the time in Unix seconds, for what must outlive this coordinator.
        record: Told what happens.
    """

    mandate: Mandate
    settings: JobSettings
    policy: RestartPolicy
    lease: Lease
    node_id: str
    over: bool
    timing: Timing
    close_timeout: float
    clock: Callable[[], float]
    record: Record

    _roster: Roster = attrs.field(init=False)
    _overtaken: bool = attrs.field(default=False, init=False)
    _bulletins: Bulletins = attrs.field(init=False)
    _events: asyncio.Queue[StoreEvent | Exception] = attrs.field(
        factory=asyncio.Queue, init=False
    )

    def __attrs_post_init__(self) -> None:
        self._roster = Roster(self.keys)
        self._bulletins = Bulletins(
            self.store, self.keys, self.lease, self._roster, self._now, self.clock
        )

    @property
    def store(self) -> Store:
        """Where the job lives."""
        return self.mandate.store

    @property
    def keys(self) -> Keys:
        """Keys of the job."""
        return self.mandate.keys

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
        first = JobRecord(
            phase=JobPhase.FORMING,
            generation=1,
            settings=self.settings,
            token=self.mandate.token,
            reason="first generation",
        )
        if not await self.mandate.claim(None if self.over else first):
            return
        generation = self.mandate.job.generation
        self.record(EventName.RENDEZVOUS_COORDINATOR, generation=generation)
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
            while self.mandate.job.phase is not JobPhase.CLOSED:
                await self._decide()
            await self._clean_up()
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _decide(self) -> None:
        if self._overtaken:
            self._overtaken = False
            await self.mandate.check()
            return
        now = self._now()
        view = self._roster.view(self.mandate.job, self.clock())
        step = plan(view, self.policy, self.timing, now)
        if not isinstance(step, Wait):
            await self._perform(step)
            return
        self._roster.note_quorum(now, quorum=step.quorum)
        self._note_held(step.held, view, now)
        await self._bulletins.tell(self.mandate.job)
        await self._next_events(_earliest(step.until, self._bulletins.due))

    def _note_held(self, held: Sequence[Hold], view: View, now: float) -> None:
        """Note who puts off a scaling, and let it be known."""
        begins = self._roster.put_off.note(held, now)
        by = holders(held, view.hosts)
        until = max((hold.until for hold in held), default=now)
        self._bulletins.held(by, until)
        if begins:
            self.record(
                EventName.SCALING_HELD,
                nodes=[node.facts.host for node in view.newcomers()][:NAMED],
                by=[*by],
                seconds=round(until - now, 3),
            )

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _perform(self, step: Step) -> None:
        match step:
            case Wait():
                raise AssertionError("there is nothing to perform")
            case Form() | Charge() | Refund():
                await self._form(step)
            case Seal():
                await self._seal(step)
            case Exclude(node_ids):
                await self.mandate.check()
                for node_id in node_ids:
                    await self.store.delete(self.keys.node(node_id))
                    self._roster.excluded(node_id, self._now())
            case Close():
                if await self._write(after(self.mandate.job, step, self.clock())):
                    self._tell_decision(step.past)

    async def _form(self, step: Form | Charge | Refund) -> None:
        """Begin to form a generation, or change why one is formed and at what cost."""
        past = None if isinstance(step, Refund) else step.past
        kept = await self._record_failure(past)
        if not await self._write(after(self.mandate.job, step, self.clock())):
            return
        now = self._now()
        if isinstance(step, Form):
            self._roster.forming(now, grows=step.grows)
        if isinstance(step, Refund):
            self._roster.refunded()
        self._tell_decision(past)
        if kept:
            self._roster.charged(kept, now)
        self._bulletins.nodes_changed(self.mandate.job)

    async def _record_failure(self, past: PastFailure | None) -> PastFailure | None:
        """Write down a failure before it counts; return what is kept of it."""
        if past is None:
            return None
        kept = PastFailure(past.report.trimmed(), past.decision)
        number = self.mandate.job.restarts
        key = self.keys.past_failure(number)
        expected = self._roster.recorded.get(number, ABSENT)
        self._roster.recorded[number] = await self.mandate.put(key, kept, expected)
        return kept

    def _tell_decision(self, past: PastFailure | None) -> None:
        """Record a decision that is in force, and what was known when it was made."""
        if past:
            history = self._roster.history
            asked = self.mandate.job.settings.asked
            decided(self.record, past.report, history, past.decision, asked)

    async def _write(self, job: JobRecord) -> bool:
        """Write the job's record, which also keeps how far the job has come."""
        progress = self._roster.vitals.progress
        return await self.mandate.write(attrs.evolve(job, progress=progress))

    async def _seal(self, step: Seal) -> None:
        members, job = step.members, self.mandate.job
        places = memberships(
            members,
            generation=job.generation,
            restart_count=job.restarts,
            reason=job.reason,
        )
        await asyncio.gather(
            *(
                self._assign(
                    member.node_id,
                    Assignment(
                        membership=place,
                        host=member.facts.host,
                        token=self.mandate.token,
                        previous_rank=self._roster.rank_of(member.node_id),
                    ),
                )
                for member, place in zip(members, places, strict=True)
            )
        )
        sealed = attrs.evolve(
            job,
            phase=JobPhase.SEALED,
            size=len(members),
            token=self.mandate.token,
            departed=step.departed,
        )
        if not await self._write(sealed):
            return
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
        revision = await self.mandate.put(key, assignment, expected)
        self._roster.assigned[node_id] = revision

    async def _read(self) -> int:
        """Build the view from the store alone; return the revision it stands for."""
        listing = await self.store.list(self.keys.root)
        # What was written before the watch begins, a close perhaps, it never tells.
        state = [e.revision for e in listing.entries if e.key == self.keys.state]
        self._overtaken = state != [self.mandate.revision]
        self._roster.read(self.mandate.job, listing, self._now())
        self._bulletins.nodes_changed(self.mandate.job)
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
                matters = False
                while not matters:
                    matters = self._apply(await self._events.get())
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
            self._overtaken = self._overtaken or event.revision > self.mandate.revision
            return True
        if event.key.startswith(self.keys.all_vitals):
            pace = self._bulletins.vitals_changed(self.mandate.job)
            return self._roster.note_vitals(event.key, event.value, self._now()) or pace
        self._roster.apply(self.mandate.job, event, self._now())
        self._bulletins.nodes_changed(self.mandate.job)
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
