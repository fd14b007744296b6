"""Histories of failures and node losses, replayed under other policies."""

import json
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from elaunch.decisions import Asked, decided
from elaunch.events import Event, EventName, Value
from elaunch.failures import Ending as WorkerEnding
from elaunch.failures import ProcessFailure, ending_of
from elaunch.policy import FailureReport, PastFailure, RestartPolicy, Verdict
from elaunch.replay import (
    Ending,
    RecordedDecision,
    Replay,
    lives_of,
    read_decisions,
    replay,
)
from elaunch.restart_budget import BudgetOptions, BudgetPolicy


HOUR = 3600.0
COUNT = BudgetPolicy(3)


def failed(
    node: str, after: float, exitcode: int = 1, *, lost: bool = False, **facts: Any
) -> tuple[FailureReport, bool]:
    """Return a failure so many seconds after the one before.

    Args:
        node: The node that failed.
        after: The seconds.
        exitcode: Its exit code.
        lost: Whether it turned out that the loss of another node was the cause.
        facts: What else the report says.
    """
    failure = ProcessFailure(
        rank=0,
        local_rank=0,
        role="r",
        host=node,
        pid=7,
        exitcode=exitcode,
        timestamp=after,
        ending=ending_of(exitcode),
        message="boom",
        uptime=after,
    )
    report = FailureReport(
        generation=0, restarts=0, failures=(failure,), time=after, group_size=3
    )
    return attrs.evolve(report, spares=1, **facts), lost


class Recorder:
    """Writes what a job records, as the recorder ``jsonl`` does."""

    def __init__(self, run_id: str = "job", agent: str = "a") -> None:
        self.run_id, self.agent = run_id, agent
        self.time = 0.0
        self.lines: list[bytes] = []

    def __call__(self, name: EventName, /, **facts: Value) -> None:
        event = Event(
            name=name.value,
            run_id=self.run_id,
            metadata=facts,
            timestamp=self.time,
            agent=self.agent,
            sequence=len(self.lines),
        )
        self.lines.append(json.dumps(attrs.asdict(event)).encode() + b"\n")


def lived(
    policy: RestartPolicy,
    happened: Sequence[tuple[FailureReport, bool]],
    recorder: Recorder | None = None,
) -> list[bytes]:
    """Return what a job that this happens to records under a policy."""
    recorder = recorder or Recorder()
    past: list[PastFailure] = []
    now, restarts = 1e9, 0
    for generation, (report, lost) in enumerate(happened, 1):
        now += report.time
        (failure,) = report.failures
        asked = attrs.evolve(
            report,
            generation=generation,
            restarts=restarts,
            time=now,
            failures=(attrs.evolve(failure, timestamp=now),),
        )
        decision = policy.on_failure(asked, past)
        recorder.time = now
        decided(recorder, asked, past, decision, Asked(max_restarts=3))
        if decision.verdict in (Verdict.FAIL, Verdict.HAND_BACK):
            break
        if not lost:  # else the restart is taken back
            past.append(PastFailure(asked.trimmed(), decision))
            restarts += 1
    return recorder.lines


def decisions(lines: Sequence[bytes]) -> list[RecordedDecision]:
    def complain(number: int, why: str) -> None:
        raise AssertionError(f"{number}: {why}")

    return read_decisions(lines, complain)


def replayed(lines: Sequence[bytes], policy: RestartPolicy) -> Replay:
    (life,) = lives_of(decisions(lines))
    return replay(life, policy)


BAD_NODE = [
    failed("a", 5 * HOUR),
    failed("b", HOUR, -9, lost=True),
    failed("b", HOUR, -9),
    failed("b", HOUR, -9),
    failed("b", HOUR, -9),
]
NOWHERE = [failed(node, 60.0, progress=100.0) for node in "abcabcabc"]
WEEKS = [failed(node, 40 * HOUR, progress=n * 1e3) for n, node in enumerate("abcabc")]


