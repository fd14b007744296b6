"""What the membership service keeps in a store: keys, records, and their JSON.

Keys under ``/<run_id>/``:

- ``nodes/<node_id>`` (leased): what a node says of itself; only the node writes it.
- ``assign/<node_id>``: the place of a node in a generation; written by the coordinator
  before it seals that generation.
- ``done/<node_id>``: the generation whose workers all succeeded on a node; written by
  the node, and true also when it is gone.
- ``vitals/<node_id>``: how a node goes; written by the node, and kept for a while when
  it is gone.
- ``history/<n>``: the n-th failure that cost a restart, from 0, and what was decided;
  written by the coordinator before the state that counts it. Of those the first
  ``restarts`` count.
- ``job/coordinator`` (leased): who decides. Its revision is the fencing token.
- ``job/state``: the generation and its phase. One write wakes every node.
- ``job/waiting`` (leased): whom a generation that can't be formed yet waits for.
- ``job/pace`` (leased): how long steps take on all nodes of a generation.
- ``job/held`` (leased): which workers put off that nodes come in that wait for that.
- ``job/notice``: the last notice to the workers of a generation; without a lease, so
  that it is heard also if who announced it is gone.
- ``job/bootstrap/<g>`` (leased): how the workers of generation ``g`` find each other.

What concerns all nodes lies under ``job/``, so that a node needs one watch and hears
nothing of the comings and goings of others.
"""

import enum
from collections.abc import Mapping
from typing import TypeVar

import attrs
import msgspec

from elaunch.encodable import all_encodable
from elaunch.errors import RendezvousCorrupt
from elaunch.failures import ProcessFailure
from elaunch.membership.exclusions import Exclusion
from elaunch.notice import Notice
from elaunch.rendezvous import JobSettings, Membership, NodeFacts, Outcome
from elaunch.vitals import Pace


RecordT = TypeVar("RecordT")


@attrs.frozen
class Keys:
    """The keys of one job.

    Attributes:
        run_id: Id of the job.
    """

    run_id: str

    @property
    def root(self) -> str:
        """Prefix of all keys of the job."""
        return f"/{self.run_id}/"

    @property
    def job(self) -> str:
        """Prefix of the keys that every node watches."""
        return f"{self.root}job/"

    @property
    def nodes(self) -> str:
        """Prefix of the keys that the coordinator watches."""
        return f"{self.root}nodes/"

    @property
    def assignments(self) -> str:
        """Prefix of the assignments."""
        return f"{self.root}assign/"

    @property
    def finished(self) -> str:
        """Prefix of what tells who is done."""
        return f"{self.root}done/"

    @property
    def all_vitals(self) -> str:
        """Prefix of what nodes tell of how they go."""
        return f"{self.root}vitals/"

    @property
    def history(self) -> str:
        """Prefix of the failures that cost a restart."""
        return f"{self.root}history/"

    @property
    def coordinator(self) -> str:
        """Who decides."""
        return f"{self.job}coordinator"

    @property
    def state(self) -> str:
        """The generation and its phase."""
        return f"{self.job}state"

    @property
    def waiting(self) -> str:
        """Whom the job waits for."""
        return f"{self.job}waiting"

    @property
    def pace(self) -> str:
        """How long steps take on all nodes."""
        return f"{self.job}pace"

    @property
    def held(self) -> str:
        """Who puts off a scaling."""
        return f"{self.job}held"

    @property
    def notice(self) -> str:
        """What workers are told."""
        return f"{self.job}notice"

    def bootstrap(self, generation: int) -> str:
        """How the workers of a generation find each other."""
        return f"{self.job}bootstrap/{generation}"

    def node(self, node_id: str) -> str:
        """What a node says of itself."""
        return f"{self.nodes}{node_id}"

    def done(self, node_id: str) -> str:
        """The generation that a node is done with."""
        return f"{self.finished}{node_id}"

    def vitals(self, node_id: str) -> str:
        """How a node goes."""
        return f"{self.all_vitals}{node_id}"

    def past_failure(self, number: int) -> str:
        """One of the failures that cost a restart, from 0."""
        return f"{self.history}{number}"

    def assignment(self, node_id: str) -> str:
        """The place of a node."""
        return f"{self.assignments}{node_id}"


def node_id_of(agent: str, stay: int) -> str:
    """Return the id of a node in an agent's n-th stay: each stay has its own."""
    return f"{agent}~{stay}"


def agent_of(node_id: str) -> str:
    """Return the agent whose stay this is, by which a node that returns is known."""
    return node_id.partition("~")[0]


def stay_of(node_id: str) -> int:
    """Return the number of the stay: of several, the last one counts."""
    return int(node_id.partition("~")[2] or 0)


class NodePhase(enum.StrEnum):
    """Where a node stands."""

    READY = "ready"
    RUNNING = "running"
    FAILED = "failed"
    DONE = "done"
    PREEMPTED = "preempted"
    LEAVING = "leaving"


