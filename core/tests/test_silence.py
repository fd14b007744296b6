"""What the monitor `heartbeat` makes of what it hears."""

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
from elaunch.monitors.learning import LEARNED_FROM, Learned
from elaunch.monitors.options import HeartbeatOptions
from elaunch.monitors.silence import BLOCKS_LIMIT, Silence, ranges
from elaunch.monitors.waiting import Pause
from elaunch.options import build_options


LIMIT = HeartbeatOptions(limit=60, startup=600, warmup=1)
LEARNING = HeartbeatOptions(startup=600, warmup=1, floor=10)


@attrs.define(eq=False)
class Run:
    """Workers that speak, and the book that hears them."""

    options: HeartbeatOptions
    workers: int = 1
    base_rank: int = 0
    learned: Learned | None = None
    gone: set[int] = attrs.field(factory=set)
    silence: Silence = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        options = self.options
        self.learned = self.learned or Learned(options.factor, options.floor)
        self.silence = Silence(
            options,
            self.learned,
            WatchedGroup(
                pids={rank: 100 + rank for rank in range(self.workers)},
                base_rank=self.base_rank,
            ),
            ended=self.gone.__contains__,
            now=0.0,
        )

    def say(
        self,
        time: float,
        rank: int = 0,
        kind: MessageKind = MessageKind.HEARTBEAT,
        **facts: Any,
    ) -> float:
        message = WorkerMessage(local_rank=rank, kind=kind, time=time, **facts)
        return self.silence.take(message)

    def beat(self, *times: float, rank: int = 0) -> None:
        for time in times:
            self.say(time, rank)
            self.silence.awake(None)

    def found(self, now: float) -> list[Finding]:
        return self.silence.due(now)

    def reasons(self, now: float) -> list[str]:
        return [finding.reason for finding in self.found(now)]