class TestHistories:
    """Each had one outcome, and has another under another policy."""

    def test_a_bad_node_is_left_out_and_the_job_goes_on(self) -> None:
        lines = lived(COUNT, BAD_NODE)
        assert replayed(lines, COUNT).replayed is Ending.FAILED

        wise = BudgetPolicy(3, BudgetOptions(node_restarts=1, cool_down=12 * HOUR))
        found = replayed(lines, wise)

        assert (found.recorded, found.replayed) == (Ending.FAILED, Ending.WENT_ON)
        asked = [step.replayed and step.replayed.verdict for step in found.steps]
        assert asked == [*[Verdict.RESTART] * 3, Verdict.EXCLUDE, None]
        assert found.steps[-1].instead == "node 'b' is left out"
        assert found.ended_after is None

    def test_a_job_that_gets_nowhere_ends_before_it_has_spent_its_budget(self) -> None:
        lines = lived(BudgetPolicy(8), NOWHERE)
        assert replayed(lines, BudgetPolicy(8)).ended_after == 9

        options = BudgetOptions(no_progress=3, spent="hand-back")
        found = replayed(lines, BudgetPolicy(8, options))

        assert (found.recorded, found.replayed) == (Ending.FAILED, Ending.HANDED_BACK)
        assert found.ended_after == 4
        assert {step.instead for step in found.steps[4:]} == {
            "the job has been handed back after generation 4"
        }

    def test_a_long_job_outlives_a_budget_that_only_counts(self) -> None:
        lines = lived(COUNT, WEEKS)
        assert replayed(lines, COUNT).replayed is Ending.FAILED

        options = BudgetOptions(window_restarts=3, window=24 * HOUR)
        found = replayed(lines, BudgetPolicy(100, options))

        assert (found.recorded, found.replayed) == (Ending.FAILED, Ending.WENT_ON)
        assert len(found.steps) == 4

    @pytest.mark.parametrize("happened", [BAD_NODE, NOWHERE, WEEKS])
    @pytest.mark.parametrize(
        "policy",
        [
            COUNT,
            BudgetPolicy(9, BudgetOptions(node_restarts=1)),
            BudgetPolicy(9, BudgetOptions(no_progress=2, backoff=3)),
            BudgetPolicy(9, rows=("signal:*=exclude:60", "exit:1=retry:1")),
        ],
    )
    def test_the_recorded_policy_decides_as_it_did(
        self, policy: BudgetPolicy, happened: list[tuple[FailureReport, bool]]
    ) -> None:
        found = replayed(lived(policy, happened), policy)

        asked = [step for step in found.steps if step.replayed]
        assert asked[0].replayed == asked[0].recorded.decided.decision
        for step in asked:
            assert step.replayed == step.recorded.decided.decision
            assert not step.differs
        # A node that fails while it is left out fails in a script, not in a job.
        assert all("is left out" in s.instead for s in found.steps if not s.replayed)


class TestReplay:
    def test_a_failure_that_was_taken_back_costs_nothing(self) -> None:
        happened = [failed("a", 60, lost=True), failed("a", 60), failed("a", 60)]
        lines = lived(BudgetPolicy(9), happened)

        found = replayed(lines, BudgetPolicy(1))

        assert found.ended_after == 3
        reasons = [step.replayed.reason for step in found.steps if step.replayed]
        assert reasons == [*["restart 1 of 1"] * 2, "all 1 restarts are spent"]

    def test_nor_does_it_end_a_job_or_leave_out_a_node(self) -> None:
        """The job finds out that a loss was the cause, whatever the policy says."""
        happened = [failed("a", 60, -9, lost=True), failed("a", 60), failed("a", 60)]
        lines = lived(BudgetPolicy(9), happened)

        for then in ("fail", "exclude"):
            policy = BudgetPolicy(9, rows=(f"signal:*={then}",))
            found = replayed(lines, policy)

            assert found.replayed is Ending.WENT_ON
            assert [step.taken_back for step in found.steps] == [True, False, False]
            asked = [step.replayed and step.replayed.verdict for step in found.steps]
            assert asked == [Verdict(then), Verdict.RESTART, Verdict.RESTART]

    def test_what_would_not_have_happened_costs_nothing(self) -> None:
        happened = [failed("b", 60, -9), failed("b", 60, -9), failed("a", 60)]
        lines = lived(BudgetPolicy(9), happened)

        found = replayed(lines, BudgetPolicy(2, rows=("signal:*=exclude",)))

        assert [step.instead for step in found.steps] == [
            "",
            "node 'b' is left out",
            "",
        ]
        last = found.steps[-1].replayed
        assert last
        assert last.reason == "restart 2 of 2"

    def test_a_node_may_fail_again_when_its_cool_down_is_over(self) -> None:
        happened = [failed("b", 60, -9), failed("b", 59, -9), failed("b", 60, -9)]
        lines = lived(BudgetPolicy(9), happened)

        found = replayed(lines, BudgetPolicy(9, rows=("signal:*=exclude:60",)))

        assert [bool(step.replayed) for step in found.steps] == [True, False, True]

    def test_a_policy_knows_no_more_than_was_known(self) -> None:
        lines = lived(BudgetPolicy(9), [failed("a", 60)] * 2)
        first, second = decisions(lines)
        unaware = attrs.evolve(second, decided=attrs.evolve(second.decided, history=()))
        policy = BudgetPolicy(9, BudgetOptions(node_restarts=1))
        steps = [replay([first, one], policy).steps[1] for one in (second, unaware)]

        assert [step.replayed and step.replayed.verdict for step in steps] == [
            *(Verdict.EXCLUDE, Verdict.RESTART)
        ]

    def test_a_history_with_holes_is_told(self) -> None:
        lines = lived(BudgetPolicy(9), [failed("a", 60)] * 4)

        found = replayed([lines[0], lines[3]], BudgetPolicy(9))

        assert [step.missing for step in found.steps] == [(), (2, 3)]

    def test_decisions_differ_if_more_than_the_words_do(self) -> None:
        lines = lived(COUNT, [failed("a", 60)])

        assert not replayed(lines, BudgetPolicy(7)).steps[0].differs
        slow = BudgetPolicy(3, BudgetOptions(backoff=1))
        assert replayed(lines, slow).steps[0].differs