@attrs.frozen(kw_only=True)
class NodeRecord:
    """What a node says of itself.

    Attributes:
        facts: Its address, workers, role and slot.
        settings: The job's settings as it knows them.
        phase: Where it stands.
        generation: The generation that ``phase`` is about; for ``READY`` the last one
            whose workers this node has stopped, 0 for none.
        joined: Revision of its first record: the order in which nodes came. 0 in that
            first record itself, where the key's own revision stands for it.
        failures: Failures of its workers, for ``FAILED``. A node that is ready again
            repeats them: the two records can come so fast that only the last is seen.
        preempted: Whether workers of that generation ended for a preemption. Whatever
            the node says next about that generation repeats it, likewise.
        reason: Why it leaves, for ``LEAVING``.
        restart: Why that generation is to end and the job to form anew; empty if
            nobody there asks for it. Repeated, likewise.
        unfit: Why the node does not count although it is ``READY``; empty if it does.
    """

    facts: NodeFacts
    settings: JobSettings
    phase: NodePhase
    generation: int = 0
    joined: int = 0
    failures: tuple[ProcessFailure, ...] = ()
    preempted: bool = False
    reason: str = ""
    restart: str = ""
    unfit: str = ""


class JobPhase(enum.StrEnum):
    """Where the job stands."""

    FORMING = "forming"
    SEALED = "sealed"
    CLOSED = "closed"


@attrs.frozen
class Holder:
    """Who is the coordinator.

    Attributes:
        node: Id of the node.
    """

    node: str


@attrs.frozen(kw_only=True)
class JobRecord:
    """The generation and its phase.

    Attributes:
        phase: ``FORMING``: members of the generation before stop their workers and
            become ready. ``SEALED``: the assignments count. ``CLOSED``: it is over.
        generation: Number of the generation, from 1.
        settings: Settings of the job: those of its first coordinator.
        token: Fencing token of the coordinator that wrote this.
        size: Nodes in the generation, once sealed.
        restarts: Restarts spent on failures so far.
        failed: The last generation whose failure was counted, 0 for none.
        delay: Seconds before the generation that is forming may be sealed: back-off.
        excluded: Nodes that are left out.
        departed: Agents that were members once and are gone.
        progress: The farthest marker of any worker so far; `None` for none.
        reason: Why this generation is formed, or why the job is over.
        outcome: How the job ended, once closed.
    """

    phase: JobPhase
    generation: int
    settings: JobSettings
    token: int
    size: int = 0
    restarts: int = 0
    failed: int = 0
    delay: float = 0.0
    excluded: tuple[Exclusion, ...] = ()
    departed: int = 0
    progress: float | None = None
    reason: str = ""
    outcome: Outcome | None = None

    @property
    def members_of(self) -> int:
        """The generation that has members: the sealed one, or the last before it."""
        return self.generation - (self.phase is JobPhase.FORMING)

    def exclusion_of(self, node_id: str, host: str, time: float) -> Exclusion | None:
        """Return why a node is left out at a time, `None` if it is not."""
        names = (host, agent_of(node_id))
        of_it = [e for e in self.excluded if e.node in names and e.lasts(time)]
        return of_it[-1] if of_it else None


@attrs.frozen(kw_only=True)
class Assignment:
    """The place of a node in a generation.

    Attributes:
        membership: The place.
        host: Host of the node, to name it by when it is gone.
        token: Fencing token of the coordinator that assigned it.
        previous_rank: Group rank in the generation before, `None` if this stay was no
            member of it.
    """

    membership: Membership
    host: str
    token: int
    previous_rank: int | None = None


@attrs.frozen
class Sighting:
    """A node that was seen.

    Attributes:
        host: Its host.
        state: How it was seen, for example ``ready``, ``lost`` or ``left: SIGTERM``.
        age: Seconds since that began, when this was written.
        counts: Whether it can be a member.
    """

    host: str
    state: str
    age: float
    counts: bool = True


@attrs.frozen(kw_only=True)
class WaitingRecord:
    """Whom a generation waits for. Its size does not grow with the job.

    Attributes:
        generation: The generation that is forming.
        ready: Nodes that could be members.
        seen: Nodes that are here.
        here: Some of them; first those that don't count.
        gone: The last of those that were here.
        missing: Who should be here and is not, one text for each or for many.
        delay: Seconds before the generation may begin, from when this was written.
    """

    generation: int
    ready: int
    seen: int
    here: tuple[Sighting, ...]
    gone: tuple[Sighting, ...]
    missing: tuple[str, ...]
    delay: float = 0.0


@attrs.frozen
class PaceRecord:
    """How long steps take in a generation.

    Attributes:
        generation: The generation.
        pace: How long they take, over all its nodes.
    """

    generation: int
    pace: Pace


@attrs.frozen
class NoticeRecord:
    """What the workers of a generation are told.

    Attributes:
        generation: The generation in which it was announced.
        notice: What they are told.
    """

    generation: int
    notice: Notice


def encode(record: object) -> bytes:
    """Return a record as JSON, whatever a failure or a notice in it says."""
    try:
        return msgspec.json.encode(record)
    except UnicodeEncodeError:
        return msgspec.json.encode(all_encodable(msgspec.to_builtins(record)))


def decode(kind: type[RecordT], key: str, value: bytes) -> RecordT:
    """Read a record that `encode` wrote.

    Raises:
        RendezvousCorrupt: If the value is not such a record; names the key.
    """
    try:
        return msgspec.json.decode(value, type=kind)
    except msgspec.DecodeError as error:
        raise RendezvousCorrupt(
            f"key {key!r} does not hold a {kind.__name__}: {error}; "
            f"do all nodes run the same version of elaunch?"
        ) from error


def decode_info(key: str, value: bytes) -> Mapping[str, str]:
    """Read what a bootstrap published.

    Raises:
        RendezvousCorrupt: If the value is not a mapping of strings; names the key.
    """
    return decode(dict[str, str], key, value)
