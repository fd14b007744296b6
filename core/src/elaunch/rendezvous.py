"""The rendezvous port: nodes meet, agree on generations, and hear of changes."""

import enum
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from elaunch.events import Record, discard
from elaunch.failures import ProcessFailure
from elaunch.notice import Notice
from elaunch.policy import RestartPolicy
from elaunch.provider import Provider
from elaunch.restart_budget import BudgetPolicy
from elaunch.vitals import MemberStatus, Pace, Vitals


if TYPE_CHECKING:  # needed only where a worker failed
    from elaunch.decisions import Asked


@attrs.frozen(kw_only=True)
class NodeFacts:
    """What a node says of itself when it joins.

    Attributes:
        host: Host name, for messages.
        address: Address at which other nodes reach this one.
        addresses: Other addresses from which its workers may connect to other nodes.
        local_world_size: Workers it will run.
        role: Role of these workers.
        slot: Group rank it should get (from a scheduler), or `None` for any.
    """

    host: str
    address: str
    addresses: tuple[str, ...] = ()
    local_world_size: int = 1
    role: str = "default"
    slot: int | None = None


@attrs.frozen(kw_only=True)
class JobSettings:
    """What must be the same on every node of a job.

    Attributes:
        min_nodes: Fewest nodes a generation may have.
        max_nodes: Most nodes a generation may have.
        max_restarts: Restarts that failures may cost the job.
        restart_policy: Name of the restart policy with its options.
        on_failure: What follows from which failure, row by row.
        shutdown_timeout: Seconds that workers get between signal and SIGKILL.
        node_unit: A generation has a multiple of so many nodes.
        population: How many nodes will ever come, `None` if replacements may. It lets
            a job end as soon as its minimum can't be reached any more.
    """

    min_nodes: int
    max_nodes: int
    max_restarts: int = 0
    restart_policy: str = "default"
    on_failure: tuple[str, ...] = ()
    shutdown_timeout: float = 30.0
    node_unit: int = 1
    population: int | None = None

    @property
    def asked(self) -> "Asked":
        """The restart policy, as decisions tell of it."""
        from elaunch.decisions import Asked

        return Asked(
            policy=self.restart_policy,
            max_restarts=self.max_restarts,
            on_failure=self.on_failure,
        )

    def fitting(self, count: int) -> int:
        """Return how many of so many nodes a generation can have; 0 if too few."""
        most = min(count, self.max_nodes)
        size = most - most % self.node_unit
        return size if size >= self.min_nodes else 0


@attrs.frozen(kw_only=True)
class RendezvousParameters:
    """What every rendezvous backend is built with.

    Attributes:
        backend: Name of the backend.
        endpoint: Where its store is, in the backend's own form; may be empty.
        run_id: Id of the job; nodes with the same id meet.
        min_nodes: Fewest nodes a generation may have.
        max_nodes: Most nodes a generation may have.
        local_addr: Address this node advertises; `None` to find out.
        config: Options of the backend (``--rdzv-conf``), still as given.
        node: What this node says of itself; `None` to find out.
        settings: What must be the same on every node; `None` for the defaults.
        policy: Restart policy; the coordinator asks it.
        interval: Seconds between two looks at what tells nothing by itself.
        record: Told what happens.
        clock: Tells the time in Unix seconds, for what must outlive this process.

    Raises:
        ValueError: If a field is empty or out of range.
    """

    backend: str = attrs.field(validator=attrs.validators.min_len(1))
    endpoint: str = ""
    run_id: str = attrs.field(validator=attrs.validators.min_len(1))
    min_nodes: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    max_nodes: int = attrs.field(default=1)
    local_addr: str | None = None
    config: Mapping[str, Any] = attrs.field(factory=dict)
    node: NodeFacts | None = None
    settings: JobSettings | None = None
    policy: RestartPolicy = attrs.field(factory=lambda: BudgetPolicy(0), repr=False)
    interval: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))
    record: Record = attrs.field(default=discard, repr=False)
    clock: Callable[[], float] = attrs.field(default=time.time, repr=False)

    @max_nodes.validator
    def _check_max_nodes(self, _: object, value: int) -> None:
        if value < self.min_nodes:
            raise ValueError(
                f"max_nodes {value} is smaller than min_nodes {self.min_nodes}"
            )


