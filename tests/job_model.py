"""A job without agents: what nodes and a coordinator write, as plain calls.

Nodes do what their stays and agents do; decisions are performed as the coordinator
performs them, with the real roster over a real keyspace. The coordinator may lag behind
what nodes write.
"""

from collections import deque

import attrs

from elaunch.failures import ProcessFailure, Request
from elaunch.keyspace import Keyspace
from elaunch.membership.effects import after
from elaunch.membership.ranks import Candidate, memberships
from elaunch.membership.records import (
    Assignment,
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    NodeRecord,
    agent_of,
    decode,
    encode,
    node_id_of,
    stay_of,
)
from elaunch.membership.roster import Roster
from elaunch.membership.steps import (
    Charge,
    Close,
    Exclude,
    Form,
    Refund,
    Seal,
    Step,
    Wait,
)
from elaunch.membership.view import View
from elaunch.policy import PastFailure
from elaunch.rendezvous import JobSettings, NodeFacts
from elaunch.store import StoreEvent


@attrs.define(eq=False)
class Node:
    """What a node knows of itself.

    Attributes:
        node_id: Its id in this stay.
        record: What it said last.
        place: The generation that it is a member of; 0 while it waits.
        stopped: The last generation of which it runs no workers.
        at_work: Whether any of its workers is alive.
        unfit: Why it can't take part, or empty.
    """

    node_id: str
    record: NodeRecord
    place: int = 0
    stopped: int = 0
    at_work: bool = False
    unfit: str = ""


