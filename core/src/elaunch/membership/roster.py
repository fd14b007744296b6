"""The roster: what the coordinator has read of a job, kept current by the watch."""

import math
from collections import deque

import attrs

from elaunch.membership.holding import PutOff
from elaunch.membership.job_vitals import JobVitals, farthest
from elaunch.membership.progress import NAMED, waiting
from elaunch.membership.ranks import Candidate
from elaunch.membership.records import (
    Assignment,
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    NodeRecord,
    Sighting,
    WaitingRecord,
    agent_of,
    decode,
    stay_of,
)
from elaunch.membership.view import Node, View
from elaunch.policy import PastFailure
from elaunch.store import Listing, StoreEvent
from elaunch.vitals import Vitals


@attrs.define(eq=False, repr=False)
class Roster:
    """The nodes and members of one job. No I/O: told what the store says, and when.

    Attributes:
        keys: Keys of the job.
        assigned: Revision of each assignment in the store, by node.
        recorded: Revision of each past failure in the store, by its number.
        history: The failures that were counted so far.
        vitals: How the nodes go.
        put_off: The scaling that workers put off.
    """

    keys: Keys
    assigned: dict[str, int] = attrs.field(factory=dict, init=False)
    recorded: dict[int, int] = attrs.field(factory=dict, init=False)
    history: list[PastFailure] = attrs.field(factory=list, init=False)
    vitals: JobVitals = attrs.field(factory=JobVitals, init=False)
    put_off: PutOff = attrs.field(factory=PutOff, init=False)
    _nodes: dict[str, Node] = attrs.field(factory=dict, init=False)
    _stays: dict[str, str] = attrs.field(factory=dict, init=False)
    _members: dict[str, int] = attrs.field(factory=dict, init=False)
    _hosts: dict[str, str] = attrs.field(factory=dict, init=False)
    _left: dict[str, str] = attrs.field(factory=dict, init=False)
    _done: set[str] = attrs.field(factory=set, init=False)
    _failed: set[str] = attrs.field(factory=set, init=False)
    _answered: set[str] = attrs.field(factory=set, init=False)
    _preempted: set[str] = attrs.field(factory=set, init=False)
    _charged: bool = attrs.field(default=False, init=False)
    _grown_since: float | None = attrs.field(default=None, init=False)
    _delayed_since: float = attrs.field(default=0.0, init=False)
    _failing_since: float | None = attrs.field(default=None, init=False)
    _since: dict[str, float] = attrs.field(factory=dict, init=False)
    _gone: deque[Sighting] = attrs.field(
        factory=lambda: deque(maxlen=NAMED), init=False
    )
    _forming_since: float = attrs.field(default=0.0, init=False)
    _quorum_since: float | None = attrs.field(default=None, init=False)

    def view(self, job: JobRecord, time: float = 0.0) -> View:
        """Return what a decision depends on, at a time in Unix seconds."""
        return View(
            job=job,
            nodes=self._nodes,
            members=self._members,
            hosts=self._hosts,
            left=self._left,
            done=frozenset(self._done),
            failed=frozenset(self._failed),
            answered=frozenset(self._answered),
            preempted=frozenset(self._preempted),
            charged=self._charged,
            history=tuple(self.history),
            time=time,
            progress=self.vitals.progress,
            findings=self.vitals.findings(job.members_of),
            holds=self.vitals.holds(job.generation, self._members),
            held_since=self.put_off.since,
            met=self.put_off.met,
            came=self._since,
            grown_since=-math.inf if self._grown_since is None else self._grown_since,
            delayed_since=self._delayed_since,
            failing_since=self._failing_since,
            forming_since=self._forming_since,
            quorum_since=self._quorum_since,
        )

    def waiting(self, job: JobRecord, now: float, time: float) -> WaitingRecord:
        """Return whom the job waits for; ``time`` is in Unix seconds."""
        gone = [attrs.evolve(seen, age=now - seen.age) for seen in self._gone]
        return waiting(self.view(job, time), gone, now)

    def read(self, job: JobRecord, listing: Listing, now: float) -> None:
        """Begin anew from all that the store holds of the job.

        A listing is sorted: places come before what their nodes are done with.
        """
        self._nodes, self._stays, self._members, self.assigned = {}, {}, {}, {}
        self.recorded, past = {}, {}
        self.vitals = JobVitals(farthest((self.vitals.progress, job.progress)))
        for entry in listing.entries:
            if entry.key.startswith(self.keys.nodes):
                self._take(job, entry.key, entry.value, entry.revision, now)
            elif entry.key.startswith(self.keys.assignments):
                node_id = entry.key.removeprefix(self.keys.assignments)
                self.assigned[node_id] = entry.revision
                assignment = decode(Assignment, entry.key, entry.value)
                rank = _member_rank(job, assignment)
                if rank is not None:
                    self._members[node_id] = rank
                    self._hosts[node_id] = assignment.host
            elif entry.key.startswith(self.keys.finished):
                node_id = entry.key.removeprefix(self.keys.finished)
                self._note_done(job, node_id, decode(int, entry.key, entry.value))
            elif entry.key.startswith(self.keys.all_vitals):
                self.note_vitals(entry.key, entry.value, now)
            elif entry.key.startswith(self.keys.history):
                number = int(entry.key.removeprefix(self.keys.history))
                self.recorded[number] = entry.revision
                past[number] = decode(PastFailure, entry.key, entry.value)
        # One beyond was written by who did not live to count it, or was taken back.
        self.history = [past[n] for n in range(job.restarts) if n in past]
        self._forming_since = self._delayed_since = now
        if job.generation > 1 and self._grown_since is None:
            self._grown_since = now  # nobody knows when that was

    def apply(self, job: JobRecord, event: StoreEvent, now: float) -> None:
        """Take in one change of a node."""
        if event.value is not None:
            self._take(job, event.key, event.value, event.revision, now)
        else:
            self.remove(event.key.removeprefix(self.keys.nodes), now)

    def note_vitals(self, key: str, value: bytes | None, now: float) -> bool:
        """Take in how a node goes, or that nobody needs to know any more.

        Returns:
            Whether that can concern a scaling which is put off.
        """
        node_id = key.removeprefix(self.keys.all_vitals)
        if value is None:
            self.vitals.drop(node_id)
            return False
        changed = self.vitals.take(node_id, decode(Vitals, key, value), now)
        return changed and self.put_off.since is not None

    def remove(self, node_id: str, now: float) -> None:
        """Note that a node is gone."""
        node = self._nodes.pop(node_id, None)
        self._since.pop(node_id, None)
        if node is None:
            return
        if self._stays.get(agent_of(node_id)) == node_id:
            del self._stays[agent_of(node_id)]
        state = "lost"
        if node.record.phase is NodePhase.LEAVING:
            # Its goodbye and its end can come at once; the reason must not be lost.
            self._left[node_id] = node.record.reason
            state = f"left: {node.record.reason},"
        self._gone.append(Sighting(node.record.facts.host, state, now))

    def excluded(self, node_id: str, now: float) -> None:
        """Note that a node took too long to stop: its end explains nothing."""
        self._answered.add(node_id)
        self.remove(node_id, now)

    def charged(self, past: PastFailure, now: float) -> None:
        """Note that a failure was counted."""
        self._charged = True
        self.history.append(past)
        self._delayed_since = now

    def refunded(self) -> None:
        """Note that what was counted last was taken back."""
        self._charged = False
        del self.history[-1:]

    def forming(self, now: float, *, grows: bool = False) -> None:
        """Note that a new generation is forming, maybe for nodes that joined."""
        self._charged = False
        self.put_off.forget()
        self._done.clear()
        self._quorum_since = None
        self._forming_since = self._delayed_since = now
        if grows:
            self._grown_since = now

    def sealed(self, members: tuple[Candidate, ...]) -> None:
        """Note who is a member of the generation that was just sealed."""
        self._left.clear()
        self._failed.clear()
        self._answered.clear()
        self._preempted.clear()
        self._charged, self._failing_since = False, None
        self._members = {m.node_id: rank for rank, m in enumerate(members)}
        self._hosts = {m.node_id: m.facts.host for m in members}

    def note_quorum(self, now: float, *, quorum: bool) -> None:
        """Remember since when the minimum is there."""
        if not quorum:
            self._quorum_since = None
        elif self._quorum_since is None:
            self._quorum_since = now

    def rank_of(self, node_id: str) -> int | None:
        """Return the rank of a member, `None` if it is none."""
        return self._members.get(node_id)

    def stale_assignments(self) -> list[str]:
        """Return the nodes whose assignments nobody needs any more."""
        needed = self._members.keys() | self._nodes.keys()
        return [node_id for node_id in self.assigned if node_id not in needed]

    def stale_vitals(self) -> list[str]:
        """Return the nodes whose vitals nobody needs any more."""
        return self.vitals.stale(self._members.keys() | self._nodes.keys())

    @property
    def count(self) -> int:
        """How many nodes are here."""
        return len(self._nodes)

    def others(self, node_id: str) -> bool:
        """Whether any node but this one is here."""
        return bool(self._nodes.keys() - {node_id})

    def _take(
        self, job: JobRecord, key: str, value: bytes, revision: int, now: float
    ) -> None:
        record = decode(NodeRecord, key, value)
        node_id = key.removeprefix(self.keys.nodes)
        # A stay that its agent has given up lives on until its lease is over.
        other = self._stays.get(agent_of(node_id), node_id)
        if stay_of(other) > stay_of(node_id):
            return
        if other != node_id:
            self.remove(other, now)
        self._stays[agent_of(node_id)] = node_id
        node = Node(node_id=node_id, joined=record.joined or revision, record=record)
        self._nodes[node_id] = node
        self._since.setdefault(node_id, now)
        if record.phase is NodePhase.DONE:
            self._note_done(job, node_id, record.generation)
        if record.generation != job.members_of:
            return
        if record.phase is NodePhase.READY:
            self._answered.add(node_id)
        if record.preempted and node_id in self._members:
            self._preempted.add(node_id)
        if record.failures:
            self._failed.add(node_id)
            if self._failing_since is None:
                self._failing_since = now

    def _note_done(self, job: JobRecord, node_id: str, generation: int) -> None:
        """Remember who is done: it stays true when the node is gone."""
        sealed = job.phase is JobPhase.SEALED and generation == job.generation
        if sealed and node_id in self._members:
            self._done.add(node_id)


def _member_rank(job: JobRecord, assignment: Assignment) -> int | None:
    """Return a node's rank in the generation that counts, `None` if not a member.

    That is the sealed one, or the one before the forming one, as the coordinator that
    sealed it assigned it. Another one, that did not live to seal it, may have assigned
    places in it, too: to nodes that were left out in the end.
    """
    place = assignment.membership
    forming = job.phase is JobPhase.FORMING
    if forming and place.generation == job.generation:
        return assignment.previous_rank
    sealed = (job.members_of, job.token)
    counts = (place.generation, assignment.token) == sealed
    return place.group_rank if counts else None
