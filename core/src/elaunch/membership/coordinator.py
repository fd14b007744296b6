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
from elaunch.membership.planner import (
    Close,
    Exclude,
    Form,
    Node,
    Seal,
    View,
    Wait,
    has_quorum,
    plan,
)
from elaunch.membership.ranks import Candidate, memberships
from elaunch.membership.records import (
    Assignment,
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    NodeRecord,
    decode,
    encode,
)
from elaunch.policy import RestartPolicy
from elaunch.rendezvous import JobSettings
from elaunch.store import ABSENT, Store, StoreEvent, WatchCompacted


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
        token: Fencing token: the revision at which ``job/coordinator`` was created.
        node_id: The node it runs on, which is the last to leave.
        last_call_timeout: Seconds the first generation waits beyond the minimum.
        close_timeout: Seconds a finished job waits for goodbyes before the clean-up.
        record: Told what happens.
    """

    store: Store
    keys: Keys
    settings: JobSettings
    policy: RestartPolicy
    token: int
    node_id: str
    last_call_timeout: float
    close_timeout: float
    record: Record

    _job: JobRecord = attrs.field(init=False)
    _state_revision: int = attrs.field(default=ABSENT, init=False)
    _nodes: dict[str, Node] = attrs.field(factory=dict, init=False)
    _members: dict[str, int] = attrs.field(factory=dict, init=False)
    _hosts: dict[str, str] = attrs.field(factory=dict, init=False)
    _left: dict[str, str] = attrs.field(factory=dict, init=False)
    _done: set[str] = attrs.field(factory=set, init=False)
    _assigned: dict[str, int] = attrs.field(factory=dict, init=False)
    _forming_since: float = attrs.field(default=0.0, init=False)
    _quorum_since: float | None = attrs.field(default=None, init=False)
    _events: asyncio.Queue[StoreEvent | Exception] = attrs.field(
        factory=asyncio.Queue, init=False
    )

    async def serve(self) -> None:
        """Decide until the job is over, or another coordinator has taken over.

        Raises:
            RendezvousUnreachable: If the store is lost.
            RendezvousCorrupt: If the store holds what no agent writes.
        """
        try:
            await self.run()
        except SteppedDownError:
            logger.info("no longer the coordinator: another node took over")

    async def run(self) -> None:
        """Decide until the job is over, then clean up after the last goodbye.

        Raises:
            SteppedDownError: If another coordinator has taken over.
            RendezvousUnreachable: If the store is lost.
            RendezvousCorrupt: If the store holds what no agent writes.
        """
        self._job = await self._claim()
        self.record(EventName.RENDEZVOUS_COORDINATOR, generation=self._job.generation)
        while True:
            try:
                await self._follow(since=await self._read())
            except WatchCompacted:
                # Too much has happened at once: read all again and go on from there.
                continue
            return

    async def _follow(self, since: int) -> None:
        pump = asyncio.create_task(self._pump(since))
        try:
            while self._job.phase is not JobPhase.CLOSED:
                await self._decide()
            await self._clean_up()
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)

    async def _decide(self) -> None:
        now = asyncio.get_running_loop().time()
        view = self._view()
        if not has_quorum(view):
            self._quorum_since = None
        elif self._quorum_since is None:
            self._quorum_since = now
        view = attrs.evolve(view, quorum_since=self._quorum_since)
        decision = plan(view, self.policy, self.last_call_timeout, now)
        if isinstance(decision, Wait):
            await self._next_events(decision.until)
        else:
            await self._perform(decision)

    def _view(self) -> View:
        return View(
            job=self._job,
            nodes=self._nodes,
            members=self._members,
            hosts=self._hosts,
            left=self._left,
            done=frozenset(self._done),
            forming_since=self._forming_since,
        )

    async def _perform(self, decision: Form | Seal | Exclude | Close) -> None:
        match decision:
            case Form(reason, restarts):
                await self._write_state(
                    phase=JobPhase.FORMING,
                    generation=self._job.generation + 1,
                    restarts=restarts,
                    reason=reason,
                    size=0,
                )
                self._done.clear()
                self._left.clear()
                self._quorum_since = None
                self._forming_since = asyncio.get_running_loop().time()
            case Seal(members):
                await self._seal(members)
            case Exclude(node_ids):
                await self._check_office()
                for node_id in node_ids:
                    await self.store.delete(self.keys.node(node_id))
                    self._nodes.pop(node_id, None)
            case Close(outcome):
                await self._write_state(
                    phase=JobPhase.CLOSED, reason=outcome.reason, outcome=outcome
                )

    async def _seal(self, members: tuple[Candidate, ...]) -> None:
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
                        previous_rank=member.previous_rank,
                    ),
                )
                for member, place in zip(members, places, strict=True)
            )
        )
        await self._write_state(
            phase=JobPhase.SEALED, size=len(members), token=self.token
        )
        self._members = {m.node_id: rank for rank, m in enumerate(members)}
        self._hosts = {m.node_id: m.facts.host for m in members}
        stale = self._assigned.keys() - self._members.keys() - self._nodes.keys()
        for node_id in stale:
            del self._assigned[node_id]
        await asyncio.gather(
            *(self.store.delete(self.keys.assignment(node_id)) for node_id in stale)
        )

    async def _assign(self, node_id: str, assignment: Assignment) -> None:
        key = self.keys.assignment(node_id)
        expected = self._assigned.get(node_id, ABSENT)
        while True:
            revision = await self.store.compare_and_set(
                key, encode(assignment), expected=expected
            )
            if revision is not None:
                self._assigned[node_id] = revision
                return
            # Another coordinator wrote it: an older one, which is overruled, or a newer
            # one. The key is read before the office is checked, so that whatever a
            # newer one writes from here on makes the next attempt fail.
            entry = await self.store.get(key)
            await self._check_office()
            expected = entry.revision if entry else ABSENT

    async def _claim(self) -> JobRecord:
        """Rewrite the job's state, so that no older coordinator can write it."""
        while True:
            entry = await self.store.get(self.keys.state)
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
        job = attrs.evolve(self._job, **changes)
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
        self._nodes, self._members, self._assigned = {}, {}, {}
        for entry in listing.entries:
            if entry.key.startswith(self.keys.nodes):
                self._take(entry.key, entry.value, entry.revision)
            elif entry.key.startswith(self.keys.assignments):
                node_id = entry.key.removeprefix(self.keys.assignments)
                self._assigned[node_id] = entry.revision
                assignment = decode(Assignment, entry.key, entry.value)
                rank = _member_rank(self._job, assignment)
                if rank is not None:
                    self._members[node_id] = rank
                    self._hosts[node_id] = assignment.host
        for node in self._nodes.values():
            self._note_done(node)
        self._forming_since = asyncio.get_running_loop().time()
        return listing.revision

    def _take(self, key: str, value: bytes, revision: int) -> None:
        record = decode(NodeRecord, key, value)
        node_id = key.removeprefix(self.keys.nodes)
        node = Node(node_id=node_id, joined=record.joined or revision, record=record)
        self._nodes[node_id] = node
        self._note_done(node)

    def _note_done(self, node: Node) -> None:
        """Remember who is done: it stays true when the node is gone."""
        if (
            self._job.phase is JobPhase.SEALED
            and node.node_id in self._members
            and node.record.phase is NodePhase.DONE
            and node.record.generation == self._job.generation
        ):
            self._done.add(node.node_id)

    async def _pump(self, since: int) -> None:
        """Move events into the queue, so that waiting for them can have a deadline."""
        watch = self.store.watch(self.keys.nodes, since)
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
                self._apply(await self._events.get())
        while not self._events.empty():
            self._apply(self._events.get_nowait())

    def _apply(self, event: StoreEvent | Exception) -> None:
        if isinstance(event, Exception):
            raise event
        if event.value is not None:
            self._take(event.key, event.value, event.revision)
            return
        node = self._nodes.pop(event.key.removeprefix(self.keys.nodes), None)
        if node and node.record.phase is NodePhase.LEAVING:
            # Its goodbye and its end can come at once; the reason must not be lost.
            self._left[node.node_id] = node.record.reason

    async def _clean_up(self) -> None:
        """Remove the job's keys when everybody else has said goodbye."""
        deadline = asyncio.get_running_loop().time() + self.close_timeout
        while self._nodes.keys() - {self.node_id}:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await self._next_events(deadline)
        listing = await self.store.list(self.keys.root)
        kept = {self.keys.coordinator, self.keys.node(self.node_id)}
        for entry in listing.entries:
            if entry.key not in kept:
                await self.store.delete(entry.key)


def _member_rank(job: JobRecord, assignment: Assignment) -> int | None:
    """Return a node's rank in the generation that counts, `None` if not a member.

    That is the sealed one, or the one before the forming one. An assignment for the
    forming generation itself was written by a coordinator that did not live to seal it.
    """
    generation = assignment.membership.generation
    if job.phase is not JobPhase.FORMING:
        counts = generation == job.generation
        return assignment.membership.group_rank if counts else None
    if generation == job.generation:
        return assignment.previous_rank
    if generation == job.generation - 1:
        return assignment.membership.group_rank
    return None
