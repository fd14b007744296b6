"""How nodes go: what they tell of pace, progress and findings, and how they stand."""

import attrs


MAX_FINDINGS = 8
"""Most findings that a node tells at a time: what is sent stays bounded."""


@attrs.frozen(kw_only=True)
class ToldFinding:
    """What a monitor of a node found, as the others hear of it.

    Attributes:
        host: Host of the node.
        rank: The worker, by its global rank; `None` if it is about the node.
        monitor: Who found it.
        severity: A word of `elaunch.monitor.Severity`.
        reason: What was found, in one line.
        timestamp: When, in Unix seconds of that host.
    """

    host: str
    rank: int | None
    monitor: str
    severity: str
    reason: str
    timestamp: float


@attrs.frozen(kw_only=True)
class Pace:
    """How long steps take on some ranks: each rank counts with its usual time.

    Attributes:
        ranks: How many ranks told.
        fastest: Seconds of the fastest one.
        median: Seconds of the one in the middle.
        slowest: Seconds of the slowest one.
        slowest_rank: Who that is, by global rank.
        step: The last step that any of them has told; `None` if none did.
    """

    ranks: int
    fastest: float
    median: float
    slowest: float
    slowest_rank: int
    step: int | None = None


@attrs.frozen(kw_only=True)
class ScalingHold:
    """A worker's wish that the job forms anew for no nodes that join, for a while.

    Attributes:
        rank: The worker, by its global rank.
        number: Tells it from those that this worker has before and after it.
        seconds: How long it still lasts at most, when this is told.
    """

    rank: int
    number: int
    seconds: float


@attrs.frozen(kw_only=True)
class Vitals:
    """How one node goes.

    Attributes:
        generation: The generation that it is about.
        progress: The farthest marker that a worker of it told; `None` for none.
        pace: How long steps take there; `None` if nobody tells.
        findings: The last findings, the latest last; at most `MAX_FINDINGS`.
        holds: Which of its workers put off a scaling; one for each at most.
    """

    generation: int
    progress: float | None = None
    pace: Pace | None = None
    findings: tuple[ToldFinding, ...] = ()
    holds: tuple[ScalingHold, ...] = ()


@attrs.frozen(kw_only=True)
class MemberStatus:
    """One node of a job, as its rendezvous knows it.

    Attributes:
        node: Its name among the nodes of the job: its host, or its agent where several
            nodes of the job share a host. See `ProcessFailure.node`.
        host: Its host.
        address: Address at which other nodes reach it.
        role: Role of its workers.
        local_world_size: How many workers it runs.
        state: Where it stands, in a word: ``ready``, ``running``, ``failed``, ``done``,
            ``preempted`` or ``leaving``.
        generation: The generation that ``state`` is about; 0 for none.
        group_rank: Its place in the generation that is sealed, or in the one before
            the generation that is forming; `None` for a spare.
        decides: Whether it is the coordinator.
        reason: Why it leaves, if it does.
        unfit: Why it can't take part, in its own words (`RendezvousHandler.withhold`).
        excluded: Why the job leaves it out, and for how long; empty if it does not.
        progress: The farthest marker that a worker of it told; `None` for none.
        pace: How long steps take there; `None` if nobody tells.
        findings: What its monitors found last.
    """

    node: str
    host: str
    address: str
    role: str
    local_world_size: int
    state: str
    generation: int = 0
    group_rank: int | None = None
    decides: bool = False
    reason: str = ""
    unfit: str = ""
    excluded: str = ""
    progress: float | None = None
    pace: Pace | None = None
    findings: tuple[ToldFinding, ...] = ()
