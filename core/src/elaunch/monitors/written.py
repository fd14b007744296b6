"""What the monitor `output` knows: who wrote what, and what was to be written. Pure.

Limits count the time in which somebody looked and there was nothing: a block of output
without data says so. So neither a console that blocks nor a pause of the agent, in
which nobody could look, is the silence of a worker.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import attrs

from elaunch.api import Finding, OutputBlock, Severity, WatchedGroup
from elaunch.monitors.options import OutputOptions
from elaunch.monitors.rules import Rule
from elaunch.monitors.silence import NEARLY, ranges
from elaunch.output import RankSet


LINE_LIMIT = 4 * 1024
"""Bytes of a line that are looked at."""

GAP_LIMIT = 1.0
"""Seconds between two looks that count at most: who looked later did not look."""

SHOWN = 200
"""Characters of a line that a finding shows."""


@attrs.define(eq=False)
class Lines:
    """Makes whole lines of what a stream brings; moves of a progress bar are lines."""

    _rest: bytes = attrs.field(default=b"", init=False)

    def feed(self, data: bytes) -> bytes:
        """Return the lines that are whole now, without the last end."""
        if b"\r" in data:
            data = data.replace(b"\r", b"\n")
        end = data.rfind(b"\n")
        if end < 0:
            self._rest = (self._rest + data)[:LINE_LIMIT]
            return b""
        whole, self._rest = self._rest + data[:end], data[end + 1 :][:LINE_LIMIT]
        return whole


@attrs.define(eq=False)
class _Kept:
    """A rule that one worker has to keep.

    Attributes:
        rule: The rule.
        over: Whether it is about this worker no more.
        came: Whether a match has come since the last look.
        matched: When one has last come; `None` for never.
        row: How many matches came in a row.
        told: Whether it was told that it is broken.
    """

    rule: Rule
    over: bool = False
    came: bool = False
    matched: float | None = None
    row: int = 0
    told: bool = False

    def read(self, lines: bytes) -> bytes | None:
        """Read lines; return one that is forbidden."""
        if self.over or not self.rule.may_concern(lines):
            return None
        rule = self.rule
        for line in lines.split(b"\n"):
            seen = line[:LINE_LIMIT]
            if rule.until and rule.until.search(seen):
                self.over = True
                return None
            if not (match := rule.pattern.search(seen)):
                continue
            self.row = self.row + 1 if rule.counts(match) else 0
            if self.row >= rule.times:
                self.row, self.came = 0, True
                if rule.forbidden and not self.told:
                    self.told = True
                    return seen
        return None

    def missing(self, time: float) -> str:
        """Return what should have come by a time, or empty."""
        rule = self.rule
        if self.over or rule.forbidden:
            return ""
        if self.matched is None:
            if rule.within and time >= rule.within:
                return f"no line that matches came within {rule.within:g} s"
            return ""
        if rule.every and time - self.matched >= rule.every:
            since = time - self.matched
            return f"no line that matches came for {since:.1f} s, over {rule.every:g} s"
        return ""


@attrs.define(eq=False)
class _Worker:
    """One worker.

    Attributes:
        rank: Its local rank.
        rules: What it has to keep.
        limited: Whether it may not be silent.
        time: Seconds for which it was looked at.
        looked: When that was last done, by a clock; `None` for never.
        came: Whether it wrote something since.
        wrote: When it wrote last, by ``time``; `None` for never.
        last: The last that it wrote.
        told: Whether its silence was told.
    """

    rank: int
    rules: list[_Kept]
    limited: bool
    time: float = 0.0
    looked: float | None = None
    came: bool = False
    wrote: float | None = None
    last: bytes = b""
    told: bool = False
    lines: dict[int, Lines] = attrs.field(factory=dict)

    @property
    def quiet(self) -> float:
        """Seconds for which it has written nothing."""
        return self.time - (self.wrote or 0.0)


@attrs.define(eq=False)
class Written:
    """Judges the output of one group.

    Args:
        options: Limits.
        rules: Rules.
        group: Whose output it is.
    """

    options: OutputOptions
    rules: Sequence[Rule]
    group: WatchedGroup
    _workers: dict[int, _Worker] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        some = self.options.ranks
        limited = RankSet.from_str(some) if some else None
        self._workers = {
            local: _Worker(
                local,
                [_Kept(rule) for rule in self.rules if _holds(rule.ranks, rank)],
                _holds(limited, rank),
            )
            for local, rank in (
                (each, self.group.rank(each)) for each in self.group.pids
            )
        }

    def take(self, block: OutputBlock, now: float) -> Iterable[Finding]:
        """Take a block at a time; return what there is to say.

        Args:
            block: Something that was written, or that nothing was.
            now: The time, by a clock that nobody sets.
        """
        worker = self._workers.get(block.local_rank)
        if worker is None:
            return ()
        if not block.data:
            return tuple(self._look(worker, now))
        worker.came, worker.last = True, block.data
        if not worker.rules:
            return ()
        lines = worker.lines.setdefault(block.stream, Lines()).feed(block.data)
        return tuple(self._read(worker, block.stream, lines)) if lines else ()

    def _read(self, worker: _Worker, stream: int, lines: bytes) -> Iterator[Finding]:
        for kept in worker.rules:
            if not kept.rule.streams & stream:
                continue
            line = kept.read(lines)
            if line is not None:
                shown = _shown(line)
                yield self._broken(worker, kept.rule, f"a line matches: {shown!r}")

    def _look(self, worker: _Worker, now: float) -> Iterator[Finding]:
        gap = 0.0 if worker.looked is None else min(now - worker.looked, GAP_LIMIT)
        worker.time, worker.looked = worker.time + gap, now
        if worker.came:
            if worker.told:
                yield self._again(worker)
            worker.came, worker.told, worker.wrote = False, False, worker.time
        for kept in worker.rules:
            if kept.came:
                kept.came, kept.matched = False, worker.time
                if kept.told and not kept.rule.forbidden:
                    kept.told = False
                    yield self._kept_again(worker, kept.rule)
            elif not kept.told and (what := kept.missing(worker.time)):
                kept.told = True
                yield self._broken(worker, kept.rule, what)
        if not worker.told and worker.quiet >= self._limit(worker):
            yield self._silent(worker)

    def _limit(self, worker: _Worker) -> float:
        options = self.options
        limit = options.startup if worker.wrote is None else options.silence
        return limit if worker.limited and limit else math.inf

    def _silent(self, first: _Worker) -> Finding:
        others = [
            worker
            for worker in self._workers.values()
            if worker is not first
            and not worker.told
            and not worker.came
            and worker.quiet >= NEARLY * self._limit(worker)
        ]
        for worker in (first, *others):
            worker.told = True
        limit = self._limit(first)
        if first.wrote is None:
            said = f"has written nothing, and startup is {limit:g} s"
        else:
            said = f"has written nothing for {first.quiet:.1f} s, over {limit:g} s"
        if others:
            ranks = ranges(self.group.rank(worker.rank) for worker in others)
            who = f"rank {ranks} has" if len(others) == 1 else f"ranks {ranks} have"
            said = f"{said}; {who} not, either"
        return Finding(
            local_rank=first.rank,
            severity=Severity(self.options.severity),
            reason=said,
            evidence={"last_line": _last_line(first.last)} if first.last else {},
            hang=True,
        )

    def _again(self, worker: _Worker) -> Finding:
        return Finding(
            local_rank=worker.rank,
            severity=Severity.INFO,
            reason=f"has written something after {worker.quiet:.1f} s",
        )

    def _broken(self, worker: _Worker, rule: Rule, what: str) -> Finding:
        return Finding(
            local_rank=worker.rank,
            severity=rule.severity,
            reason=f"rule {rule.name!r} of output is broken: {what}",
            evidence={
                "rule": rule.name,
                "pattern": rule.pattern.pattern.decode(errors="replace"),
                **({"last_line": _last_line(worker.last)} if worker.last else {}),
            },
            hang=not rule.forbidden,
            request=rule.request,
        )

    def _kept_again(self, worker: _Worker, rule: Rule) -> Finding:
        return Finding(
            local_rank=worker.rank,
            severity=Severity.INFO,
            reason=f"rule {rule.name!r} of output is kept again",
        )


def _holds(ranks: RankSet | None, rank: int) -> bool:
    return ranks is None or rank in ranks


def _last_line(data: bytes) -> str:
    """Return the last of some lines that says anything."""
    lines = [line for line in data.replace(b"\r", b"\n").split(b"\n") if line.strip()]
    return _shown(lines[-1]) if lines else ""


def _shown(line: bytes) -> str:
    return line[: 4 * SHOWN].decode(errors="replace").strip()[:SHOWN]
