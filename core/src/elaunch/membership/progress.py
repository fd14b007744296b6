"""What a waiting node tells: how long it waits, who is here, who is missing."""

from collections.abc import Sequence

import attrs

from elaunch.events import Value
from elaunch.membership.records import NodePhase, NodeRecord, differences
from elaunch.rendezvous import JobSettings


PROGRESS_FIRST = 1.0
"""Seconds after which a waiting node tells for the first time what it waits for."""

PROGRESS_INTERVAL = 10.0
"""Seconds between the next times."""

NAMED = 16
"""How many nodes are named; the others are counted."""


@attrs.define(eq=False)
class Patience:
    """How long a join still waits, and when it tells its progress next.

    Attributes:
        limit: Seconds a node waits for a generation to form.
        deadline: When that is over.
        next_progress: When to tell progress next.
    """

    limit: float
    deadline: float
    next_progress: float

    @classmethod
    def begin(cls, now: float, limit: float) -> "Patience":
        """Begin to wait."""
        return cls(limit, now + limit, now + PROGRESS_FIRST)

    def told(self, now: float) -> None:
        """Note that progress was told just now."""
        self.next_progress = now + PROGRESS_INTERVAL

    def rearm(self, now: float) -> None:
        """Begin the limit anew: a spare's wait counts from when it is needed."""
        self.deadline = now + self.limit


def progress(
    nodes: Sequence[NodeRecord], settings: JobSettings, *, spare: bool
) -> dict[str, Value]:
    """Return the facts of ``rendezvous.waiting``."""
    return {
        "seen": len(nodes),
        "ready": sum(node.phase is NodePhase.READY for node in nodes),
        "min_nodes": settings.min_nodes,
        "max_nodes": settings.max_nodes,
        "hosts": [node.facts.host for node in nodes[:NAMED]],
        "spare": spare,
    }


def who_is_missing(
    run_id: str, nodes: Sequence[NodeRecord], settings: JobSettings, limit: float
) -> str:
    """Return the message of a join that has waited ``limit`` seconds in vain."""
    seen = [
        f"{node.facts.host!r} ({node.phase}{_not_counted(node, settings)})"
        for node in nodes[:NAMED]
    ]
    if len(nodes) > NAMED:
        seen.append(f"{len(nodes) - NAMED} more")
    return (
        f"job {run_id!r} did not form within {limit:g} s: {len(nodes)} of at least "
        f"{settings.min_nodes} nodes were here: {', '.join(seen)}; start the missing "
        f"nodes with the same --rdzv-id and --rdzv-endpoint, or raise "
        f"--rdzv-conf join_timeout"
    )


def _not_counted(node: NodeRecord, settings: JobSettings) -> str:
    differing = differences(node.settings, settings)
    return f"; not counted: {differing}" if differing else ""