@attrs.frozen(kw_only=True)
class Membership:
    """A node's place in one sealed generation.

    Attributes:
        generation: Number of the generation, from 1, growing.
        group_rank: Rank of this node, from 0.
        group_size: Nodes in the generation.
        base_rank: Global rank of this node's first worker.
        world_size: Workers in the generation.
        base_role_rank: Role rank of this node's first worker.
        role_world_size: Workers of this node's role.
        restart_count: Restarts the job has spent on failures, equal on all nodes.
        reason: Why this generation was formed.
    """

    generation: int
    group_rank: int
    group_size: int
    base_rank: int
    world_size: int
    base_role_rank: int
    role_world_size: int
    restart_count: int
    reason: str


class OutcomeState(enum.StrEnum):
    """How a job can end."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    LOST_QUORUM = "lost quorum"
    PREEMPTED = "preempted"
    HANDED_BACK = "handed back"


@attrs.frozen(kw_only=True)
class Outcome:
    """How a job ended.

    Attributes:
        state: Success, or which other end.
        reason: Why, in one line.
        failures: The failures behind it, the root cause among them; at most
            `elaunch.policy.MAX_FAILURES`.
    """

    state: OutcomeState
    reason: str
    failures: tuple[ProcessFailure, ...] = ()


class ChangeKind(enum.StrEnum):
    """What can happen to a member."""

    SUPERSEDED = "superseded"
    CLOSED = "closed"
    LOST = "lost"
    NOTICE = "notice"


@attrs.frozen(kw_only=True)
class Change:
    """News for a member of a generation.

    Attributes:
        kind: ``SUPERSEDED``: a newer generation is forming; stop the workers and join
            again. ``CLOSED``: the job is over. ``LOST``: this node can't prove any
            more that it is a member; stop the workers at once. ``NOTICE``: a member
            has announced something that its workers should know.
        reason: Who or what, and why, in one line.
        outcome: How the job ended, for ``CLOSED``.
        grace: Seconds in which the workers must be stopped, for ``LOST``: after that
            others may go on without this node.
        failed: Whether workers of this generation failed, for ``SUPERSEDED``.
        notice: What was announced, for ``NOTICE``.
    """

    kind: ChangeKind
    reason: str
    outcome: Outcome | None = None
    grace: float = math.inf
    failed: bool = False
    notice: Notice | None = None


class NodeState(enum.StrEnum):
    """What a node can report about a generation."""

    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"
    PREEMPTED = "preempted"


class RendezvousHandler(Protocol):
    """One node's side of a rendezvous.

    Used by one task at a time but for `changes`, `others_stopped`, `withhold`,
    `restart`, `tell`, `job_pace` and `members`, which other tasks may use meanwhile.
    """

    @property
    def backend(self) -> str:
        """Name of the backend."""

    @property
    def run_id(self) -> str:
        """Id of the job."""

    async def join(self) -> Membership:
        """Wait until this node is a member of a sealed generation.

        Called again after ``SUPERSEDED`` or ``LOST``, when the workers are stopped.

        Raises:
            RendezvousTimeout: If too few nodes came in time; names who was seen.
            RendezvousClosed: If the job is over; its outcome is in ``outcome()``.
                `RendezvousGracefulExit` if it succeeded without this node.
            RendezvousUnreachable: If the store can't be reached.
            NodeNotAdmitted: If the job refuses this node.
        """

    def changes(self) -> AsyncGenerator[Change, None]:
        """Yield what happens to the current membership, each kind at most once.

        But ``NOTICE``, which comes once for each notice that was announced for this
        generation, whoever did so; of several quick ones the last may come alone.

        Ends after ``CLOSED`` or ``LOST``, which can come after ``SUPERSEDED``: a lease
        can end while the workers still stop.
        """

    def outcome(self) -> Outcome | None:
        """Return how the job ended, or `None` while it has not."""

    async def member_addresses(self) -> frozenset[str]:
        """As group rank 0: return from where the generation's workers connect.

        They are the addresses of all members, this node among them. The one that a node
        advertises may be a name.

        Raises:
            RendezvousUnreachable: If the store does not tell.
        """

    async def others_stopped(self) -> None:
        """Wait until no other node runs workers of this node's last generation.

        Only for who was its group rank 0 and has called `member_addresses`; also when
        it has said goodbye. Whoever is gone counts as stopped.

        Raises:
            RendezvousUnreachable: If the store can't tell.
        """

    async def publish_bootstrap(self, info: Mapping[str, str]) -> None:
        """As group rank 0: tell all members how workers find each other."""

    async def bootstrap(self) -> Mapping[str, str]:
        """Wait for what group rank 0 publishes for the current generation."""

    async def report(
        self, state: NodeState, failures: tuple[ProcessFailure, ...] = ()
    ) -> None:
        """Tell the job how this node's workers are."""

    async def announce(self, notice: Notice) -> None:
        """Let every member of this node's generation know of a notice.

        Nothing else comes of it. It is heard also if this node leaves at once. What
        many nodes announce at the same time is one event: the first notice counts.

        Raises:
            RendezvousUnreachable: If the store does not take it.
        """

    async def retire(self, reason: str) -> None:
        """Tell the job that this node leaves as soon as its workers have stopped.

        The others stop theirs meanwhile, and wait for this node's `leave`.

        Raises:
            RendezvousUnreachable: If the store does not take it.
        """

    async def withhold(self, reason: str) -> None:
        """Keep this node out of generations for a reason that all are told.

        It may join, and then waits without being counted until it is told that the
        node is fit again. At any time, also before `join`; a member stays one until
        its generation ends. Where the store can't be told now it is told later.

        Args:
            reason: Why, in one line; empty for that the node is fit.
        """

    async def restart(self, reason: str) -> None:
        """Let the job form anew, at no cost, with whoever is here.

        The members hear of it by `changes`, this node among them. Nothing happens where
        a newer generation forms already.

        Raises:
            RendezvousUnreachable: If this node is no member, or the store does not take
                it.
        """

    async def tell(self, vitals: Vitals, *, at_once: bool = False) -> None:
        """Tell the job how this node goes, for who decides and for whoever asks.

        Args:
            vitals: How.
            at_once: Whether it must be known before something else is told; in a
                large job it waits otherwise until it is this node's turn.

        Raises:
            RendezvousUnreachable: If this node is no member, or the store does not take
                it.
        """

    def job_pace(self) -> Pace | None:
        """Return how long steps take on all nodes of this node's generation.

        `None` if nobody tells, or nobody has told for the whole job so far.
        """

    async def members(self) -> Sequence[MemberStatus]:
        """Return how all nodes of the job are, by their ranks; the spares come last.

        It asks the store: for people who want to know, not for what each node does.

        Raises:
            RendezvousUnreachable: If the store does not tell.
        """

    async def leave(self, reason: str) -> None:
        """Say goodbye for good: others act at once. Twice is fine."""

    async def close(self, outcome: Outcome) -> None:
        """End the job for everybody, also while this node still waits for a place.

        The first outcome stays.

        Raises:
            RendezvousUnreachable: If it has not begun to join, or the store does not
                take it.
        """

    async def aclose(self) -> None:
        """Leave if need be and release everything. Twice is fine."""


RendezvousProvider = Provider[RendezvousParameters, RendezvousHandler]
