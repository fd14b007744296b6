"""One stay of a node in a job: its lease, and what it sees of the job meanwhile.

A stay ends as a whole, by a goodbye or when its lease is lost; a node that comes back
begins another.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import attrs

from elaunch.errors import (
    NodeNotAdmitted,
    RendezvousClosed,
    RendezvousGracefulExit,
    RendezvousUnreachable,
)
from elaunch.failures import ProcessFailure
from elaunch.membership.differences import differences
from elaunch.membership.holding import HeldRecord
from elaunch.membership.records import (
    Assignment,
    Holder,
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    NodeRecord,
    NoticeRecord,
    PaceRecord,
    WaitingRecord,
    decode,
    decode_info,
    encode,
)
from elaunch.rendezvous import (
    JobSettings,
    Membership,
    NodeFacts,
    Outcome,
    OutcomeState,
)
from elaunch.store import ABSENT, Lease, Store, WatchCompacted


@attrs.frozen(kw_only=True)
class Account:
    """What a node says of its workers beside where it stands, and says again.

    Two records of a node can come so fast that only the last one is seen.

    Attributes:
        failures: How they failed.
        preempted: Whether any has ended for a preemption.
        restart: Why the job is to form anew, or empty.
    """

    failures: tuple[ProcessFailure, ...] = ()
    preempted: bool = False
    restart: str = ""


@attrs.define(eq=False, repr=False)
class Stay:
    """What one node holds and sees.

    Attributes:
        store: The store.
        keys: Keys of the job.
        lease: Under it live the node's own keys.
        node_id: Id of this stay; another stay of the same node has another.
        facts: What the node says of itself.
        settings: The job's settings as the node knows them.
        joined: Revision of the node's first record.
        stopped: The last generation of which this node has no workers (any more).
        unfit: Why this node does not count when it is ready; empty if it does.
        published: Key of the bootstrap that this node published last, or empty.
        office: Takes the office of the coordinator when it is free, once that began.
        in_office: Whether this node is the coordinator.
        holder: Id of the coordinator's node as far as is known, or empty.
        office_revision: Revision of what is known of the office.
        job: The job's record, once seen. It stays known after the final clean-up.
        bootstraps: What was published for each generation, by key.
        waiting: Whom the job waits for, as the coordinator told last.
        waiting_since: When it was told, by the loop's clock.
        pace: How long steps take in the job, as the coordinator told last.
        held: Who puts off that nodes come in, as the coordinator told last.
        held_since: When it was told, by the loop's clock.
        notice: The last notice to workers of the job.
        notice_revision: Its revision; 0 while there is none.
        notice_since: When it was told, by the loop's clock.
        lost: Why this node can't count on its membership any more; empty while it can.
        broken: An error that is nobody's loss but a fault, for the agent to raise.
    """

    store: Store
    keys: Keys
    lease: Lease
    node_id: str
    facts: NodeFacts
    settings: JobSettings
    joined: int = ABSENT
    stopped: int = 0
    unfit: str = ""
    published: str = ""
    office: asyncio.Task[None] | None = None
    in_office: bool = False
    holder: str = ""
    office_revision: int = ABSENT
    job: JobRecord | None = None
    bootstraps: dict[str, Mapping[str, str]] = attrs.field(factory=dict)
    waiting: WaitingRecord | None = None
    waiting_since: float = 0.0
    pace: PaceRecord | None = None
    held: HeldRecord | None = None
    held_since: float = 0.0
    notice: NoticeRecord | None = None
    notice_revision: int = ABSENT
    notice_since: float = 0.0
    lost: str = ""
    broken: Exception | None = None
    _said: NodeRecord | None = None
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    def note_office(self, revision: int, holder: str) -> None:
        """Note who held the office at a revision, or ``""``; older news is no news."""
        if revision >= self.office_revision:
            self.holder, self.office_revision = holder, revision

    async def begin(self) -> None:
        """Read the job as it is and follow it from there."""
        self.lease.lost.add_done_callback(lambda lost: self.lose(lost.result()))
        since = await self._read()
        self.run(lambda: self._follow(since))

    def run(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run something for as long as the stay lasts; a fault in it is not lost."""
        task = asyncio.create_task(self._guard(work))
        self._tasks.append(task)
        return task

    async def end(self) -> None:
        """Stop everything of this stay and let its keys go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.lease.revoke()

    def check_admission(self) -> None:
        """Make sure that this node can take part in the job, as far as it is known.

        Raises:
            RendezvousClosed: If the job is over.
            NodeNotAdmitted: If the job's settings are others.
        """
        if self.broken:
            raise self.broken
        job = self.job
        if job is None:
            return
        if job.phase is JobPhase.CLOSED:
            succeeded = job.outcome and job.outcome.state is OutcomeState.SUCCEEDED
            kind = RendezvousGracefulExit if succeeded else RendezvousClosed
            raise kind(f"job {self.keys.run_id!r} is over: {job.reason}")
        differing = differences(self.settings, job.settings)
        if differing:
            raise NodeNotAdmitted(
                f"this node's settings are not those of job {self.keys.run_id!r}: "
                f"{differing}; give every node the same"
            )

    async def place(self, job: JobRecord) -> Membership | None:
        """Return this node's place in a sealed generation, if it has one."""
        key = self.keys.assignment(self.node_id)
        entry = await self.store.get(key)
        if entry is None:
            return None
        assignment = decode(Assignment, key, entry.value)
        place = assignment.membership
        current = (place.generation, assignment.token) == (job.generation, job.token)
        return place if current else None

    async def is_known(self) -> bool:
        """Whether the job still counts this node as alive."""
        return await self.store.get(self.keys.node(self.node_id)) is not None

    async def enter(self) -> None:
        """Say for the first time that this node is ready."""
        async with self._turn:
            self._said = self._record(NodePhase.READY, 0)
            revision = await self.store.compare_and_set(
                self.keys.node(self.node_id),
                encode(self._said),
                expected=ABSENT,
                lease=self.lease,
            )
            self.joined = revision or ABSENT

    async def say(
        self,
        phase: NodePhase,
        generation: int,
        account: Account = Account(),
        reason: str = "",
    ) -> None:
        """Say where this node stands."""
        if phase is NodePhase.DONE:
            # Without a lease: it stays true, also for a coordinator that comes later.
            await self.store.put(self.keys.done(self.node_id), encode(generation))
        async with self._turn:
            await self._put(
                attrs.evolve(
                    self._record(phase, generation),
                    failures=account.failures,
                    preempted=account.preempted,
                    restart=account.restart,
                    reason=reason,
                )
            )

    async def withhold(self, reason: str) -> None:
        """Say why this node does not count, or ``""`` for that it does."""
        self.unfit = reason
        async with self._turn:
            said = self._said
            ready = said is not None and said.phase is NodePhase.READY
            if said and ready and said.unfit != self.unfit:
                await self._put(
                    attrs.evolve(said, joined=self.joined, unfit=self.unfit)
                )

    async def ask_for_restart(self, generation: int, reason: str) -> None:
        """Say that the job is to form anew, beside what this node has said.

        Args:
            generation: The generation that is to end; this node is a member of it.
            reason: Why.
        """
        async with self._turn:
            said = self._said
            if said is None or said.generation < generation:
                # Its workers only start, and it has said nothing of this generation.
                said = self._record(NodePhase.RUNNING, generation)
            await self._put(attrs.evolve(said, restart=reason))

    async def close_job(self, outcome: Outcome) -> None:
        """End the job for everybody, unless it has ended."""
        while True:
            entry = await self.store.get(self.keys.state)
            if entry is None:
                return
            job = decode(JobRecord, entry.key, entry.value)
            if job.phase is JobPhase.CLOSED:
                return
            closed = attrs.evolve(
                job, phase=JobPhase.CLOSED, reason=outcome.reason, outcome=outcome
            )
            if await self.store.compare_and_set(
                entry.key, encode(closed), expected=entry.revision
            ):
                return

    def whom_it_waits_for(self) -> tuple[WaitingRecord | None, float]:
        """Return what was told of the forming generation, and seconds since then."""
        told = self.waiting
        if told is None or self.job is None or told.generation != self.job.generation:
            return None, 0.0
        return told, asyncio.get_running_loop().time() - self.waiting_since

    def why_left_out(self, time: float) -> str:
        """Return why this node is not counted, as far as it knows; empty if it is.

        Args:
            time: The time in Unix seconds.
        """
        job, host = self.job, self.facts.host
        exclusion = job.exclusion_of(self.node_id, host, time) if job else None
        if exclusion:
            return exclusion.told(time)
        return f"unfit: {self.unfit}" if self.unfit else self._held_up_by()

    def _held_up_by(self) -> str:
        """Return who puts off that this node comes in; empty if nobody does."""
        job, held = self.job, self.held
        if not job or not held or held.generation != job.generation:
            return ""
        elapsed = asyncio.get_running_loop().time() - self.held_since
        left = held.seconds - elapsed
        by = ", ".join(held.by)
        return f"held up by {by}, for {left:.0f} s at most" if left > 0 else ""

    def news(self) -> asyncio.Event:
        """Return an event that is set at the next news.

        Take it before looking at the facts, then wait for it: nothing is missed.
        """
        return self._news

    def lose(self, reason: str) -> None:
        """Note that this node can't count on its membership any more."""
        self.lost = self.lost or reason
        self._wake()

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except RendezvousUnreachable as error:
            self.lose(str(error))
        except Exception as error:  # noqa: BLE001 - kept for the agent, which raises it
            self.broken = error
            self._wake()

    async def _follow(self, since: int) -> None:
        while True:
            watch = self.store.watch(self.keys.job, since)
            with contextlib.suppress(WatchCompacted):
                async with contextlib.aclosing(watch) as events:
                    async for event in events:
                        self._apply(event.key, event.value, event.revision)
                        self._wake()
            since = await self._read()
            self._wake()

    async def _read(self) -> int:
        listing = await self.store.list(self.keys.job)
        self.bootstraps.clear()
        if self.keys.coordinator not in {entry.key for entry in listing.entries}:
            self.note_office(listing.revision, "")
        for entry in listing.entries:
            self._apply(entry.key, entry.value, entry.revision)
        return listing.revision

    def _apply(self, key: str, value: bytes | None, revision: int) -> None:
        if key == self.keys.coordinator:
            self.note_office(revision, decode(Holder, key, value).node if value else "")
        elif key == self.keys.state:
            # The clean-up after the end removes the state; the end stays known.
            if value is not None:
                self.job = decode(JobRecord, key, value)
        elif key == self.keys.waiting:
            self.waiting = decode(WaitingRecord, key, value) if value else None
            self.waiting_since = asyncio.get_running_loop().time()
        elif key == self.keys.pace:
            self.pace = decode(PaceRecord, key, value) if value else None
        elif key == self.keys.held:
            self.held = decode(HeldRecord, key, value) if value else None
            self.held_since = asyncio.get_running_loop().time()
        elif key == self.keys.notice:
            self._note_notice(key, value, revision)
        elif value is None:
            self.bootstraps.pop(key, None)
        else:
            self.bootstraps[key] = decode_info(key, value)

    def _note_notice(self, key: str, value: bytes | None, revision: int) -> None:
        # Reading the job anew tells again what is known.
        if value and revision > self.notice_revision:
            self.notice = decode(NoticeRecord, key, value)
            self.notice_revision = revision
            self.notice_since = asyncio.get_running_loop().time()

    async def _put(self, record: NodeRecord) -> None:
        """Say something, in turn: what is said last is what the job knows."""
        self._said = record
        await self.store.put(
            self.keys.node(self.node_id), encode(record), lease=self.lease
        )

    def _record(self, phase: NodePhase, generation: int) -> NodeRecord:
        return NodeRecord(
            facts=self.facts,
            settings=self.settings,
            phase=phase,
            generation=generation,
            joined=self.joined,
            unfit=self.unfit if phase is NodePhase.READY else "",
        )

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
