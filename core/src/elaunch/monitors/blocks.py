"""What the monitor `sections` knows: what is open since when, and what is over. Pure.

Times are of a clock that nobody sets.
"""

import math
from collections.abc import Callable
from fnmatch import fnmatchcase

import attrs

from elaunch.api import Finding, MessageKind, Severity, WatchedGroup, WorkerMessage
from elaunch.monitors.learning import Learned
from elaunch.monitors.section_options import SectionsOptions, parsed_limits
from elaunch.monitors.waiting import Pause


OPEN_LIMIT = 1024
"""Sections that one worker may have open."""

NAMES_LIMIT = 1024
"""Names of sections of which something is learned."""

Key = tuple[int, int, int]
"""A section: local rank, process, token."""


@attrs.define(eq=False)
class _Block:
    """One section that is open.

    Attributes:
        rank: Local rank of its worker.
        pid: The process that has it; 0 if nobody says.
        name: Its name, or empty.
        since: When it began.
        own: The limit that the worker set, if it did.
        told: Whether it was found to be over its limit.
    """

    rank: int
    pid: int
    name: str
    since: float
    own: float | None
    told: bool = False

    def __str__(self) -> str:
        """What it is, for people."""
        return f"section {self.name!r}" if self.name else "a block with a deadline"


@attrs.define(eq=False)
class _Worker:
    """One worker, as far as it is about the time outside of any section.

    Attributes:
        open: How many sections are.
        outside: Since when there is none; `None` if there is one, or was none yet.
        step: The last step that it told.
        told: Whether it was found to be outside for too long.
    """

    open: int = 0
    outside: float | None = None
    step: int | None = None
    told: bool = False


@attrs.define(eq=False)
class Limits:
    """The limits of sections.

    Attributes:
        options: As they were asked for.
    """

    options: SectionsOptions
    _named: dict[str, float] = attrs.field(init=False)
    _learned: dict[str, Learned] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._named = parsed_limits(self.options.limits)

    def of(self, name: str, own: float | None) -> float | None:
        """Return the limit of a section, given that which the worker set.

        A limit that is named counts for sections with names alone.
        """
        for pattern, limit in self._named.items() if name else ():
            if fnmatchcase(name, pattern):
                return limit or None
        if own is None and name in self._learned:
            return self._learned[name].limit
        return own

    def learn(self, name: str, seconds: float) -> None:
        """Take into account how long a section took, if anything is to be learned."""
        if not self.options.learn or not name:
            return
        if name not in self._learned and len(self._learned) < NAMES_LIMIT:
            options = self.options
            self._learned[name] = Learned(options.factor, options.floor)
        if name in self._learned:
            self._learned[name].see(seconds)

    def in_words(self, block: _Block) -> str:
        """Return the limit of a section with where it comes from."""
        limit = self.of(block.name, block.own) or math.inf
        learned = self._learned.get(block.name)
        if block.own is None and learned and limit == learned.limit:
            return f"{limit:.1f} s ({learned})"
        return f"{limit:g} s"

    @property
    def given(self) -> list[float]:
        """Every limit that the options name."""
        floor = self.options.floor if self.options.learn else 0.0
        return [*self._named.values(), self.options.outside, floor]


