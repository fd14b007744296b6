"""Which events of one job id belong together: each time the job began is a life.

An id can serve again after the end of its job, and a job that loses its store begins
anew: from generation 1, with all its restarts. Jobs of one id that meet at different
places are lives at the same time. Nobody numbers lives; but in one life an agent joins
later generations only, all members of a generation were told the same of it, and each
has a place of its own there.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import attrs

from elaunch_events_log.reading.entry import Entry


JOINED = "generation.joined"
MEETING = "bootstrap.ready"

TELLING = frozenset({JOINED, MEETING})
"""Events by which lives are told apart."""

_SHAPE = ("group_size", "world_size")
"""What all members of a generation are told of it alike, whatever the rendezvous."""

_OWN = frozenset({"group_rank", "duration_ms"})
"""What is not the same for all where they meet."""


@attrs.frozen(kw_only=True)
class Life:
    """One life of a job.

    Attributes:
        run_id: Id of the job.
        number: The first of that id is 1.
        of: How many there are.
        agents: What each agent told in it, in its order.
    """

    run_id: str
    number: int
    of: int
    agents: Sequence[Sequence[Entry]] = attrs.field(eq=False, repr=False)


def lives_of(entries: Iterable[Entry]) -> list[Life]:
    """Return the lives of all jobs, those of an id one after the other.

    Args:
        entries: Events of all agents, in any order, each once.
    """
    runs: dict[str, list[Entry]] = {}
    for entry in entries:
        runs.setdefault(entry.run_id, []).append(entry)
    ordered = sorted(runs.items(), key=lambda run: min(entry.time for entry in run[1]))
    found = []
    for run_id, own in ordered:
        lives = _lives([part for agent in _by_agent(own) for part in _parts(agent)])
        found += [
            Life(run_id=run_id, number=number, of=len(lives), agents=agents)
            for number, agents in enumerate(lives, 1)
        ]
    return found


def _by_agent(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Return the events of each agent in their order, agents by their first event."""
    agents: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        agents.setdefault((entry.agent, entry.host), []).append(entry)
    for own in agents.values():
        own.sort(key=lambda e: e.sequence if e.agent else e.time)
    return sorted(agents.values(), key=lambda own: own[0].time)


@attrs.define(eq=False)
class _Seen:
    """What is known of one generation.

    Attributes:
        time: When it was first heard of.
        shape: What its members were told of it; nothing where nobody tells.
        meeting: Where its workers meet, likewise.
        places: Group ranks that are taken.
    """

    time: float
    shape: Mapping[str, object] = attrs.field(factory=dict)
    meeting: Mapping[str, object] = attrs.field(factory=dict)
    places: set[int] = attrs.field(factory=set)

    def fits(self, other: "_Seen") -> bool:
        """Whether it may be the same one that another agent tells of."""
        return (
            _agree(self.shape, other.shape)
            and _agree(self.meeting, other.meeting)
            and self.places.isdisjoint(other.places)
        )

    def learn(self, other: "_Seen") -> None:
        """Take what somebody else tells of it."""
        self.time = min(self.time, other.time)
        self.shape = self.shape or other.shape
        self.meeting = self.meeting or other.meeting
        self.places |= other.places


def _agree(one: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return not one or not other or one == other


Generations = dict[int, _Seen]


def _learn(known: Generations, number: int, seen: _Seen) -> None:
    known.setdefault(number, _Seen(seen.time)).learn(seen)


@attrs.frozen(eq=False)
class _Part:
    """What one agent told in one life.

    Attributes:
        entries: That, in its order.
        generations: The generations of which it was a member.
    """

    entries: list[Entry] = attrs.field(factory=list)
    generations: Generations = attrs.field(factory=dict)

    @property
    def agent(self) -> tuple[str, str]:
        """Who it is."""
        return self.entries[0].agent, self.entries[0].host

    @property
    def since(self) -> float:
        """When it was a member first, or told something first."""
        seen = (each.time for each in self.generations.values())
        return min(seen, default=self.entries[0].time)

    def ends_before(self, entry: Entry) -> bool:
        """Whether an event belongs to the next life of this agent."""
        last = max(self.generations, default=0)
        again = entry.name == JOINED and entry.generation <= last
        return again or entry.generation < last

    def add(self, entry: Entry) -> None:
        """Take an event."""
        self.entries.append(entry)
        number = entry.generation
        if not number or (number in self.generations and entry.name not in TELLING):
            return
        seen = _Seen(entry.time)
        if entry.name == JOINED:
            seen.shape = {key: entry.facts.get(key) for key in _SHAPE}
            place = entry.whole("group_rank")
            seen.places = set() if place is None else {place}
        elif entry.name == MEETING:
            seen.meeting = {k: v for k, v in entry.facts.items() if k not in _OWN}
        _learn(self.generations, number, seen)


def _parts(own: Iterable[Entry]) -> list[_Part]:
    parts = [_Part()]
    for entry in own:
        if parts[-1].ends_before(entry):
            parts.append(_Part())
        parts[-1].add(entry)
    return parts


@attrs.frozen(eq=False)
class _Lived:
    """A life, as far as it is known.

    Attributes:
        parts: What belongs to it.
        generations: Its generations.
    """

    parts: list[_Part] = attrs.field(factory=list)
    generations: Generations = attrs.field(factory=dict)
    _agents: set[tuple[str, str]] = attrs.field(factory=set)

    def fits(self, part: _Part) -> bool:
        """Whether what an agent told may belong to it."""
        if part.agent in self._agents:
            return False
        known = self.generations
        if shared := self.shares(part):
            return all(known[n].fits(part.generations[n]) for n in shared)
        return all(self._has_room(n, seen) for n, seen in part.generations.items())

    def shares(self, part: _Part) -> AbstractSet[int]:
        """Return the generations of which both are known to tell."""
        return self.generations.keys() & part.generations.keys()

    def add(self, part: _Part) -> None:
        """Take what an agent told in it."""
        self.parts.append(part)
        self._agents.add(part.agent)
        for number, seen in part.generations.items():
            _learn(self.generations, number, seen)

    def _has_room(self, number: int, seen: _Seen) -> bool:
        """Whether a generation that nobody else tells of may be one of it."""
        later = [s for n, s in self.generations.items() if n > number and s.shape]
        # Of what lacks its beginning nobody knows when that was.
        return not seen.shape or all(seen.time <= each.time for each in later)


def _lives(parts: Sequence[_Part]) -> list[list[list[Entry]]]:
    """Return for each life what agents told in it."""
    lives: list[_Lived] = []
    for part in sorted((p for p in parts if p.generations), key=lambda p: p.since):
        # A node that comes late comes into the life that goes on; but jobs of one id
        # can run at once, and it is a member of the one that has its generations.
        fitting = [life for life in reversed(lives) if life.fits(part)]
        fitting.sort(key=lambda life: not life.shares(part))
        life = fitting[0] if fitting else None
        if life is None:
            life = _Lived()
            lives.append(life)
        life.add(part)
    lives = lives or [_Lived()]
    begins = [min((p.since for p in life.parts), default=0.0) for life in lives]
    for part in parts:
        if not part.generations:  # it waited in vain, for the life that ran then
            begun = sum(begin <= part.since for begin in begins)
            lives[max(begun - 1, 0)].add(part)
    order = {id(part): number for number, part in enumerate(parts)}
    return [
        [p.entries for p in sorted(life.parts, key=lambda p: order[id(p)])]
        for life in lives
    ]
