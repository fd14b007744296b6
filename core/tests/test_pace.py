"""What the monitor `straggler` makes of what it hears."""

import math

import attrs
import pytest

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
from elaunch.monitors.pace import JUDGED_FROM, KEPT, Steps, middle


OPTIONS = StragglerOptions(interval=60, ratio=1.5, chronic=2)


def new_steps(workers: int = 4, options: StragglerOptions = OPTIONS) -> Steps:
    pids = dict.fromkeys(range(workers), 1)
    return Steps(options, WatchedGroup(pids=pids, base_rank=8))


def beat(
    steps: Steps,
    rank: int,
    *,
    step: int | None = None,
    step_time: float | None = None,
    time: float = 0.0,
) -> None:
    steps.take(
        WorkerMessage(
            local_rank=rank,
            kind=MessageKind.HEARTBEAT,
            time=time,
            step=step,
            step_time=step_time,
        )
    )


def interval(
    steps: Steps, *times: float | None, job: Pace | None = None
) -> list[Finding]:
    """Let each worker tell of a step, if it has a time, and end the interval."""
    for rank, step_time in enumerate(times):
        for _ in range(0 if step_time is None else JUDGED_FROM):
            beat(steps, rank, step_time=step_time)
    report = steps.report(job)
    return steps.findings(report) if report else []


class TestPace:
    def test_each_worker_counts_with_its_median(self) -> None:
        steps = new_steps()
        for rank, times in enumerate([(1, 1, 90), (2, 2, 2), (3, 1, 3)]):
            for step_time in times:
                beat(steps, rank, step_time=step_time)
        beat(steps, 1, step=77, step_time=2)
        beat(steps, 0, step=76, step_time=1)

        assert steps.pace() == Pace(
            ranks=3, fastest=1, median=2, slowest=3, slowest_rank=10, step=77
        )

    def test_of_nobody_there_is_none(self) -> None:
        steps = new_steps()
        beat(steps, 0, step=1)
        beat(steps, 99, step_time=1)

        assert steps.pace() is None
        assert steps.report(None) is None

    def test_without_a_time_it_is_the_time_between_two_steps(self) -> None:
        steps = new_steps(1)
        beat(steps, 0, step=10, time=100)
        beat(steps, 0, step=14, time=108)

        assert steps.pace() == Pace(
            ranks=1, fastest=2, median=2, slowest=2, slowest_rank=8, step=14
        )

    def test_a_step_that_is_told_again_has_no_time(self) -> None:
        steps = new_steps(1)
        for step, time in ((10, 100), (10, 101), (3, 102)):
            beat(steps, 0, step=step, time=time)

        assert steps.pace() is None

    def test_an_interval_forgets_the_one_before(self) -> None:
        steps = new_steps(1)
        interval(steps, 5.0)
        beat(steps, 0, step_time=1)

        pace = steps.pace()
        assert pace
        assert pace.median == 1

    def test_the_last_steps_of_many_count(self) -> None:
        steps = new_steps(1)
        for step_time in [*[5.0] * KEPT, *[1.0] * KEPT]:
            beat(steps, 0, step_time=step_time)

        pace = steps.pace()
        assert pace
        assert pace.median == 1


