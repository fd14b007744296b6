"""What is told of failures, and what is made of the answers of a restart policy."""

import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest

from elaunch.failures import ProcessFailure, Request
from elaunch.policy import (
    MAX_FAILURES,
    Decision,
    FailureReport,
    History,
    Verdict,
    ask,
    telling,
)


FAILURE = ProcessFailure(
    rank=0, local_rank=0, role="r", host="a", pid=7, exitcode=1, timestamp=0.0
)
REPORT = FailureReport(generation=1, restarts=0, failures=(FAILURE,))


@attrs.frozen
class Odd:
    """A policy that answers what it was told to."""

    answer: Callable[[], Any]

    def on_failure(self, _: FailureReport, __: History) -> Decision:
        decision: Decision = self.answer()
        return decision


def answer(decision: Any) -> Decision:
    return ask(Odd(lambda: decision), REPORT, ())


class TestTelling:
    MANY = tuple(
        attrs.evolve(FAILURE, rank=rank, timestamp=float(rank)) for rank in range(64)
    )

    def test_of_many_the_first_are_told(self) -> None:
        told = telling(self.MANY[::-1])

        assert [failure.rank for failure in told] == list(range(MAX_FAILURES))

    def test_who_asks_for_something_is_always_told(self) -> None:
        """What is decided follows from that, also when it is decided again."""
        asking = attrs.evolve(self.MANY[60], request=Request.EXCLUDE_NODE)
        told = telling((*self.MANY[:60], asking, *self.MANY[61:]))

        assert [failure.rank for failure in told] == [*range(MAX_FAILURES - 1), 60]

    def test_the_root_cause_is_told_however_many_ask(self) -> None:
        asking = [
            attrs.evolve(failure, request=Request.NO_RESTART)
            for failure in self.MANY[1:]
        ]

        assert telling((*asking, FAILURE))[0] == FAILURE

    def test_of_none_there_is_none(self) -> None:
        assert telling(()) == ()


class TestAsking:
    def test_a_decision_stays_what_it_is(self) -> None:
        decision = Decision(Verdict.EXCLUDE, "bad", 4.0, ("a",), 60.0)

        assert answer(decision) == decision

    @pytest.mark.parametrize(
        ("delay", "bounded"),
        [(-1.0, 0.0), (math.nan, 0.0), (math.inf, 86_400.0), (5, 5.0)],
    )
    def test_a_back_off_is_a_time_that_ends(self, delay: float, bounded: float) -> None:
        """What can't be written down would end the job."""
        assert answer(Decision(Verdict.RESTART, "again", delay)).delay == bounded

    @pytest.mark.parametrize("cool_down", [math.inf, math.nan])
    def test_a_cool_down_without_end_is_for_good(self, cool_down: float) -> None:
        decision = Decision(Verdict.EXCLUDE, "bad", exclude=("a",), cool_down=cool_down)

        assert answer(decision).cool_down is None

    @pytest.mark.parametrize(
        ("decision", "why"),
        [
            (None, "TypeError: None is no decision"),
            (Decision("maybe", "x"), "'maybe' is not a valid Verdict"),  # type: ignore[arg-type] # as a plugin may
            (Decision(Verdict.EXCLUDE, "x", exclude="ab"), "is no decision"),  # type: ignore[arg-type] # likewise
            (Decision(Verdict.EXCLUDE, "x", cool_down="1"), "must be real number"),  # type: ignore[arg-type] # likewise
            (Decision(Verdict.RESTART, "x", delay="soon"), "could not convert"),  # type: ignore[arg-type] # likewise
        ],
        ids=range(5),
    )
    def test_what_is_no_decision_ends_the_job(self, decision: Any, why: str) -> None:
        """And nobody asks for ever."""
        decided = answer(decision)

        assert decided.verdict is Verdict.FAIL
        assert decided.reason.startswith("the restart policy raised ")
        assert why in decided.reason

    def test_a_policy_that_raises_ends_the_job_and_says_where(self) -> None:
        def boom() -> Decision:
            raise ValueError("two\nlines")

        decided = ask(Odd(boom), REPORT, ())
        line = boom.__code__.co_firstlineno + 1

        assert decided == Decision(
            Verdict.FAIL,
            f"the restart policy raised ValueError: two lines (test_policy.py:{line})",
        )
