"""One order for the events of all nodes, whose clocks may differ.

Generations come first: an event of one comes after all of the one before. Within a
generation time decides, but what one agent told stays in its order. A job that begins
anew elsewhere counts its generations from 1 again: that is another era.
"""

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence

import attrs

from elaunch_events_log.reading.entry import Entry


JOINED = "generation.joined"

Place = tuple[int, int]
"""Era and generation."""


@attrs.frozen
class Placed:
    """An event and where it belongs.

    Attributes:
        entry: The event.
        place: Its era and generation.
    """

    entry: Entry
    place: Place


def merged(entries: Iterable[Entry]) -> list[Placed]:
    """Return events in one order, those of different jobs one job after the other."""
    runs: dict[str, list[Entry]] = {}
    for entry in entries:
        runs.setdefault(entry.run_id, []).append(entry)
    ordered = sorted(runs.values(), key=lambda run: min(entry.time for entry in run))
    return [placed for run in ordered for placed in _merged_run(run)]


def _merged_run(entries: Sequence[Entry]) -> list[Placed]:
    agents = _by_agent(entries)
    eras = _eras(agents)
    places = [_joined_places(agent, eras) for agent in agents]
    starts: dict[Place, float] = {}
    for agent, joined in zip(agents, places, strict=True):
        for entry, place in zip(agent, joined, strict=True):
            if entry.name == JOINED:
                starts[place] = min(entry.time, starts.get(place, entry.time))
    keyed = []
    for number, (agent, joined) in enumerate(zip(agents, places, strict=True)):
        latest: tuple[Place, float] = ((0, 0), float("-inf"))
        for index, place in enumerate(_with_waiting(agent, joined, starts)):
            latest = max(latest, (place, agent[index].time))
            keyed.append((*latest, number, index, agent[index]))
    keyed.sort(key=lambda key: key[:4])
    return [Placed(entry, place) for place, _, _, _, entry in keyed]


def _by_agent(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return the events of each agent in their order, agents by their first event."""
    agents: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        agents.setdefault((entry.agent, entry.host), []).append(entry)
    for own in agents.values():
        own.sort(key=lambda e: e.sequence if e.agent else e.time)
    return sorted(agents.values(), key=lambda own: own[0].time)


def _eras(agents: Iterable[Sequence[Entry]]) -> list[float]:
    """Return when the job began anew, each time."""
    eras: list[float] = []
    for own in agents:
        era = bisect.bisect(eras, own[0].time)
        for before, entry in itertools.pairwise(own):
            if entry.generation < before.generation:
                if era == len(eras):
                    eras.append(max([entry.time, *eras]))
                eras[era] = min(eras[era], entry.time)
                era += 1
    return eras


def _joined_places(own: Sequence[Entry], eras: Sequence[float]) -> list[Place]:
    places = []
    era = bisect.bisect(eras, own[0].time)
    generation = 0
    for entry in own:
        era += entry.generation < generation
        generation = entry.generation
        places.append((era, generation))
    return places


def _with_waiting(
    own: Sequence[Entry], places: Sequence[Place], starts: Mapping[Place, float]
) -> Iterable[Place]:
    """Yield the places of events, also of those before the agent was a member.

    They belong to the generation that ran meanwhile, which is one before its first.
    """
    first = next((place for place in places if place[1]), None)
    known = sorted(starts, key=lambda place: (starts[place], place))
    times = [starts[place] for place in known]
    for entry, place in zip(own, places, strict=True):
        if place[1] == 0:
            index = bisect.bisect(times, entry.time)
            meanwhile = known[index - 1] if index else (place[0], 0)
            limit = (first[0], first[1] - 1) if first else meanwhile
            yield min(meanwhile, limit)
        else:
            yield place