class TestChronic:
    def test_who_is_slow_in_so_many_intervals_in_a_row_is_named_once(self) -> None:
        steps = new_steps()
        assert interval(steps, 1, 1, 1.6, 1) == []
        (finding,) = interval(steps, 1, 1, 1.6, 1)

        assert finding.local_rank == 2
        assert finding.severity is Severity.DEGRADED
        assert finding.request is None
        assert not finding.hang
        assert finding.reason == (
            "slow: a step takes 1.6 s, 1.60 times the median of the node (1 s), and "
            "was so in 2 reports in a row"
        )
        assert finding.evidence == {"step_time": "1.6", "median": "1"}
        assert interval(steps, 1, 1, 1.6, 1) == []

    def test_who_is_slow_now_and_then_is_not(self) -> None:
        steps = new_steps()
        for _ in range(10):
            assert interval(steps, 1, 1, 2, 1) == []
            assert interval(steps, 1, 1, 1.4, 1) == []

    def test_who_tells_nothing_in_an_interval_is_as_slow_as_before(self) -> None:
        steps = new_steps()
        assert interval(steps, 1, 1, 2, 1) == []
        assert interval(steps, 1, 1, None, 1) == []

        assert len(interval(steps, 1, 1, 2, 1)) == 1

    def test_who_is_no_longer_slow_is_told_of_and_may_be_again(self) -> None:
        steps = new_steps()
        interval(steps, 1, 1, 2, 1)
        interval(steps, 1, 1, 2, 1)
        (finding,) = interval(steps, 1, 1, 1.2, 1)

        assert finding.severity is Severity.INFO
        assert finding.reason == (
            "no longer slow: a step takes 1.2 s, 1.20 times the median of the node "
            "(1 s)"
        )
        interval(steps, 1, 1, 2, 1)
        assert len(interval(steps, 1, 1, 2, 1)) == 1

    def test_the_median_of_the_job_counts_where_it_is_known(self) -> None:
        steps = new_steps(2)
        job = Pace(ranks=64, fastest=0.9, median=1, slowest=2, slowest_rank=0)
        interval(steps, 2, 2, job=job)
        found = interval(steps, 2, 2, job=job)

        assert [finding.local_rank for finding in found] == [0, 1]
        assert "2.00 times the median of the job (1 s)" in found[0].reason

    def test_of_two_workers_one_can_be_slow(self) -> None:
        steps = new_steps(2)
        interval(steps, 9, 1)

        assert [f.local_rank for f in interval(steps, 9, 1)] == [0]

    def test_a_worker_alone_is_not_slow(self) -> None:
        steps = new_steps(1)
        for _ in range(10):
            assert interval(steps, 9) == []

    def test_who_has_done_few_steps_is_judged_later(self) -> None:
        steps = new_steps(2)
        for _ in range(3):
            for _ in range(JUDGED_FROM // 2):
                beat(steps, 0, step_time=1)
                beat(steps, 1, step_time=2)
            report = steps.report(None)
            assert report
            assert steps.findings(report) == []
        for _ in range(JUDGED_FROM // 2):
            beat(steps, 1, step_time=2)
        report = steps.report(None)
        assert report
        assert report.slow == [1]

        assert [f.local_rank for f in steps.findings(report)] == [1]

    def test_its_node_can_be_left_out(self) -> None:
        options = attrs.evolve(OPTIONS, severity="unhealthy", exclude=True)
        steps = new_steps(options=options)
        interval(steps, 1, 1, 2, 1)
        (finding,) = interval(steps, 1, 1, 2, 1)

        assert finding.severity is Severity.UNHEALTHY
        assert finding.request is Request.EXCLUDE_NODE

    def test_and_only_for_a_failure(self) -> None:
        with pytest.raises(ValueError, match="add severity=unhealthy"):
            StragglerOptions(exclude=True)

    def test_steps_that_take_no_time_are_no_fault(self) -> None:
        steps = new_steps(2)
        assert interval(steps, 0.0, 0.0) == []
        interval(steps, 0.0, 1.0)
        (finding,) = interval(steps, 0.0, 1.0)

        assert "a step takes 1 s, inf times the median" in finding.reason

    def test_what_is_no_time_does_not_count(self) -> None:
        steps = new_steps(1)
        for step_time in (math.nan, math.inf, -1.0):
            beat(steps, 0, step_time=step_time)

        assert steps.pace() is None


def test_the_lower_one_of_two_in_the_middle_is_the_median() -> None:
    assert middle([4, 1, 3, 2]) == 2
    assert middle([5, 1, 3]) == 3
    assert middle([7]) == 7