class TestGivenLimit:
    def test_who_is_silent_for_longer_is_unhealthy_and_may_hang(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        run.say(20, step=128)

        assert run.silence.next_deadline() == 80
        assert run.found(79.9) == []
        (finding,) = run.found(80)
        assert finding.local_rank == 0
        assert finding.severity is Severity.UNHEALTHY
        assert finding.hang
        assert finding.request is None
        assert finding.reason == (
            "silent for 60.0 s, over its limit of 60 s; its last step was 128"
        )
        assert finding.evidence == {
            "silent": "rank 0: 60.0 s, step 128",
            "limit": "60.0 s",
        }

    def test_it_is_found_once(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)

        assert len(run.found(70)) == 1
        assert run.found(1000) == []
        assert run.silence.next_deadline() == float("inf")

    def test_every_kind_of_message_is_a_sign_of_life(self) -> None:
        for kind in MessageKind:
            run = Run(LIMIT)
            run.beat(5, 10)
            run.say(50, kind=kind)

            assert run.found(109) == [], kind
            assert len(run.found(110)) == 1, kind

    def test_who_is_heard_again_is_told_of_and_watched_again(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        run.found(70)
        due = run.say(100)

        assert due == run.silence.next_deadline() == -float("inf")
        (back,) = run.found(100)
        assert back.severity is Severity.INFO
        assert back.reason == "heard again after 90.0 s"
        assert run.silence.next_deadline() == 160
        assert len(run.found(160)) == 1

    def test_messages_of_others_do_not_count(self) -> None:
        run = Run(LIMIT, workers=2)
        run.beat(5, 10)
        run.beat(5, 10, 60, rank=1)
        run.say(60, rank=7)

        (finding,) = run.found(70)
        assert finding.local_rank == 0

    def test_severity_is_an_option(self) -> None:
        run = Run(attrs.evolve(LIMIT, severity="degraded"))
        run.beat(5, 10)

        assert run.found(70)[0].severity is Severity.DEGRADED


class TestStart:
    def test_the_start_may_take_as_long_as_allowed(self) -> None:
        run = Run(LIMIT)

        assert run.silence.next_deadline() == 600
        assert run.found(599) == []
        (reason,) = run.reasons(600)
        assert reason == (
            "silent for 600.0 s, over startup 600 s; no worker here has called "
            "elaunch.worker.heartbeat"
        )

    def test_the_first_steps_belong_to_it(self) -> None:
        run = Run(attrs.evolve(LIMIT, warmup=3))
        run.beat(100, 200, 300)

        assert run.silence.next_deadline() == 900
        run.beat(310)
        assert run.silence.next_deadline() == 370

    def test_a_longer_limit_counts_at_the_start_too(self) -> None:
        run = Run(attrs.evolve(LIMIT, limit=1000))

        assert run.silence.next_deadline() == 1000

    def test_it_can_be_without_a_limit(self) -> None:
        run = Run(attrs.evolve(LIMIT, startup=0))

        assert run.silence.next_deadline() == float("inf")
        run.beat(10_000, 10_001)
        assert run.silence.next_deadline() == 10_061


class TestOthers:
    def test_those_who_are_nearly_over_it_are_told_with_the_first(self) -> None:
        run = Run(LIMIT, workers=6, base_rank=8)
        for rank in range(6):
            run.beat(5, 10, rank=rank)
            run.say(20 + (rank == 4), rank, step=7)
        run.say(60, rank=5, step=8)

        (finding,) = run.found(80)
        assert finding.local_rank == 0
        assert finding.reason == (
            "silent for 60.0 s, over its limit of 60 s; its last step was 7; "
            "ranks 9-12 are silent, too"
        )
        assert finding.evidence["silent"].startswith("rank 8: 60.0 s, step 7; rank 9: ")
        assert run.found(81) == []

    def test_who_is_furthest_behind_is_named(self) -> None:
        run = Run(LIMIT, workers=3)
        for rank, step, heard in ((0, 50, 20), (1, 49, 21), (2, 50, 22)):
            run.beat(5, 10, rank=rank)
            run.say(heard, rank, step=step)

        (finding,) = run.found(80)
        assert finding.local_rank == 1
        assert finding.reason == (
            "silent for 59.0 s, over its limit of 60 s; its last step was 49; "
            "ranks 0, 2 are silent, too"
        )

    def test_evidence_stays_short_however_many_are_silent(self) -> None:
        run = Run(LIMIT, workers=1000)

        (finding,) = run.found(600)
        assert finding.evidence["silent"].endswith("; and 992 more")
        assert len(finding.evidence["silent"]) < 500
        assert "ranks 1-999 are silent, too" in finding.reason

    def test_who_has_ended_is_not_silent(self) -> None:
        run = Run(LIMIT, workers=3)
        for rank in range(3):
            run.beat(5, 10, rank=rank)
        run.gone |= {0, 1}

        (finding,) = run.found(70)
        assert finding.local_rank == 2
        assert "too" not in finding.reason
        run.gone.add(2)
        assert run.found(1000) == []

    def test_the_end_of_all_leaves_nothing_to_wait_for(self) -> None:
        run = Run(LIMIT)
        run.gone.add(0)

        assert run.found(600) == []
        assert run.silence.next_deadline() == float("inf")


class TestBlocks:
    def test_who_said_how_long_a_block_may_take_is_not_silent_before(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        run.say(20, kind=MessageKind.SECTION, name="save", token=1, limit=300)

        assert run.silence.next_deadline() == 320
        assert run.found(319) == []
        assert len(run.found(320)) == 1

    def test_its_end_ends_that(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        run.say(20, kind=MessageKind.SECTION, token=1, limit=300)
        run.say(20, kind=MessageKind.SECTION, token=2, limit=200)
        run.say(30, kind=MessageKind.SECTION_END, token=1)
        assert run.silence.next_deadline() == 220

        run.say(40, kind=MessageKind.SECTION_END, token=2)
        assert run.silence.next_deadline() == 100

    def test_a_section_without_a_limit_excuses_nothing(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        run.say(20, kind=MessageKind.SECTION, name="step", token=1)

        assert run.silence.next_deadline() == 80

    def test_nobody_can_have_it_keep_more_than_a_few(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        for token in range(BLOCKS_LIMIT + 10):
            run.say(20, kind=MessageKind.SECTION, token=token, limit=1000 - token)

        assert run.silence.next_deadline() == 20 + 1000 - 10


class TestLearning:
    def test_the_limit_is_a_multiple_of_the_longest_silence(self) -> None:
        run = Run(LEARNING)
        run.beat(*range(0, 10 * (LEARNED_FROM + 1), 10))
        assert run.silence.next_deadline() == 10 * LEARNED_FROM + 600
        run.beat(230)

        assert run.silence.next_deadline() == 230 + 5 * 30
        (reason,) = run.reasons(380)
        assert reason == (
            "silent for 150.0 s, over its limit of 150.0 s (learned: 5 times the "
            "longest of 30.0 s)"
        )

    def test_it_has_a_floor(self) -> None:
        run = Run(LEARNING)
        run.beat(*range(LEARNED_FROM + 2))

        assert run.silence.next_deadline() == LEARNED_FROM + 1 + 10
        assert run.reasons(60) == [
            "silent for 39.0 s, over its limit of 10.0 s (learned: at least 10 s)"
        ]

    def test_the_start_teaches_nothing(self) -> None:
        run = Run(LEARNING)
        run.beat(500, 900, *range(901, 901 + LEARNED_FROM))

        assert run.learned
        assert run.learned.longest == 1

    def test_blocks_with_a_limit_teach_nothing(self) -> None:
        run = Run(LEARNING)
        run.beat(*range(LEARNED_FROM + 2))
        run.say(30, kind=MessageKind.SECTION, token=1, limit=300)
        run.say(200, kind=MessageKind.SECTION_END, token=1)
        run.beat(201, 202)

        assert run.learned
        assert run.learned.longest == 9

    def test_a_block_whose_end_was_lost_excuses_nothing_for_ever(self) -> None:
        run = Run(LEARNING)
        run.beat(*range(LEARNED_FROM + 2))
        run.say(30, kind=MessageKind.SECTION, token=1, limit=5)
        run.beat(36, 56)

        assert run.learned
        assert run.learned.longest == 20

    def test_all_workers_of_a_node_teach_and_have_the_same_limit(self) -> None:
        run = Run(LEARNING, workers=2)
        run.beat(*range(0, 2 * LEARNED_FROM + 4, 2))
        run.beat(*range(0, 7 * LEARNED_FROM + 7, 7), rank=1)
        assert run.learned
        assert run.learned.limit is None
        run.beat(7 * LEARNED_FROM + 7, rank=1)

        assert run.learned.limit == 35

    def test_the_next_group_knows_it_after_its_start(self) -> None:
        first = Run(LEARNING)
        first.beat(*range(0, 10 * (LEARNED_FROM + 2), 10))
        second = Run(LEARNING, learned=first.learned)

        assert second.silence.next_deadline() == 600
        second.beat(300, 301)
        assert second.silence.next_deadline() == 351

    def test_who_has_a_limit_learns_nothing(self) -> None:
        run = Run(LIMIT)
        run.beat(*range(LEARNED_FROM + 2))

        assert run.learned
        assert run.learned.limit is None


class TestPauses:
    def test_a_pause_is_nobodys_silence(self) -> None:
        run = Run(LIMIT, workers=2)
        run.beat(5, 10)
        run.beat(5, 30, rank=1)
        run.silence.awake(Pause(20, 50))

        assert run.silence.next_deadline() == 100
        (finding,) = run.found(100)
        assert finding.local_rank == 0
        assert run.silence.next_deadline() == 110

    def test_what_is_said_in_it_counts_from_its_end(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        run.say(49)
        run.silence.awake(Pause(20, 50))

        assert run.silence.next_deadline() == 110

    def test_nor_does_it_teach(self) -> None:
        run = Run(LEARNING)
        run.beat(*range(LEARNED_FROM + 2))
        run.say(100)
        run.silence.awake(Pause(22, 100))

        assert run.learned
        assert run.learned.longest == 1

    def test_blocks_get_that_time_too(self) -> None:
        run = Run(LIMIT)
        run.beat(5, 10)
        run.say(20, kind=MessageKind.SECTION, token=1, limit=300)
        run.silence.awake(Pause(30, 50))

        assert run.silence.next_deadline() == 340


def test_ranks_are_told_in_short() -> None:
    assert ranges([5, 3, 0, 1, 2]) == "0-3, 5"
    assert ranges([7]) == "7"
    assert ranges([]) == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"limit": "-1"}, "'limit' must be >= 0"),
        ({"factor": "1"}, "'factor' must be > 1"),
        ({"warmup": "many"}, "'warmup' is of type int, not 'many'"),
        (
            {"severity": "bad"},
            "'severity' is one of 'unhealthy', 'degraded', 'info', not 'bad'",
        ),
        ({"timeout": "3"}, "there is no option 'timeout'"),
    ],
)
def test_a_wrong_option_is_told(given: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_options(HeartbeatOptions, given, "--monitor heartbeat")

    assert said in str(caught.value)