@attrs.define(eq=False)
class JobModel:
    """A job, its nodes and its coordinator.

    Attributes:
        settings: Settings of the job.
        slots: Whether nodes come with ranks.
        job: The job's record.
        roster: What the coordinator knows.
        nodes: The living nodes.
        now: The time.
        done: Who has been done, with the generation.
        not_before: When the generation that is forming may be sealed.
    """

    settings: JobSettings
    slots: bool
    job: JobRecord = attrs.field(init=False)
    roster: Roster = attrs.field(init=False)
    nodes: dict[str, Node] = attrs.field(factory=dict, init=False)
    now: float = attrs.field(default=0.0, init=False)
    done: set[tuple[str, int]] = attrs.field(factory=set, init=False)
    not_before: float = attrs.field(default=0.0, init=False)
    _keys: Keys = attrs.field(factory=lambda: Keys("job"), init=False)
    _space: Keyspace = attrs.field(factory=Keyspace, init=False)
    _unheard: deque[StoreEvent] = attrs.field(factory=deque, init=False)
    _agents: int = attrs.field(default=0, init=False)
    _token: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._space.subscribe(self._keys.nodes, 0, self._unheard.append)
        self.job = JobRecord(
            phase=JobPhase.FORMING, generation=1, settings=self.settings, token=1
        )
        self.take_office()

    def view(self) -> View:
        """Return what the coordinator decides by."""
        return self.roster.view(self.job, self.now)

    # -- who is where ----------------------------------------------------------------

    def here(self) -> list[Node]:
        """Return the nodes that stay."""
        leaving = NodePhase.LEAVING
        return [n for n in self.nodes.values() if n.record.phase is not leaving]

    def running(self) -> list[Node]:
        """Return the nodes whose workers are alive and well."""
        running = NodePhase.RUNNING
        return [n for n in self.nodes.values() if n.record.phase is running]

    def stale(self) -> list[str]:
        """Return the keys of stays that were given up."""
        keys = [entry.key for entry in self._space.list(self._keys.nodes).entries]
        return [k for k in keys if k.removeprefix(self._keys.nodes) not in self.nodes]

    def is_known(self, node: Node) -> bool:
        """Whether the job counts a node as alive: it does not if it was excluded."""
        return self._space.get(self._keys.node(node.node_id)) is not None

    # -- what nodes do ---------------------------------------------------------------

    def arrive(self, slot: int, settings: JobSettings) -> None:
        """Let another node come."""
        self._agents += 1
        name = f"host-{self._agents}"
        facts = NodeFacts(host=name, address=name, slot=slot if self.slots else None)
        record = NodeRecord(facts=facts, settings=settings, phase=NodePhase.READY)
        self._enter(Node(node_id_of(name, 1), record))

    def come_back(self, node: Node) -> None:
        """Begin another stay; the record of the one before lives on for a while."""
        agent, stay = agent_of(node.node_id), stay_of(node.node_id)
        del self.nodes[node.node_id]
        record = attrs.evolve(
            node.record,
            phase=NodePhase.READY,
            generation=0,
            joined=0,
            failures=(),
            preempted=False,
            restart="",
            unfit=node.unfit,
        )
        self._enter(Node(node_id_of(agent, stay + 1), record, unfit=node.unfit))

    def expire(self, key: str) -> None:
        """End the lease of a stay that was given up."""
        self._space.delete(key)

    def vanish(self, node: Node) -> None:
        """Be gone, with all workers."""
        del self.nodes[node.node_id]
        self._space.delete(self._keys.node(node.node_id))

    def retire(self, node: Node) -> None:
        """Say goodbye; the workers still stop."""
        self._say(
            node,
            NodePhase.LEAVING,
            node.place,
            preempted=node.record.preempted,
            reason="SIGTERM",
        )

    def withhold(self, node: Node, reason: str) -> None:
        """Say why a node can't take part; one that is ready says so at once."""
        node.unfit = reason
        if node.record.phase is NodePhase.READY:
            record = node.record
            self._say(
                node,
                NodePhase.READY,
                record.generation,
                failures=record.failures,
                preempted=record.preempted,
            )

    def ask_for_restart(self, node: Node) -> None:
        """Ask for the end of the generation, beside what was said."""
        node.record = attrs.evolve(node.record, restart="asked")
        if self.is_known(node):
            self._space.put(self._keys.node(node.node_id), encode(node.record))

    def fail(self, node: Node, request: Request | None = None) -> None:
        """Report that a worker failed, and may have asked for something."""
        failure = ProcessFailure(
            rank=0,
            local_rank=0,
            role="default",
            host=node.record.facts.host,
            pid=1,
            exitcode=1,
            timestamp=self.now,
            message="boom",
            request=request,
        )
        self._say(node, NodePhase.FAILED, node.place, failures=(failure,))

    def preempt(self, node: Node) -> None:
        """Report that workers have saved and ended for a preemption."""
        self._say(node, NodePhase.PREEMPTED, node.place, preempted=True)

    def succeed(self, node: Node) -> None:
        """Report that all workers are done."""
        node.at_work = False
        self.done.add((node.node_id, node.place))
        self._say(node, NodePhase.DONE, node.place)

    def act(self, node: Node) -> None:
        """Do what a node does next by itself, if anything."""
        forming = self.job.phase is JobPhase.FORMING
        if node.record.phase is NodePhase.LEAVING:
            self.vanish(node)
        elif not self.is_known(node):
            self.come_back(node)
        elif node.record.phase in (NodePhase.FAILED, NodePhase.PREEMPTED) or (
            0 < node.place < self.job.generation
        ):
            record = node.record
            self._be_ready(
                node, node.place, record.failures, preempted=record.preempted
            )
        elif not node.place and forming and self.job.generation > node.stopped + 1:
            # Generations have passed by unseen, maybe with this node as a member.
            self._be_ready(node, self.job.generation - 1)
        elif not node.place and self._is_member(node):
            node.place, node.at_work = self.job.generation, True
            self._say(node, NodePhase.RUNNING, node.place)

    def _is_member(self, node: Node) -> bool:
        key = self._keys.assignment(node.node_id)
        entry = self._space.get(key)
        if entry is None or self.job.phase is not JobPhase.SEALED:
            return False
        given = decode(Assignment, key, entry.value)
        place = (given.membership.generation, given.token)
        return place == (self.job.generation, self.job.token)

    def _be_ready(
        self,
        node: Node,
        stopped: int,
        failures: tuple[ProcessFailure, ...] = (),
        *,
        preempted: bool = False,
    ) -> None:
        node.at_work, node.stopped, node.place = False, stopped, 0
        ready = NodePhase.READY
        self._say(node, ready, stopped, failures=failures, preempted=preempted)

    def _enter(self, node: Node) -> None:
        key = self._keys.node(node.node_id)
        joined = self._space.put(key, encode(node.record))
        node.record = attrs.evolve(node.record, joined=joined)
        self.nodes[node.node_id] = node

    def _say(
        self,
        node: Node,
        phase: NodePhase,
        generation: int,
        *,
        failures: tuple[ProcessFailure, ...] = (),
        preempted: bool = False,
        reason: str = "",
    ) -> None:
        node.record = attrs.evolve(
            node.record,
            phase=phase,
            generation=generation,
            failures=failures,
            preempted=preempted,
            reason=reason,
            restart=node.record.restart if phase is NodePhase.RUNNING else "",
            unfit=node.unfit if phase is NodePhase.READY else "",
        )
        # The lease of one that was excluded is over.
        if self.is_known(node):
            self._space.put(self._keys.node(node.node_id), encode(node.record))

    # -- what the coordinator does ---------------------------------------------------

    def take_office(self) -> None:
        """Let another node decide, which knows nothing but what the store holds."""
        self._token += 1
        self._unheard.clear()
        self.roster = Roster(self._keys)
        self.roster.read(self.job, self._space.list(self._keys.root), self.now)

    def hear(self, most: int) -> None:
        """Hear of so many changes of nodes."""
        for _ in range(min(most, len(self._unheard))):
            self.roster.apply(self.job, self._unheard.popleft(), self.now)

    def assign(self, members: tuple[Candidate, ...], count: int) -> None:
        """Write so many of the assignments of a generation."""
        places = memberships(
            members,
            generation=self.job.generation,
            restart_count=self.job.restarts,
            reason=self.job.reason,
        )
        for member, place in list(zip(members, places, strict=True))[:count]:
            assignment = Assignment(
                membership=place,
                host=member.facts.host,
                token=self._token,
                previous_rank=self.roster.rank_of(member.node_id),
            )
            key = self._keys.assignment(member.node_id)
            revision = self._space.put(key, encode(assignment))
            self.roster.assigned[member.node_id] = revision

    def perform(self, step: Step) -> None:
        """Do what was decided."""
        match step:
            case Wait(_, quorum):
                self.roster.note_quorum(self.now, quorum=quorum)
            case Form():
                self._record_failure(step.past)
                self.job = after(self.job, step, self.now)
                self.roster.forming(self.now, grows=step.grows)
                self.not_before = 0.0
                self._charge(step.past)
            case Charge():
                self._record_failure(step.past)
                self.job = after(self.job, step, self.now)
                self._charge(step.past)
            case Refund():
                self.job = after(self.job, step, self.now)
                self.roster.refunded()
                self.not_before = 0.0
            case Seal():
                self._seal(step)
            case Exclude(node_ids):
                for node_id in node_ids:
                    self._space.delete(self._keys.node(node_id))
                    self.roster.excluded(node_id, self.now)
            case Close():
                self.job = after(self.job, step, self.now)

    def _record_failure(self, past: PastFailure | None) -> None:
        if past:
            key = self._keys.past_failure(self.job.restarts)
            self._space.put(key, encode(past))

    def _charge(self, past: PastFailure | None) -> None:
        if past:
            self.roster.charged(past, self.now)
            self.not_before = self.now + self.job.delay

    def _seal(self, step: Seal) -> None:
        size = len(step.members)
        self.assign(step.members, size)
        self.job = attrs.evolve(
            self.job,
            phase=JobPhase.SEALED,
            size=size,
            token=self._token,
            departed=step.departed,
        )
        self.roster.sealed(step.members)
        for node_id in self.roster.stale_assignments():
            del self.roster.assigned[node_id]
            self._space.delete(self._keys.assignment(node_id))
