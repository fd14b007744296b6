"""What a node tells the job of how it goes: its pace, its progress, what was found."""

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
class Vitals:
    """How one node goes.

    Attributes:
        generation: The generation that it is about.
        progress: The farthest marker that a worker of it told; `None` for none.
        pace: How long steps take there; `None` if nobody tells.
        findings: The last findings, the latest last; at most `MAX_FINDINGS`.
    """

    generation: int
    progress: float | None = None
    pace: Pace | None = None
    findings: tuple[ToldFinding, ...] = ()
