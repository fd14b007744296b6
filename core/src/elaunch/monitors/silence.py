"""What the monitor `heartbeat` knows: who was heard when, and who is silent. Pure.

Times are of a clock that nobody sets.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import attrs

from elaunch.api import Finding, MessageKind, Severity, WatchedGroup, WorkerMessage
from elaunch.monitors.learning import LEARNED_FROM, Learned
from elaunch.monitors.options import HeartbeatOptions
from elaunch.monitors.waiting import Pause


BLOCKS_LIMIT = 64
"""Blocks with a limit of their own that count for one worker."""

NEARLY = 0.9
"""Who is silent for that part of the limit is told with who is over it."""

NAMED = 8
"""Workers of which the evidence tells."""


@attrs.define(eq=False)
class _Worker:
    """One worker.

    Attributes:
        rank: Its local rank.
        heard: When it was heard, or watched for the first time.
        beats: How many heartbeats it sent.
        step: The last step that it told.
        blocks: Begin and limit of the blocks for which it set one.
        excused: Whether it was in such a block since it was heard.
        told: Whether its silence was found.
        named: Whether a finding was about it.
    """

    rank: int
    heard: float
    beats: int = 0
    step: int | None = None
    blocks: dict[tuple[int, int], tuple[float, float]] = attrs.field(factory=dict)
    excused: bool = False
    told: bool = False
    named: bool = False

    def silent(self, now: float) -> float:
        return now - self.heard

    def forgive(self, pause: Pause) -> None:
        self.heard = pause.shifted(self.heard)
        for block, (since, limit) in self.blocks.items():
            self.blocks[block] = (pause.shifted(since), limit)

    def speaks_by(self) -> float:
        """Return when its blocks are over: until then it may well be silent."""
        ends = (since + limit for since, limit in self.blocks.values())
        return max(ends, default=-math.inf)


@attrs.define(eq=False)
class Silence:
    """The silence of the workers of one group.

    Attributes:
        options: Limits.
        learned: What is known of silence; may come from an earlier group.
        group: Whom it is about.
        ended: Tells whether a worker, by local rank, has ended.
        now: The time.
    """

    options: HeartbeatOptions
    learned: Learned
    group: WatchedGroup
    ended: Callable[[int], bool]
    now: float
    _workers: dict[int, _Worker] = attrs.field(init=False)
    _fresh: list[tuple[float, float]] = attrs.field(factory=list, init=False)
    _back: list[Finding] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self._workers = {rank: _Worker(rank, self.now) for rank in self.group.pids}
        # Those of all workers are much alike: together they tell no more than one.
        self.learned.wanted = LEARNED_FROM * len(self._workers)

    def take(self, message: WorkerMessage) -> float:
        """Take a message; return the moment at which there may be something to say."""
        worker = self._workers.get(message.local_rank)
        if worker is None:
            return math.inf
        started = worker.beats > self.options.warmup
        if started and not worker.excused and not self.options.limit:
            self._fresh.append((worker.heard, message.time))
        if worker.named:
            self._back.append(self._heard_again(worker, message.time))
        worker.told = worker.named = False
        worker.heard = message.time
        self._note(worker, message)
        worker.excused = bool(worker.blocks)
        return -math.inf if self._back else self._deadline(worker)

    def awake(self, pause: Pause | None) -> None:
        """Take it that time has passed, but for a pause of the agent."""
        for since, until in self._fresh:
            self.learned.see(until - (pause.shifted(since) if pause else since))
        self._fresh.clear()
        if pause:
            for worker in self._workers.values():
                worker.forgive(pause)

    def next_deadline(self) -> float:
        """Return when there may be something to say; infinite for never."""
        if self._back:
            return -math.inf
        waited_for = (w for w in self._workers.values() if not w.told)
        return min(map(self._deadline, waited_for), default=math.inf)

    def due(self, now: float) -> list[Finding]:
        """Return what there is to say."""
        found, self._back = self._back, []
        silent = [
            worker for worker in self._workers.values() if self._nearly(worker, now)
        ]
        for worker in [worker for worker in silent if self.ended(worker.rank)]:
            silent.remove(worker)
            del self._workers[worker.rank]
        if any(self._deadline(worker) <= now for worker in silent):
            found.append(self._finding(silent, now))
        return found

    def _nearly(self, worker: _Worker, now: float) -> bool:
        nearly = worker.silent(now) >= NEARLY * self._limit(worker)
        return nearly and not worker.told and worker.speaks_by() <= now

    def _note(self, worker: _Worker, message: WorkerMessage) -> None:
        if worker.speaks_by() <= message.time:
            worker.blocks.clear()  # of one that was killed, nobody tells the end
        block = (message.pid, message.token)
        if message.kind is MessageKind.HEARTBEAT:
            worker.beats += 1
            worker.step = worker.step if message.step is None else message.step
        elif message.kind is MessageKind.SECTION_END:
            worker.blocks.pop(block, None)
        elif message.kind is MessageKind.SECTION and message.limit:
            worker.blocks[block] = (message.time, max(0.0, message.limit))
            if len(worker.blocks) > BLOCKS_LIMIT:
                worker.blocks.pop(next(iter(worker.blocks)))

    def _limit(self, worker: _Worker) -> float:
        limit = self.options.limit or self.learned.limit
        if limit is None or worker.beats <= self.options.warmup:
            return max(limit or 0.0, self.options.startup or math.inf)
        return limit

    def _deadline(self, worker: _Worker) -> float:
        return max(worker.heard + self._limit(worker), worker.speaks_by())

    def _finding(self, silent: Sequence[_Worker], now: float) -> Finding:
        """Tell of who is silent: first of who is furthest behind."""
        first, *others = silent = sorted(
            silent,
            key=lambda each: (
                math.inf if each.step is None else each.step,
                each.heard,
            ),
        )
        for worker in silent:
            worker.told = True
        first.named = True
        return Finding(
            local_rank=first.rank,
            severity=Severity(self.options.severity),
            reason=self._reason(first, others, now),
            evidence={
                "silent": self._listed(silent, now),
                "limit": f"{self._limit(first):.1f} s",
            },
            hang=True,
        )

    def _reason(self, first: _Worker, others: Sequence[_Worker], now: float) -> str:
        said = (
            f"silent for {first.silent(now):.1f} s, over {self._limit_in_words(first)}"
        )
        if first.step is not None:
            said = f"{said}; its last step was {first.step}"
        if others:
            ranks = ranges(self.group.rank(each.rank) for each in others)
            who = f"rank {ranks} is" if len(others) == 1 else f"ranks {ranks} are"
            said = f"{said}; {who} silent, too"
        if not any(worker.beats for worker in self._workers.values()):
            said = f"{said}; no worker here has called elaunch.worker.heartbeat"
        return said

    def _limit_in_words(self, worker: _Worker) -> str:
        limit = self._limit(worker)
        if self.options.limit and limit == self.options.limit:
            return f"its limit of {limit:g} s"
        if limit == self.options.startup:
            return f"startup {limit:g} s"
        return f"its limit of {limit:.1f} s ({self.learned})"

    def _listed(self, silent: Sequence[_Worker], now: float) -> str:
        told = [
            f"rank {self.group.rank(worker.rank)}: {worker.silent(now):.1f} s, "
            f"{'no step' if worker.step is None else f'step {worker.step}'}"
            for worker in silent[:NAMED]
        ]
        more = len(silent) - NAMED
        return "; ".join([*told, f"and {more} more"] if more > 0 else told)

    def _heard_again(self, worker: _Worker, now: float) -> Finding:
        return Finding(
            local_rank=worker.rank,
            severity=Severity.INFO,
            reason=f"heard again after {worker.silent(now):.1f} s",
        )


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers in short, like ``0-2, 5``."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ", ".join("-".join(map(str, part)) for part in parts)
