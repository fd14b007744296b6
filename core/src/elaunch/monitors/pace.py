"""What the monitor `straggler` knows: how long steps take, and who is slow. Pure."""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import attrs

from elaunch.api import (
    Finding,
    MessageKind,
    Pace,
    Request,
    Severity,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.monitors.options import StragglerOptions


KEPT = 1024
"""Steps of one worker that are kept of an interval: the last ones."""

JUDGED_FROM = 20
"""Steps by which a worker is judged at least: of few the median says little."""


@attrs.define(eq=False)
class _Worker:
    """One worker.

    Attributes:
        times: Seconds of its steps since it was judged.
        beat: When it told a step the last time, and which.
        slow: In how many reports in a row it was slow.
        told: Whether it was named.
    """

    times: deque[float] = attrs.field(factory=lambda: deque(maxlen=KEPT))
    beat: tuple[float, int] | None = None
    slow: int = 0
    told: bool = False


@attrs.frozen(kw_only=True)
class Report:
    """How long steps took in one interval.

    Attributes:
        pace: Of the node.
        median: Seconds with which each worker is compared.
        of_job: Whether that is the median of the job, and not of this node alone.
        times: Seconds of the usual step of each worker that is judged, by local rank.
        slow: Who was slow, by local rank.
    """

    pace: Pace
    median: float
    of_job: bool
    times: Mapping[int, float]
    slow: Sequence[int]


@attrs.define(eq=False)
class Steps:
    """The steps of the workers of one group.

    Attributes:
        options: What is slow.
        group: Whom it is about.
    """

    options: StragglerOptions
    group: WatchedGroup
    _workers: dict[int, _Worker] = attrs.field(init=False)
    _step: int | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._workers = {rank: _Worker() for rank in self.group.pids}

    def take(self, message: WorkerMessage) -> None:
        """Take a message: a step is as long as its worker says, or between two."""
        worker = self._workers.get(message.local_rank)
        if worker is None or message.kind is not MessageKind.HEARTBEAT:
            return
        before, step = worker.beat, message.step
        if step is not None:
            worker.beat = (message.time, step)
            self._step = max(step, step if self._step is None else self._step)
        told = message.step_time
        if told is not None:
            if 0 <= told < math.inf:
                worker.times.append(told)
        elif before and step is not None and step > before[1]:
            worker.times.append((message.time - before[0]) / (step - before[1]))

    def pace(self) -> Pace | None:
        """Return how long steps take in this interval; `None` if nobody told."""
        times = self._times()
        if not times:
            return None
        slowest = max(times, key=lambda rank: times[rank])
        return Pace(
            ranks=len(times),
            fastest=min(times.values()),
            median=middle(times.values()),
            slowest=times[slowest],
            slowest_rank=self.group.rank(slowest),
            step=self._step,
        )

    def report(self, job: Pace | None) -> Report | None:
        """End an interval; return what it was like, `None` if nobody told of a step.

        Who has done few steps is judged at the end of a later one.

        Args:
            job: How long steps take in the whole job, if that is known.
        """
        pace = self.pace()
        if pace is None:
            return None
        median = (job or pace).median
        times = self._times(at_least=JUDGED_FROM)
        slow = [rank for rank in times if times[rank] > self.options.ratio * median]
        for rank in times:
            worker = self._workers[rank]
            worker.times.clear()
            worker.slow = worker.slow + 1 if rank in slow else 0
        return Report(
            pace=pace, median=median, of_job=bool(job), times=times, slow=slow
        )

    def findings(self, report: Report) -> list[Finding]:
        """Return who is slow for so long by now, and who is so no more."""
        found = []
        for rank in report.times:
            worker = self._workers[rank]
            if worker.told and not worker.slow:
                worker.told = False
                found.append(
                    Finding(
                        local_rank=rank,
                        severity=Severity.INFO,
                        reason=f"no longer slow: {_compared(report, rank)}",
                    )
                )
            elif worker.slow >= self.options.chronic and not worker.told:
                worker.told = True
                found.append(self._finding(report, rank))
        return found

    def _times(self, at_least: int = 1) -> dict[int, float]:
        return {
            rank: middle(worker.times)
            for rank, worker in self._workers.items()
            if len(worker.times) >= at_least
        }

    def _finding(self, report: Report, rank: int) -> Finding:
        options = self.options
        return Finding(
            local_rank=rank,
            severity=Severity(options.severity),
            reason=(
                f"slow: {_compared(report, rank)}, and was so in "
                f"{options.chronic} reports in a row"
            ),
            evidence={
                "step_time": f"{report.times[rank]:.6g}",
                "median": f"{report.median:.6g}",
            },
            request=Request.EXCLUDE_NODE if options.exclude else None,
        )


def _compared(report: Report, rank: int) -> str:
    whose = "job" if report.of_job else "node"
    times = report.times[rank] / report.median if report.median else math.inf
    return (
        f"a step takes {report.times[rank]:.3g} s, {times:.2f} times the median of "
        f"the {whose} ({report.median:.3g} s)"
    )


def middle(values: Iterable[float]) -> float:
    """Return the median: of an even number, the lower one of the two in the middle.

    So that of two workers one can be slow.
    """
    ordered = sorted(values)
    return ordered[(len(ordered) - 1) // 2]
