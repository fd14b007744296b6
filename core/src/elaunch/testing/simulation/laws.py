"""The laws: what must hold at every step of every run, whatever happens.

They are the promises of a rendezvous. A law that is broken is a sentence in
`Laws.broken`; the first one ends the run.
"""

from collections import Counter, defaultdict

import attrs

from elaunch.agent.agent import STOP_MARGIN
from elaunch.api import EventName, Membership, Notice, StoreEvent
from elaunch.errors import (
    ChildFailedError,
    NodeDrained,
    Preempted,
    RendezvousClosed,
    SignalException,
)
from elaunch.events import Value
from elaunch.membership.records import (
    Assignment,
    JobPhase,
    JobRecord,
    Keys,
    agent_of,
    decode,
)
from elaunch.testing.simulation.backend import Server
from elaunch.testing.simulation.decision_laws import DecisionLaws
from elaunch.testing.simulation.hold_laws import HoldLaws
from elaunch.testing.simulation.loop import SimulatedLoop
from elaunch.testing.simulation.node import SimulatedNode
from elaunch.testing.simulation.notice_laws import Key, NoticeLaws
from elaunch.testing.simulation.workers import SimulatedGroup


_ROUNDING = 1e-6
"""Seconds by which sums of times may differ from what they stand for."""