class TestLives:
    def test_files_may_come_in_any_order_and_twice(self) -> None:
        lines = lived(BudgetPolicy(9), NOWHERE)

        (life,) = lives_of(decisions([*reversed(lines), *lines[:3]]))

        assert [one.generation for one in life] == list(range(1, 10))

    def test_jobs_are_told_apart(self) -> None:
        lines = [
            *lived(COUNT, WEEKS, Recorder("one")),
            *lived(COUNT, WEEKS, Recorder("two", "b")),
        ]

        found = lives_of(decisions(lines))

        assert sorted(life[0].run_id for life in found) == ["one", "two"]
        assert all(len(life) == 4 for life in found)

    @pytest.mark.parametrize("count", [1, 3])
    def test_a_job_that_began_anew_is_another(self, count: int) -> None:
        first = decisions(lived(BudgetPolicy(9), NOWHERE[:count]))
        again = decisions(lived(BudgetPolicy(9), NOWHERE[:2], Recorder(agent="b")))
        later = [_later(one, HOUR) for one in again]

        found = lives_of([*later, *first])

        assert [len(life) for life in found] == [count, 2]
        assert [life[0].agent for life in found] == ["a", "b"]

    def test_who_decides_next_may_have_a_clock_that_is_behind(self) -> None:
        one, two, three = decisions(lived(BudgetPolicy(9), NOWHERE[:3]))
        behind = _later(three, -HOUR, agent="b")

        (life,) = lives_of([one, two, behind])

        assert [(d.generation, d.agent) for d in life] == [(1, "a"), (2, "a"), (3, "b")]

    def test_where_more_was_reported_the_last_word_counts(self) -> None:
        first, second = decisions(lived(BudgetPolicy(9), NOWHERE[:2]))
        report = second.decided.report
        more = attrs.evolve(report.failures[0], rank=1)
        again = attrs.evolve(
            second,
            sequence=9,
            timestamp=second.timestamp + 1,
            decided=attrs.evolve(
                second.decided,
                report=attrs.evolve(report, failures=(*report.failures, more)),
            ),
        )

        assert lives_of([first, second, again]) == [(first, again)]


def _later(
    one: RecordedDecision, seconds: float, agent: str | None = None
) -> RecordedDecision:
    """Return the same of another start, or as another clock tells it."""
    report = one.decided.report
    if agent is None:  # other processes, too
        failures = tuple(
            attrs.evolve(f, timestamp=f.timestamp + seconds, pid=8)
            for f in report.failures
        )
        report = attrs.evolve(report, failures=failures)
    return attrs.evolve(
        one,
        agent=agent or one.agent,
        timestamp=one.timestamp + seconds,
        decided=attrs.evolve(one.decided, report=report),
    )


class TestReading:
    LINE = lived(COUNT, [failed("a", 60)])[0]

    def complaints(self, *lines: bytes) -> tuple[int, list[tuple[int, str]]]:
        told: list[tuple[int, str]] = []
        found = read_decisions(lines, lambda number, why: told.append((number, why)))
        return len(found), told

    def test_other_events_are_passed_over(self) -> None:
        other = b'{"name": "job.failed", "metadata": {"message": "policy.decided"}}'

        assert self.complaints(b"", b"no JSON\n", other, self.LINE) == (1, [])

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            (LINE[:100], "Expecting value"),
            (b'{"name": "policy.decided"}', "it has no field 'run_id'"),
            (LINE.replace(b'"sequence": 0', b'"sequence": null'), "int"),
            (LINE.replace(b'"sequence": 0', b'"sequence": 1e999'), "infinity"),
            (LINE.replace(b'"history": []', b'"history": [1e999]'), "infinity"),
            (LINE.replace(b'"verdict"', b'"verdikt"'), "it has no fact 'verdict'"),
            (LINE.replace(b"generation", b"g"), "missing required field|no fact"),
            (b'{"name": "policy.decided", "x": ' + b"[" * 100_000, "recursion"),
            (LINE + b" " * 16 * 1024 * 1024, "more than 16777216 bytes"),
        ],
        ids=range(9),
    )
    def test_what_is_no_decision_is_told_and_left_out(
        self, line: bytes, why: str
    ) -> None:
        count, ((number, said),) = self.complaints(self.LINE, line, self.LINE)

        assert (count, number) == (2, 2)
        with pytest.raises(ValueError, match=why):
            raise ValueError(said)

    def test_a_worker_that_no_python_knows_is_read(self) -> None:
        ended = attrs.evolve(
            failed("a", 60)[0].failures[0], ending=WorkerEnding.PARENT_LOST
        )
        report = attrs.evolve(failed("a", 60)[0], failures=(ended,))

        (one,) = decisions(lived(COUNT, [(report, False)]))

        assert one.decided.report.failures[0].ending is WorkerEnding.PARENT_LOST
