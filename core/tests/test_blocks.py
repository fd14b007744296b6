"""What the monitor `sections` makes of what it hears."""

from typing import Any

import attrs
import pytest

from elaunch.api import (
    Finding,
    MessageKind,
    Severity,
    UsageError,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.monitors.blocks import OPEN_LIMIT, Blocks, Limits
from elaunch.monitors.learning import LEARNED_FROM
from elaunch.monitors.section_options import SectionsOptions, parsed_limits
from elaunch.monitors.waiting import Pause
from elaunch.options import build_options


NEVER = float("inf")
AT_ONCE = -NEVER


@attrs.define(eq=False)
class Run:
    """Workers that speak, and the book that hears them."""

    options: SectionsOptions = attrs.field(factory=SectionsOptions)
    workers: int = 1
    limits: Limits = attrs.field(init=False)
    gone: set[int] = attrs.field(factory=set)
    blocks: Blocks = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.limits = Limits(self.options)
        pids = {rank: 100 + rank for rank in range(self.workers)}
        self.blocks = Blocks(
            self.limits,
            WatchedGroup(pids=pids),
            gone=lambda rank, pid: (pid or pids[rank]) in self.gone,
        )

    def say(self, kind: MessageKind, time: float, rank: int, **facts: Any) -> float:
        message = WorkerMessage(local_rank=rank, kind=kind, time=time, **facts)
        return self.blocks.take(message)

    def begin(
        self,
        time: float,
        name: str = "save",
        rank: int = 0,
        token: int = 1,
        **more: Any,
    ) -> float:
        return self.say(MessageKind.SECTION, time, rank, name=name, token=token, **more)

    def end(self, time: float, rank: int = 0, token: int = 1, **more: Any) -> float:
        return self.say(MessageKind.SECTION_END, time, rank, token=token, **more)

    @property
    def deadline(self) -> float:
        return self.blocks.next_deadline()

    def found(self, now: float) -> list[Finding]:
        return self.blocks.due(now)

    def reasons(self, now: float) -> list[str]:
        return [finding.reason for finding in self.found(now)]


class TestOwnLimits:
    def test_a_section_over_the_limit_that_its_worker_set_is_found(self) -> None:
        run = Run()
        assert run.begin(10, limit=60, pid=100) == 70

        assert run.deadline == 70
        assert run.found(69.9) == []
        (finding,) = run.found(70)
        assert finding.local_rank == 0
        assert finding.severity is Severity.UNHEALTHY
        assert finding.hang
        assert finding.reason == (
            "section 'save' has taken 60.0 s, over its limit of 60 s"
        )
        assert finding.evidence == {"section": "save", "pid": "100"}
        assert run.found(1000) == []
        assert run.deadline == NEVER

    def test_one_that_ends_in_time_is_not(self) -> None:
        run = Run()
        run.begin(10, limit=60)
        run.end(69)

        assert run.deadline == NEVER
        assert run.found(1000) == []

    def test_a_block_with_a_deadline_needs_no_name(self) -> None:
        run = Run(SectionsOptions(limits="*=1000"))
        run.begin(10, "", limit=5)

        assert run.reasons(15) == [
            "a block with a deadline has taken 5.0 s, over its limit of 5 s"
        ]

    def test_the_last_step_is_told(self) -> None:
        run = Run()
        run.say(MessageKind.HEARTBEAT, 1, 0, step=41)
        run.begin(10, limit=60)

        assert run.reasons(70)[0].endswith(" s; its last step was 41")

    def test_sections_of_a_worker_are_told_apart(self) -> None:
        run = Run()
        run.begin(10, "outer", token=1, limit=100)
        run.begin(20, "inner", token=2, limit=10)
        run.begin(20, "inner", token=2, pid=7, limit=50)
        assert run.deadline == 30
        run.end(29, token=2)
        assert run.deadline == 70
        run.end(30, token=2, pid=7)

        assert run.deadline == 110

    def test_and_those_of_two_workers(self) -> None:
        run = Run(workers=2)
        run.begin(10, limit=60)
        run.begin(10, rank=1, limit=60)
        run.end(20)

        (finding,) = run.found(70)
        assert finding.local_rank == 1

    def test_one_that_begins_again_has_its_whole_time(self) -> None:
        run = Run()
        run.begin(10, limit=60)
        run.begin(50, limit=30)

        assert run.deadline == 80

    def test_who_is_over_it_and_ends_is_told_of(self) -> None:
        run = Run()
        run.begin(10, limit=60)
        run.found(70)

        assert run.end(80) == run.deadline == AT_ONCE
        (finding,) = run.found(80)
        assert finding.severity is Severity.INFO
        assert finding.reason == "section 'save' is over after 70.0 s"
        assert run.deadline == NEVER

    def test_a_process_that_is_gone_has_no_section(self) -> None:
        run = Run()
        run.begin(10, limit=60, pid=7)
        run.begin(10, limit=70, pid=100)
        run.gone.add(7)
        assert run.found(70) == []
        assert run.deadline == 80
        run.gone.add(100)

        assert run.found(80) == []
        assert run.deadline == NEVER

    def test_nobody_can_have_it_keep_more_than_some(self) -> None:
        run = Run(workers=2)
        for token in range(OPEN_LIMIT + 10):
            run.begin(10, token=token, limit=60)
        run.begin(10, rank=1, limit=60)

        assert len(run.found(70)) == OPEN_LIMIT + 1

    def test_processes_that_were_killed_in_sections_take_no_room_for_ever(
        self,
    ) -> None:
        run = Run(workers=2)
        run.begin(5, pid=100, token=1, limit=100)
        run.begin(5, rank=1, pid=200)
        for pid in range(200, 200 + 2 * OPEN_LIMIT):
            run.begin(10, pid=pid)
            run.gone.add(pid)
        assert run.begin(20, token=2, limit=60) == 80
        run.gone.clear()

        assert len(run.found(105)) == 2
        assert run.end(105, rank=1, pid=200) == NEVER

    def test_what_makes_no_sense_changes_nothing(self) -> None:
        run = Run()
        run.begin(10, limit=60)
        run.end(20, token=99)
        run.begin(10, rank=9, limit=1)
        run.end(20, rank=9)
        run.begin(10, token=2, limit=float("nan"))
        run.begin(10, token=3, limit=-1)

        assert run.deadline == 70


class TestNamedLimits:
    def test_they_count_before_the_workers(self) -> None:
        run = Run(SectionsOptions(limits="save=300"))
        run.begin(10, limit=60)
        run.begin(10, "load", token=2, limit=70)

        assert run.deadline == 80
        run.end(20, token=2)
        assert run.deadline == 310

    def test_a_section_without_a_limit_gets_one(self) -> None:
        run = Run(SectionsOptions(limits="save=300"))

        assert run.begin(10) == 310
        assert run.begin(10, "load", token=2) == NEVER

    def test_0_is_no_limit(self) -> None:
        run = Run(SectionsOptions(limits="save=0"))

        assert run.begin(10, limit=60) == NEVER

    def test_the_first_pattern_that_fits_counts(self) -> None:
        run = Run(SectionsOptions(limits="save=300;s*=30; *=3"))

        assert run.begin(0, "save", token=1) == 300
        assert run.begin(0, "step", token=2) == 30
        assert run.begin(0, "load", token=3) == 3

    def test_a_name_may_have_an_equals_sign(self) -> None:
        assert parsed_limits("a=b=3;c=4.5") == {"a=b": 3, "c": 4.5}

    @pytest.mark.parametrize(
        "text", ["save", "save=", "=3", "save=-1", "save=nan", "a;b"]
    )
    def test_what_is_no_list_of_limits_is_refused(self, text: str) -> None:
        with pytest.raises(UsageError) as caught:
            build_options(SectionsOptions, {"limits": text}, "--monitor sections")

        assert "'limits' is NAME=SECONDS;NAME=SECONDS, and '" in str(caught.value)


class TestOutside:
    def test_the_time_outside_of_any_section_can_be_limited(self) -> None:
        run = Run(SectionsOptions(outside=30))
        assert run.deadline == NEVER
        run.begin(100)
        assert run.deadline == NEVER
        assert run.end(110) == 140

        (finding,) = run.found(140)
        assert finding.reason == (
            "outside of any section for 30.0 s, over the limit of 30 s"
        )
        assert finding.hang
        assert run.found(1000) == []

    def test_a_section_ends_it(self) -> None:
        run = Run(SectionsOptions(outside=30))
        run.begin(100)
        run.end(110)
        run.begin(139)

        assert run.deadline == NEVER

    def test_one_of_several_is_enough(self) -> None:
        run = Run(SectionsOptions(outside=30))
        run.begin(100, token=1)
        run.begin(105, token=2)
        run.end(110, token=1)
        assert run.deadline == NEVER
        run.end(120, token=2)

        assert run.deadline == 150

    def test_who_is_in_a_section_again_is_told_of(self) -> None:
        run = Run(SectionsOptions(outside=30))
        run.begin(100)
        run.end(110)
        run.found(140)

        assert run.begin(150) == AT_ONCE
        assert run.reasons(150) == ["in a section again"]
        assert run.end(160) == 190

    def test_a_worker_that_has_ended_is_not_outside(self) -> None:
        run = Run(SectionsOptions(outside=30))
        run.begin(100)
        run.end(110)
        run.gone.add(100)

        assert run.found(140) == []
        assert run.deadline == NEVER

    def test_the_end_of_a_process_ends_its_section(self) -> None:
        run = Run(SectionsOptions(outside=30))
        run.begin(100, pid=7, limit=10)
        run.gone.add(7)
        run.found(110)

        assert run.deadline == 140


class TestLearning:
    def run_of(self, *times: float) -> Run:
        run = Run(SectionsOptions(learn=True, floor=10, limits="load=1000"))
        now = 0.0
        for seconds in times:
            run.begin(now)
            now += seconds
            run.end(now)
            run.blocks.awake(None)
        return run

    def test_a_section_without_a_limit_gets_a_multiple_of_its_longest_time(
        self,
    ) -> None:
        run = self.run_of(*[2.0] * (LEARNED_FROM - 1))
        assert run.begin(1000) == NEVER
        run.end(1004)
        run.blocks.awake(None)

        assert run.begin(2000) == 2020
        (reason,) = run.reasons(2020)
        assert reason == (
            "section 'save' has taken 20.0 s, over its limit of 20.0 s "
            "(learned: 5 times the longest of 4.0 s)"
        )

    def test_it_has_a_floor(self) -> None:
        run = self.run_of(*[0.1] * LEARNED_FROM)

        assert run.begin(1000) == 1010

    def test_who_sets_a_limit_gets_that(self) -> None:
        run = self.run_of(*[2.0] * LEARNED_FROM)

        assert run.begin(1000, limit=3) == 1003
        assert run.begin(1000, "load", token=3) == 2000

    def test_what_was_over_a_limit_teaches_nothing(self) -> None:
        run = self.run_of(*[2.0] * LEARNED_FROM)
        run.begin(1000)
        run.found(1010)
        run.end(1500)
        run.found(1500)
        run.blocks.awake(None)

        assert run.begin(2000) == 2010

    def test_a_pause_teaches_nothing(self) -> None:
        run = self.run_of(*[2.0] * LEARNED_FROM)
        run.begin(1000)
        run.end(1500)
        run.blocks.awake(Pause(1001, 1500))

        assert run.begin(2000) == 2010


class TestPauses:
    def test_a_pause_counts_for_no_section(self) -> None:
        run = Run(SectionsOptions(outside=100), workers=2)
        run.begin(10, limit=60)
        run.begin(10, rank=1)
        run.end(20, rank=1)
        run.blocks.awake(Pause(30, 70))

        assert run.deadline == 110
        assert run.found(109) == []
        assert len(run.found(110)) == 1
        assert run.deadline == 160

    def test_one_that_began_in_it_counts_from_its_end(self) -> None:
        run = Run()
        run.begin(69, limit=60)
        run.blocks.awake(Pause(30, 70))

        assert run.deadline == 130
