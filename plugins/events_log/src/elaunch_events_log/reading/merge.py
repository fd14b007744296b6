"""One order for the events of all nodes, whose clocks may differ.

The lives of a job come one after the other, and in each of them generations: an event
of one comes after all of the one before. Within a generation time decides, but what
one agent told stays in its order.
"""

import bisect
from collections.abc import Iterable, Mapping, Sequence

import attrs

from elaunch_events_log.reading.entry import Entry
from elaunch_events_log.reading.lives import JOINED, Life, lives_of


@attrs.frozen
class Placed:
    """An event and where it belongs.

    Attributes:
        entry: The event.
        life: The life of its job.
        generation: The generation there.
    """

    entry: Entry
    life: Life
    generation: int


def merged(entries: Iterable[Entry]) -> list[Placed]:
    """Return events in one order, those of different jobs one job after the other."""
    return [placed for life in lives_of(entries) for placed in _merged_life(life)]


def _merged_life(life: Life) -> list[Placed]:
    starts: dict[int, float] = {}
    for own in life.agents:
        for entry in own:
            if entry.name == JOINED:
                known = starts.get(entry.generation, entry.time)
                starts[entry.generation] = min(entry.time, known)
    keyed = []
    for number, own in enumerate(life.agents):
        latest: tuple[int, float] = (0, float("-inf"))
        for index, generation in enumerate(_with_waiting(own, starts)):
            latest = max(latest, (generation, own[index].time))
            keyed.append((*latest, number, index, own[index]))
    keyed.sort(key=lambda key: key[:4])
    return [Placed(entry, life, generation) for generation, _, _, _, entry in keyed]


def _with_waiting(own: Sequence[Entry], starts: Mapping[int, float]) -> Iterable[int]:
    """Yield the generations of events, also of those before the agent was a member.

    They belong to the generation that ran meanwhile, which is one before its first.
    """
    first = next((entry.generation for entry in own if entry.generation), None)
    known = sorted(starts, key=lambda generation: (starts[generation], generation))
    times = [starts[generation] for generation in known]
    for entry in own:
        if entry.generation:
            yield entry.generation
        else:
            index = bisect.bisect(times, entry.time)
            meanwhile = known[index - 1] if index else 0
            yield meanwhile if first is None else min(meanwhile, first - 1)
