"""Clocks that are wrong, seen by what happens on all nodes at the same time.

When a generation is sealed all members hear of it at once; what their clocks say then
shows how far they are apart.
"""

import statistics
from collections.abc import Iterable, Sequence

import attrs

from elaunch_events_log.reading.entry import LAST_TIME, Entry
from elaunch_events_log.reading.lives import JOINED, TELLING, lives_of


TOLERANCE = 2.0
"""Seconds that clocks may differ and nobody is told: a busy node is late, too."""


def aligned(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """Return events as if all clocks were the one of the first host, and notes."""
    offsets = _offsets(entries)
    shifted = []
    for entry in entries:
        offset = offsets.get((entry.run_id, entry.host), 0.0)
        shifted.append(_shifted(entry, offset) if offset else entry)
    notes = [
        f"the clock of {host} is {abs(offset):.1f} s "
        f"{'ahead' if offset > 0 else 'behind'}; its times are corrected"
        for (_, host), offset in offsets.items()
        if offset
    ]
    return shifted, notes


def _offsets(entries: Iterable[Entry]) -> dict[tuple[str, str], float]:
    """Return by how much the clock of each host is ahead; 0 where it hardly is."""
    joined: dict[tuple[str, int, int], dict[str, float]] = {}
    for life in lives_of(entry for entry in entries if entry.name in TELLING):
        for entry in (each for own in life.agents for each in own):
            if entry.name == JOINED:
                key = (life.run_id, life.number, entry.generation)
                joined.setdefault(key, {}).setdefault(entry.host, entry.time)
    ahead: dict[tuple[str, str], list[float]] = {}
    known: dict[str, str] = {}
    for (run_id, _, _), hosts in sorted(joined.items()):
        reference = known.setdefault(run_id, min(hosts))
        for host, time in hosts.items():
            if reference in hosts:
                ahead.setdefault((run_id, host), []).append(time - hosts[reference])
    medians = {key: statistics.median(times) for key, times in ahead.items()}
    return {k: m if abs(m) > TOLERANCE else 0.0 for k, m in medians.items()}


def _shifted(entry: Entry, offset: float) -> Entry:
    failed_at = entry.number("failed_at")
    facts = dict(entry.facts)
    if failed_at is not None:
        facts["failed_at"] = failed_at - offset
    # Of clocks that are far apart, none leads to a time that there is not.
    time = min(max(entry.time - offset, 0.0), LAST_TIME)
    return attrs.evolve(entry, time=time, facts=facts)
