"""What a waiting node tells: who is here, who is missing, and since when."""

import asyncio
import itertools
from collections.abc import Sequence

import attrs

from elaunch.errors import RendezvousUnreachable
from elaunch.events import Value
from elaunch.membership.differences import differences
from elaunch.membership.records import Sighting, WaitingRecord
from elaunch.membership.view import View
from elaunch.rendezvous import JobSettings


PROGRESS_FIRST = 1.0
"""Seconds after which a waiting node tells for the first time what it waits for."""

PROGRESS_INTERVAL = 10.0
"""Seconds between the next times."""

SHORTEST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
"""Seconds between two tries while the store does not answer: they double."""

NAMED = 16
"""How many nodes are named; the others are counted."""


@attrs.define(eq=False, repr=False)
class Patience:
    """How long a join still waits, and when it tells its progress next.

    Attributes:
        limit: Seconds a node waits for a generation to form.
        began: When it began to wait.
        next_progress: When to tell progress next.
        pause: Seconds to wait before the store is tried again.
    """

    limit: float
    began: float
    next_progress: float
    pause: float = SHORTEST_PAUSE

    @classmethod
    def begin(cls, now: float, limit: float) -> "Patience":
        """Begin to wait."""
        return cls(limit, now, now + PROGRESS_FIRST)

    @property
    def deadline(self) -> float:
        """When the limit is over."""
        return self.began + self.limit

    def told(self, now: float) -> None:
        """Note that progress was told just now."""
        self.next_progress = now + PROGRESS_INTERVAL

    async def endure(self, error: RendezvousUnreachable) -> None:
        """Wait a while after an error that may pass.

        Raises:
            RendezvousUnreachable: The error, once the limit is over.
        """
        if asyncio.get_running_loop().time() >= self.deadline:
            raise error
        await asyncio.sleep(self.pause)
        self.pause = min(2 * self.pause, LONGEST_PAUSE)

    def rearm(self, now: float) -> None:
        """Begin the limit anew: from when a spare is needed, or a back-off is over."""
        self.began = now


def waiting(view: View, gone: Sequence[Sighting], now: float) -> WaitingRecord:
    """Return whom the forming generation waits for.

    Args:
        view: What is known.
        gone: The nodes that were here, their ages as they are now.
        now: Time on the same clock.
    """
    left_out = [node_id for node_id in view.nodes if _why_left_out(view, node_id)]
    others = (node_id for node_id in view.nodes if node_id not in set(left_out))
    here = [
        Sighting(
            view.nodes[node_id].record.facts.host,
            _state(view, node_id),
            now - view.came.get(node_id, now),
            counts=not _why_left_out(view, node_id),
        )
        for node_id in itertools.islice((*left_out, *others), NAMED)
    ]
    return WaitingRecord(
        generation=view.job.generation,
        ready=len(view.candidates()),
        seen=len(view.nodes),
        here=tuple(here),
        gone=tuple(gone[-NAMED:]),
        missing=tuple(_missing(view)),
        delay=max(0.0, view.delayed_since + view.job.delay - now),
    )


def _state(view: View, node_id: str) -> str:
    record = view.nodes[node_id].record
    if node_id in view.members and not view.has_stopped(node_id):
        return "stopping its workers"
    return _why_left_out(view, node_id) or str(record.phase)


def _why_left_out(view: View, node_id: str) -> str:
    """Return why a node that is here does not count; empty if it does."""
    record = view.nodes[node_id].record
    differing = differences(record.settings, view.job.settings)
    if differing:
        return f"not counted: {differing}"
    exclusion = view.exclusion_of(node_id)
    if exclusion:
        return exclusion.told(view.time)
    return f"unfit: {record.unfit}" if record.unfit else ""


def _missing(view: View) -> list[str]:
    """Name who is missing: members that are gone, empty slots, or how many."""
    settings = view.job.settings
    absent = [
        f"{view.hosts[m]!r} (rank {view.members[m]})"
        for m in view.departed()
        if m in view.hosts and not view.exclusion_of(m)
    ]
    candidates = view.candidates()
    slots = {c.facts.slot for c in candidates if c.facts.slot is not None}
    if slots and not absent:
        empty = [n for n in range(settings.min_nodes) if n not in slots]
        absent = [f"node rank {slot}" for slot in empty]
    if absent:
        more = [f"{len(absent) - NAMED} more"] if len(absent) > NAMED else []
        return absent[:NAMED] + more
    short = _least(settings) - len(candidates)
    return [f"{short} more {'node' if short == 1 else 'nodes'}"] if short > 0 else []


def _least(settings: JobSettings) -> int:
    """Return the fewest nodes that can form a generation: a multiple of the unit."""
    return -(-settings.min_nodes // settings.node_unit) * settings.node_unit


def progress(
    record: WaitingRecord | None, settings: JobSettings, elapsed: float
) -> dict[str, Value]:
    """Return the facts of ``rendezvous.waiting`` that the coordinator tells.

    Args:
        record: What it tells, `None` if it has told nothing yet.
        settings: Settings of the job.
        elapsed: Seconds since it was told.
    """
    return {
        "seen": record.seen if record else 0,
        "ready": record.ready if record else 0,
        "min_nodes": settings.min_nodes,
        "max_nodes": settings.max_nodes,
        "hosts": [n.host for n in record.here if n.counts] if record else [],
        "missing": list(record.missing) if record else [],
        "gone": [_gone(node, elapsed) for node in record.gone] if record else [],
        "left_out": _left_out(record) if record else [],
        "delay": round(max(0.0, record.delay - elapsed), 3) if record else 0.0,
    }


_START = "; start the missing nodes with the same --rdzv-id and --rdzv-endpoint"


def who_is_missing(
    run_id: str,
    record: WaitingRecord | None,
    settings: JobSettings,
    *,
    elapsed: float,
    limit: float,
) -> str:
    """Return the message of a join that has waited ``limit`` seconds in vain."""
    head = f"job {run_id!r} did not form within {limit:g} s: "
    enough = record is not None and record.seen >= _least(settings)
    remedy = (
        "; put right what keeps nodes out" if enough else _START
    ) + ", or raise --rdzv-conf join_timeout"
    if record is None:
        return f"{head}no node has begun to coordinate it{remedy}"
    seen = [
        f"{node.host!r} ({node.state}, here for {node.age + elapsed:.0f} s)"
        for node in record.here
    ]
    if record.seen > len(record.here):
        seen.append(f"{record.seen - len(record.here)} more")
    parts = [
        f"{record.ready} of at least {_least(settings)} nodes are ready",
        f"here: {', '.join(seen) or 'none'}",
    ]
    if record.missing:
        parts.append(f"missing: {', '.join(record.missing)}")
    if record.gone:
        gone = ", ".join(_gone(node, elapsed) for node in record.gone)
        parts.append(f"seen before: {gone}")
    return head + "; ".join(parts) + remedy


def _left_out(record: WaitingRecord) -> list[str]:
    return [f"{node.host!r} ({node.state})" for node in record.here if not node.counts]


def _gone(node: Sighting, elapsed: float) -> str:
    return f"{node.host!r} ({node.state} {node.age + elapsed:.0f} s ago)"