@attrs.define(eq=False)
class Blocks:
    """The sections of the workers of one group.

    Attributes:
        limits: How long each may take; may know what earlier groups took.
        group: Whom it is about.
        gone: Tells whether the process of a worker, by local rank and id, is gone.
    """

    limits: Limits
    group: WatchedGroup
    gone: Callable[[int, int], bool]
    _open: dict[Key, _Block] = attrs.field(factory=dict, init=False)
    _workers: dict[int, _Worker] = attrs.field(init=False)
    _over: list[Finding] = attrs.field(factory=list, init=False)
    _took: list[tuple[str, float, float]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._workers = {rank: _Worker() for rank in self.group.pids}

    def take(self, message: WorkerMessage) -> float:
        """Take a message; return the moment at which there may be something to say."""
        worker = self._workers.get(message.local_rank)
        if worker is None:
            return math.inf
        if message.step is not None:
            worker.step = message.step
        key = (message.local_rank, message.pid, message.token)
        if message.kind is MessageKind.SECTION:
            return self._begin(worker, key, message)
        if message.kind is MessageKind.SECTION_END and key in self._open:
            return self._end(worker, key, message.time)
        return math.inf

    def awake(self, pause: Pause | None) -> None:
        """Take it that time has passed, but for a pause of the agent."""
        for name, since, until in self._took:
            began = pause.shifted(since) if pause else since
            self.limits.learn(name, until - began)
        self._took.clear()
        if pause:
            for block in self._open.values():
                block.since = pause.shifted(block.since)
            for worker in self._workers.values():
                if worker.outside is not None:
                    worker.outside = pause.shifted(worker.outside)

    def next_deadline(self) -> float:
        """Return when there may be something to say; infinite for never."""
        if self._over:
            return -math.inf
        blocks = map(self._deadline, self._open.values())
        outside = map(self._outside_until, self._workers.values())
        return min(min(blocks, default=math.inf), min(outside, default=math.inf))

    def due(self, now: float) -> list[Finding]:
        """Return what there is to say."""
        found, self._over = self._over, []
        for key, block in tuple(self._open.items()):
            if self._deadline(block) > now:
                continue
            if self.gone(block.rank, block.pid):
                self._forget(key, now)
            else:
                found.append(self._finding(block, now))
                block.told = True
        for rank, worker in self._workers.items():
            if self._outside_until(worker) <= now:
                if not self.gone(rank, 0):
                    found.append(self._lost(rank, worker, now))
                worker.told = True
        return found

    def _begin(self, worker: _Worker, key: Key, message: WorkerMessage) -> float:
        if key in self._open:  # it begins anew
            self._forget(key, message.time)
        if worker.open >= OPEN_LIMIT:
            self._forget_the_dead(key[0], message.time)
        if worker.open >= OPEN_LIMIT:
            return math.inf
        if worker.told:
            self._over.append(_back(key[0], "in a section again"))
        worker.open += 1
        worker.outside, worker.told = None, False
        told = message.limit
        limit = told if told is not None and told >= 0 else None  # a NaN is none
        block = _Block(key[0], key[1], message.name, message.time, limit)
        self._open[key] = block
        return -math.inf if self._over else self._deadline(block)

    def _end(self, worker: _Worker, key: Key, now: float) -> float:
        block = self._open[key]
        if block.told:
            took = f"{block} is over after {now - block.since:.1f} s"
            self._over.append(_back(block.rank, took))
        elif self.limits.options.learn:
            self._took.append((block.name, block.since, now))
        self._forget(key, now)
        return -math.inf if self._over else self._outside_until(worker)

    def _forget_the_dead(self, rank: int, now: float) -> None:
        """Make room: processes that were killed in sections have left theirs open."""
        mine = [key for key in self._open if key[0] == rank]
        dead = {pid for pid in {key[1] for key in mine} if self.gone(rank, pid)}
        for key in mine:
            if key[1] in dead:
                self._forget(key, now)

    def _forget(self, key: Key, now: float) -> None:
        del self._open[key]
        worker = self._workers[key[0]]
        worker.open -= 1
        if not worker.open:
            worker.outside = now

    def _deadline(self, block: _Block) -> float:
        limit = self.limits.of(block.name, block.own)
        return math.inf if limit is None or block.told else block.since + limit

    def _outside_until(self, worker: _Worker) -> float:
        limit = self.limits.options.outside
        if not limit or worker.outside is None or worker.told:
            return math.inf
        return worker.outside + limit

    def _finding(self, block: _Block, now: float) -> Finding:
        took = now - block.since
        step = self._workers[block.rank].step
        return Finding(
            local_rank=block.rank,
            severity=Severity(self.limits.options.severity),
            reason=(
                f"{block} has taken {took:.1f} s, over its limit of "
                f"{self.limits.in_words(block)}{_at(step)}"
            ),
            evidence={"section": block.name, "pid": str(block.pid)},
            hang=True,
        )

    def _lost(self, rank: int, worker: _Worker, now: float) -> Finding:
        since = now if worker.outside is None else worker.outside
        limit = self.limits.options.outside
        return Finding(
            local_rank=rank,
            severity=Severity(self.limits.options.severity),
            reason=(
                f"outside of any section for {now - since:.1f} s, over the limit of "
                f"{limit:g} s{_at(worker.step)}"
            ),
            hang=True,
        )


def _at(step: int | None) -> str:
    return "" if step is None else f"; its last step was {step}"


def _back(rank: int, reason: str) -> Finding:
    return Finding(local_rank=rank, severity=Severity.INFO, reason=reason)
