"""How long the phases of a generation took. Pure.

A phase on one node is measured by that node's clock; of all nodes the slowest counts.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from elaunch_events_log.reading.entry import Entry
from elaunch_events_log.reading.lives import JOINED
from elaunch_events_log.story.run import Phase


Label = Callable[[Entry], str]
Moments = dict[str, float]
"""A time for each node."""


def phases_of(
    own: Sequence[Entry], before: Sequence[Entry], label: Label
) -> list[Phase]:
    """Return the phases of a generation.

    Args:
        own: Its events.
        before: Those of the generation before it; may be empty.
        label: Tells the node of an event.
    """
    joined = _first(own, (JOINED,), label)
    began = {
        label(e): e.time - (e.number("duration_ms") or 0) / 1000
        for e in own
        if e.name == JOINED
    }
    started = _first(own, ("group.started",), label)
    stopping = _first(own, ("group.stopping",), label)
    stopped = _first(own, ("group.stopped",), label)
    ends = _first(own, ("group.succeeded", "worker.failed", "group.stopping"), label)
    found = [
        _slowest("rendezvous", began, joined),
        _slowest("spawn", joined, started),
        _slowest("first heartbeat", started, _all_heard(own, label)),
        _ran(started, ends),
        _detect(own, stopping, label),
        _slowest("stop", stopping, stopped),
    ]
    down = _down(before, started)
    return [phase for phase in (*found, down) if phase]


def _first(own: Iterable[Entry], names: Sequence[str], label: Label) -> Moments:
    moments: Moments = {}
    for entry in own:
        if entry.name in names:
            moments.setdefault(label(entry), entry.time)
    return moments


def _all_heard(own: Sequence[Entry], label: Label) -> Moments:
    """Return when the last worker of each node sent its first heartbeat."""
    started = Counter(label(e) for e in own if e.name == "worker.started")
    heard: dict[str, list[float]] = {}
    for entry in own:
        if entry.name == "worker.first_heartbeat":
            heard.setdefault(label(entry), []).append(entry.time)
    return {
        node: max(times) for node, times in heard.items() if len(times) == started[node]
    }


def _slowest(name: str, since: Moments, until: Moments) -> Phase | None:
    took = {node: until[node] - since[node] for node in since.keys() & until.keys()}
    if not took:
        return None
    node = max(sorted(took), key=lambda each: took[each])
    return Phase(name=name, seconds=max(took[node], 0.0), node=node)


def _ran(started: Moments, ends: Moments) -> Phase | None:
    """Return how long all workers ran, up to the first end."""
    known = started.keys() & ends.keys()
    if not known:
        return None
    node = min(sorted(known), key=lambda each: ends[each])
    return Phase(name="ran", seconds=max(ends[node] - started[node], 0.0), node=node)


def _failed_at(own: Iterable[Entry]) -> float | None:
    times = [e.number("failed_at") or e.time for e in own if e.name == "worker.failed"]
    return min(times, default=None)


def _detect(own: Sequence[Entry], stopping: Moments, label: Label) -> Phase | None:
    """Return how long it took until each node knew of the first failure."""
    failed = _failed_at(own)
    if failed is None:
        return None
    # A node that has nothing to stop knows when it sees the end of its last worker.
    seen = stopping or _first(own, ("worker.failed",), label)
    return _slowest("detect", dict.fromkeys(seen, failed), seen)


def _down(before: Sequence[Entry], started: Moments) -> Phase | None:
    """Return how long no generation ran, from what ended the one before."""
    failed = _failed_at(before)
    since = [e.time for e in before if e.name == "group.stopping"]
    if failed is not None:
        since.append(failed)
    if not since or not started:
        return None
    return Phase(name="down", seconds=max(max(started.values()) - min(since), 0.0))
