"""Nodes that are left out, and what decisions make of a job."""

import attrs
import pytest

from elaunch.failures import ProcessFailure
from elaunch.membership.effects import after
from elaunch.membership.exclusions import Exclusion, exclusions, joined, next_end
from elaunch.membership.records import JobPhase, JobRecord
from elaunch.membership.steps import Charge, Close, Form, Refund
from elaunch.policy import Decision, FailureReport, PastFailure, Verdict
from elaunch.rendezvous import JobSettings, Outcome, OutcomeState


def exclusion(node: str, until: float | None, generation: int = 1) -> Exclusion:
    return Exclusion(node=node, reason="bad", until=until, generation=generation)


def excluding(
    *nodes: str, cool_down: float | None = None, delay: float = 0.0
) -> Decision:
    return Decision(Verdict.EXCLUDE, "bad", delay, nodes, cool_down)


def decided(decision: Decision, *failures: ProcessFailure) -> PastFailure:
    report = FailureReport(generation=1, restarts=0, failures=failures)
    return PastFailure(report, decision)


def failure(node: str, message: str, timestamp: float) -> ProcessFailure:
    return ProcessFailure(
        rank=0,
        local_rank=0,
        role="",
        host="h",
        pid=7,
        exitcode=1,
        timestamp=timestamp,
        message=message,
        node=node,
    )


class TestExclusions:
    def test_only_a_verdict_leaves_nodes_out(self) -> None:
        restart = attrs.evolve(excluding("a"), verdict=Verdict.RESTART)

        assert exclusions(decided(restart), 0.0) == ()
        assert exclusions(decided(excluding("a", "b")), 0.0) == (
            exclusion("a", None),
            exclusion("b", None),
        )

    def test_each_is_told_with_what_the_node_did(self) -> None:
        past = decided(
            excluding("a", "b", "c"),
            failure("a", "uncorrectable ECC errors\nand more", 2.0),
            failure("a", "killed by SIGTERM", 3.0),
            failure("b", "", 1.0),
        )
        reasons = {e.node: e.reason for e in exclusions(past, 0.0)}

        assert reasons == {
            "a": "bad (uncorrectable ECC errors)",
            "b": "bad",
            "c": "bad",
        }

    @pytest.mark.parametrize(
        ("cool_down", "until"), [(60.0, 160.0), (0.0, 100.0), (-1.0, 100.0)]
    )
    def test_they_cool_down(self, cool_down: float, until: float) -> None:
        found = exclusions(decided(excluding("a", cool_down=cool_down)), 100.0)

        assert found == (exclusion("a", until),)

    def test_of_one_node_the_longest_counts(self) -> None:
        """A shorter one stays: the longer one may be taken back."""
        short, long = exclusion("a", 10.0), exclusion("a", 20.0, generation=2)

        assert joined((short,), (long,), 0.0) == (short, long)
        assert joined((long,), (short,), 0.0) == (long,)
        longer = exclusion("a", 15.0, generation=3)
        assert joined((short, long), (longer,), 0.0) == (short, long)
        assert joined((exclusion("a", None),), (long,), 0.0) == (exclusion("a", None),)

    def test_who_is_left_out_for_good_is_so_for_the_first_reason(self) -> None:
        """A policy may name it again, and that may be taken back."""
        first, again = exclusion("a", None), exclusion("a", None, generation=2)

        assert joined((first,), (again,), 0.0) == (first,)

    def test_what_is_over_is_forgotten(self) -> None:
        kept = exclusion("b", 10.5)

        assert joined((exclusion("a", 10.0), kept), (), 10.0) == (kept,)

    def test_the_next_end_is_told(self) -> None:
        some = (exclusion("a", None), exclusion("b", 9.0), exclusion("c", 12.0))

        assert next_end(some, 5.0) == 9.0
        assert next_end(some, 9.0) == 12.0
        assert next_end(some, 12.0) is None

    def test_it_tells_for_how_long_and_why(self) -> None:
        assert exclusion("a", None).told(7.0) == "excluded for good: bad"
        assert exclusion("a", 60.0).told(7.0) == "excluded for 53 s: bad"


class TestWhoIsMeant:
    JOB = JobRecord(
        phase=JobPhase.SEALED,
        generation=1,
        settings=JobSettings(min_nodes=1, max_nodes=1),
        token=1,
        excluded=(exclusion("h", 10.0), exclusion("g-12-ab", None)),
    )

    def test_a_host_means_whatever_starts_there(self) -> None:
        assert self.JOB.exclusion_of("h-99-cd~3", "h", 5.0) == exclusion("h", 10.0)
        assert self.JOB.exclusion_of("h-99-cd~3", "h", 10.0) is None

    def test_an_agent_means_all_its_stays_and_nobody_else(self) -> None:
        assert self.JOB.exclusion_of("g-12-ab~4", "g", 99.0)
        assert self.JOB.exclusion_of("g-13-ab~1", "g", 99.0) is None


class TestEffects:
    JOB = JobRecord(
        phase=JobPhase.SEALED,
        generation=3,
        settings=JobSettings(min_nodes=1, max_nodes=2),
        token=1,
        size=2,
        restarts=1,
        failed=1,
        excluded=(exclusion("old", 50.0),),
    )

    def past(self, decision: Decision) -> PastFailure:
        failed = ProcessFailure(
            rank=0,
            local_rank=0,
            role="r",
            host="a",
            pid=1,
            exitcode=1,
            timestamp=0.0,
        )
        report = FailureReport(generation=3, restarts=1, failures=(failed,))
        return PastFailure(report, decision)

    def test_a_failure_is_counted_with_all_that_follows(self) -> None:
        past = self.past(excluding("a", cool_down=9.0, delay=4.0))
        job = after(self.JOB, Form("x", 2, past), 40.0)

        assert (job.phase, job.generation, job.size) == (JobPhase.FORMING, 4, 0)
        assert (job.restarts, job.failed, job.delay) == (2, 3, 4.0)
        assert job.excluded == (exclusion("old", 50.0), exclusion("a", 49.0, 3))

    def test_what_no_failure_caused_has_no_delay_and_counts_nothing(self) -> None:
        job = after(attrs.evolve(self.JOB, delay=4.0), Form("x", 1), 60.0)

        assert (job.restarts, job.failed, job.delay) == (1, 1, 0.0)
        assert job.excluded == ()

    def test_a_refund_takes_all_back(self) -> None:
        """Also who was left out for a failure that was none."""
        forming = after(self.JOB, Form("a node joined", 1), 0.0)
        past = self.past(excluding("a", delay=4.0))
        charged = after(forming, Charge("x", 2, past), 0.0)
        refunded = after(charged, Refund("y", 1), 0.0)

        assert (charged.generation, charged.failed) == (4, 3)
        assert [e.node for e in charged.excluded] == ["old", "a"]
        assert refunded == attrs.evolve(forming, reason="y", failed=0)

    def test_the_end_leaves_the_rest_as_it_is(self) -> None:
        outcome = Outcome(state=OutcomeState.HANDED_BACK, reason="enough")

        assert after(self.JOB, Close(outcome), 0.0) == attrs.evolve(
            self.JOB, phase=JobPhase.CLOSED, reason="enough", outcome=outcome
        )