@attrs.define(eq=False)
class Laws:
    """Watches one run.

    Attributes:
        loop: The loop.
        server: The store.
        nodes: The nodes by name.
        broken: The laws that were broken.
        story: What happened, as far as it matters.
        failures: How many failures of workers were provoked.
        job: The job's record in the store.
        jobs: All that it was so far, in order.
        coordinator: The node that became the coordinator last.
        generations: How many generations were sealed.
        decisions: The laws of decisions.
        holds: The law of holds.
    """

    loop: SimulatedLoop
    server: Server
    nodes: dict[str, SimulatedNode]
    broken: list[str] = attrs.field(factory=list, init=False)
    story: list[str] = attrs.field(factory=list, init=False)
    failures: int = attrs.field(default=0, init=False)
    job: JobRecord | None = attrs.field(default=None, init=False)
    jobs: list[JobRecord] = attrs.field(factory=list, init=False)
    coordinator: str = attrs.field(default="", init=False)
    generations: int = attrs.field(default=0, init=False)
    decisions: DecisionLaws = attrs.field(init=False)
    holds: HoldLaws = attrs.field(init=False)
    _keys: Keys = attrs.field(factory=lambda: Keys("job"), init=False)
    _store: int = attrs.field(default=0, init=False)
    _lives: int = attrs.field(default=0, init=False)
    _joined: dict[str, Key] = attrs.field(factory=dict, init=False)
    _places: dict[Key, dict[str, Membership]] = attrs.field(
        factory=lambda: defaultdict(dict), init=False
    )
    _endpoints: dict[Key, str] = attrs.field(factory=dict, init=False)
    _alive: dict[SimulatedGroup, tuple[SimulatedNode, Key]] = attrs.field(
        factory=dict, init=False
    )
    _signalled: dict[str, list[float]] = attrs.field(factory=dict, init=False)
    _ranks: dict[str, int] = attrs.field(factory=dict, init=False)
    _done: set[str] = attrs.field(factory=set, init=False)
    _settled: tuple[str, ...] = attrs.field(default=(), init=False)
    _notices: NoticeLaws = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._notices = NoticeLaws(self._require)
        self.decisions = DecisionLaws(self._require, self._keys)
        self.holds = HoldLaws(self._require, self._keys)

    def watch_store(self) -> None:
        """Follow the store, which is a new one or the old one again."""
        if self.server.number != self._store:
            self._store = self.server.number
            self.job = None
            self._ranks = {}
            self.decisions.begins()
            self.holds.begins()
            keyspace = self.server.keyspace
            keyspace.subscribe(self._keys.state, keyspace.revision, self._state)
            keyspace.subscribe(self._keys.finished, keyspace.revision, self._finished)
            keyspace.subscribe(self._keys.notice, keyspace.revision, self._noticed)
            keyspace.subscribe(self._keys.all_vitals, keyspace.revision, self._told)

    def tell(self, text: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{self.loop.now:9.4f} {text}")

    def check(self) -> None:
        """Take over what the loop noticed."""
        self.broken.extend(self.loop.faults)
        self.loop.faults.clear()

    # -- what the nodes tell -----------------------------------------------------

    def happened(self, node: SimulatedNode, name: str, facts: dict[str, Value]) -> None:
        """Note an event of an agent."""
        if name == EventName.RENDEZVOUS_COORDINATOR:
            self.coordinator = node.name
        elif name == EventName.AGENT_STARTED:
            self._signalled[node.name] = []
        elif name == EventName.AGENT_SIGNALLED:
            self._signalled[node.name].append(self.loop.now)
        # Process ids are no part of a story: a run that is told again has others.
        told = " ".join(
            f"{key}={value}" for key, value in facts.items() if "pid" not in key
        )
        self.tell(f"{node.name}: {name} {told}")

    def joined(self, node: SimulatedNode, membership: Membership) -> None:
        """Agreement: all members see the same generation, and each place once."""
        if node.store is None:
            return
        key = (node.store.number, self._lives, membership.generation)
        self._joined[node.name] = key
        others = self._places[key]
        for name, other in others.items():
            same = ("group_size", "world_size", "restart_count", "reason")
            for field in same:
                if getattr(other, field) != getattr(membership, field):
                    self._break(
                        f"{node.name} and {name} disagree on {field} of generation "
                        f"{key}: {getattr(membership, field)!r}, "
                        f"{getattr(other, field)!r}"
                    )
            if other.group_rank == membership.group_rank:
                self._break(
                    f"{node.name} and {name} both have group rank {other.group_rank} "
                    f"in generation {key}"
                )
        others[node.name] = membership
        if node.process and not node.process.paused:
            node.excused = ""
        self._require(
            node.settings.fitting(membership.group_size) == membership.group_size,
            f"generation {key} has {membership.group_size} nodes",
        )

    def started(self, node: SimulatedNode, group: SimulatedGroup) -> None:
        """No two generations are alive together, and each has one endpoint."""
        # A node that stood still meanwhile starts what it joined, whatever is now.
        key = self._joined[node.name]
        self._require(
            group.generation == key[-1],
            f"{node.name} joined {key} and starts generation {group.generation}",
        )
        endpoint = group.endpoint
        known = self._endpoints.setdefault(key, endpoint)
        self._require(
            known == endpoint,
            f"workers of generation {key} have the endpoints {known} and {endpoint}",
        )
        for other, theirs in self._alive.values():
            # A store that has forgotten everything can't fence whom it does not know.
            another_store = theirs[0] != key[0]
            excused = node.excused or other.excused or another_store
            self._require(
                bool(theirs == key or excused or other is node),
                f"{node.name} starts workers of {key} while {other.name} runs {theirs}",
            )
            self._require(
                other is not node,
                f"{node.name} starts workers of {key} while it runs {theirs}",
            )
        self._alive[group] = (node, key)
        self.tell(f"{node.name}: workers of generation {key} run")

    def ended(self, node: SimulatedNode, group: SimulatedGroup) -> None:
        """Note that a group is gone."""
        self._alive.pop(group, None)
        # A node that runs no workers has nothing to be excused for.
        if node.process and not node.process.paused:
            node.excused = ""

    def noticed(
        self, node: SimulatedNode, group: SimulatedGroup, notice: Notice
    ) -> None:
        """Each notice is heard once."""
        self._notices.heard(node.name, group, notice)

    def closed(self, node: SimulatedNode, endpoint: str) -> None:
        """A meeting point is there for as long as workers of its generation run."""
        here = node.store.number if node.store else 0
        users = [
            other.name
            for group, (other, theirs) in self._alive.items()
            # Who meets in another store can't ask for the nodes of this one.
            if group.endpoint == endpoint and theirs[0] == here and not other.excused
        ]
        self._require(
            not users or bool(node.excused) or self._hurries(node),
            f"{node.name} closes {endpoint}, which workers of {users} use",
        )

    def _hurries(self, node: SimulatedNode) -> bool:
        """Whether a node has no time to wait for workers.

        It was told to stop twice, or while it was leaving already. Or once, and long
        ago: those that still run have not heard of anything.
        """
        told = self._signalled[node.name]
        late = self.loop.now - node.settings.shutdown_timeout - STOP_MARGIN
        return len(told) > 1 or any(
            t == self.loop.now or t <= late + _ROUNDING for t in told
        )

    # -- what the store tells ----------------------------------------------------

    def _state(self, event: StoreEvent) -> None:
        if event.value is None:
            self._require(
                self.job is not None and self.job.phase is JobPhase.CLOSED,
                "the state of a job that is not over was removed",
            )
            # Whoever comes now with the same id begins another job.
            self.job, self._ranks, self._lives = None, {}, self._lives + 1
            self.decisions.begins()
            self.holds.begins()
            return
        job, before = decode(JobRecord, event.key, event.value), self.job
        decisions, now = self.decisions, self.loop.now
        if before and job != before:
            decisions.transition(before, job, self.failures, now)
            self.holds.transition(before, job, now)
        decisions.written(job, self.server.keyspace)
        if job.phase is JobPhase.SEALED and (before is None or before != job):
            self._check_assignments(job)
        if job.phase is not JobPhase.SEALED:
            self._done.clear()
        self.job = job
        self.jobs.append(job)
        self.tell(
            f"store: {job.phase} {job.generation}, size {job.size}, restarts "
            f"{job.restarts}, token {job.token}: {job.reason}"
        )

    def _noticed(self, event: StoreEvent) -> None:
        self._notices.announced(self.server.number, self._lives, event)

    def _told(self, event: StoreEvent) -> None:
        self.holds.told(self.job, event, self.loop.now)

    def _finished(self, event: StoreEvent) -> None:
        """Remember who is done, which stays true when the node is gone."""
        if self.job is None or event.value is None:
            return
        if decode(int, event.key, event.value) == self.job.generation:
            self._done.add(event.key)

    def _check_assignments(self, job: JobRecord) -> None:
        """Each rank is given once, and whoever stays keeps its own."""
        self.generations += 1
        prefix = self._keys.assignments
        places: dict[str, int] = {}
        members = []
        worlds = Counter[tuple[int, int, int]]()
        for entry in self.server.keyspace.list(prefix).entries:
            given = decode(Assignment, entry.key, entry.value)
            place = given.membership
            if (place.generation, given.token) != (job.generation, job.token):
                continue
            members.append(entry.key.removeprefix(prefix))
            places[agent_of(members[-1])] = place.group_rank
            worlds[place.group_size, place.world_size, place.restart_count] += 1
        self._require(
            sorted(places.values()) == list(range(job.size)) and len(worlds) == 1,
            f"generation {job.generation} of {job.size} nodes has the ranks {places}",
        )
        moved = {
            agent: (rank, places[agent])
            for agent, rank in self._ranks.items()
            if places.get(agent, rank) != rank and rank < job.size
        }
        self._require(
            not moved or self._has_slots(),
            f"ranks moved in generation {job.generation}: {moved}",
        )
        self._ranks = places
        self.decisions.sealed(job, members, self.loop.now)

    def _has_slots(self) -> bool:
        return any(node.slot is not None for node in self.nodes.values())

    # -- what must be true at the end ----------------------------------------------

    def check_progress(self) -> None:
        """After a quiet time: the job is over, or everybody has a place."""
        alive = [node for node in self.nodes.values() if node.is_running]
        if not alive:
            return
        job = self.job
        settings = alive[0].settings
        if job and job.phase is JobPhase.CLOSED:
            names = [node.name for node in alive]
            self._break(f"the job is over ({job.reason}), {names} go on")
            return
        counted = [node for node in alive if not self.why_left_out(node)]
        if job is None or job.phase is not JobPhase.SEALED:
            self._require(
                not settings.fitting(len(counted)),
                f"{len(counted)} nodes could take part and nothing is sealed: {job}",
            )
            return
        # While some are done the others go on, and nobody joins them.
        done = len(self._done)
        wanted = job.size - done if done else settings.fitting(len(counted))
        running = {key for _, key in self._alive.values()}
        at_work = [node.name for node in alive if node.group]
        self._require(
            running <= {(self.server.number, self._lives, job.generation)},
            f"generation {job.generation} is current, workers run in {running}",
        )
        self._require(
            len(at_work) == job.size - done == wanted > 0,
            f"{len(alive)} nodes are here, {wanted} fit, generation {job.generation} "
            f"has {job.size}, {done} done, at work are {at_work}",
        )
        idle = [
            f"{node.name} ({node.bootstrap.endpoint})"
            for node in alive
            if node.bootstrap
            and node.bootstrap.is_open
            and node.bootstrap.endpoint not in self._endpoints_in_use()
        ]
        self._notices.check(
            {group: (node.name, key) for group, (node, key) in self._alive.items()}
        )
        self._require(not idle, f"nobody uses what is open on {idle}")
        self._settled = tuple(node.name for node in alive)

    def why_left_out(self, node: SimulatedNode) -> str:
        """Return why a node that is alive does not count; empty if it does."""
        agent = f"{node.agent}~1"
        out = self.job and self.job.exclusion_of(agent, node.name, self.loop.now)
        return str(out) if out else "unfit" if node.habits.unfit else ""

    def _endpoints_in_use(self) -> set[str]:
        return {group.endpoint for group in self._alive}

    def check_end(self) -> None:
        """When all workers are done: every agent has ended, and they agree on how."""
        for node in self.nodes.values():
            self._require(
                not node.is_running, f"{node.name} has not ended with the job"
            )
            self._check_result(node)

    def _check_result(self, node: SimulatedNode) -> None:
        """An agent ends with its job, as it was told to, or with its own fault.

        No trouble lasts as long as a join may wait, so an outage is no reason.
        """
        error = getattr(node.result, "error", node.result)
        ends = Preempted | SignalException | NodeDrained | ChildFailedError
        fine = isinstance(error, ends | RendezvousClosed) or error is None
        self._require(fine or error is node.habits.fault, f"{node.name}: {error!r}")
        if isinstance(error, RendezvousClosed):
            self._require("over" in str(error) or "ended" in str(error), f"{error}")
        # Members and spares alike: all that came after the quiet were good ends.
        self._require(
            node.name not in self._settled or error is None,
            f"{node.name} had a place in a job that succeeded, it ended with {error!r}",
        )

    def _require(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - an assertion
        if not holds:
            self._break(otherwise)

    def _break(self, text: str) -> None:
        self.broken.append(text)
        self.tell(f"BROKEN: {text}")
