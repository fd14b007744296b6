"""What every restart policy must do."""

import math
from collections.abc import Iterator, Sequence

import attrs
import pytest

from elaunch.api import (
    Decision,
    Ending,
    FailureReport,
    PastFailure,
    ProcessFailure,
    Request,
    RestartPolicy,
    ToldFinding,
    Verdict,
)


LENGTH = 12
"""Failures in a row of which a job is made here."""

_FAILURE = ProcessFailure(
    rank=0, local_rank=0, role="r", host="a", pid=7, exitcode=1, timestamp=1.0
)
_FINDING = ToldFinding(
    host="a", rank=None, monitor="m", severity="info", reason="r", timestamp=1.0
)


class RestartPolicyContract:
    """Inherit, override the fixture, and run."""

    @pytest.fixture
    def policy(self) -> RestartPolicy:
        """Return the policy; must be overridden."""
        raise NotImplementedError("override the fixture 'policy'")

    def test_it_decides_with_a_reason_in_one_line(self, policy: RestartPolicy) -> None:
        """Users and events are told why."""
        for past in self._all_lives(policy):
            for one in past:
                decision = one.decision
                assert isinstance(decision.verdict, Verdict)
                assert decision.reason.strip()
                assert "\n" not in decision.reason

    def test_a_delay_and_a_cool_down_are_times(self, policy: RestartPolicy) -> None:
        """The job waits for them: neither is negative, endless or no number."""
        for past in self._all_lives(policy):
            for one in past:
                cool_down = one.decision.cool_down
                assert 0 <= one.decision.delay < math.inf
                assert cool_down is None or 0 < cool_down < math.inf

    def test_it_leaves_out_whom_the_report_names(self, policy: RestartPolicy) -> None:
        """Only who excludes nodes names some, and only nodes that failed."""
        for past in self._all_lives(policy):
            for one in past:
                nodes = {f.node or f.host for f in one.report.failures}
                excludes = one.decision.verdict is Verdict.EXCLUDE
                assert bool(one.decision.exclude) == excludes
                assert set(one.decision.exclude) <= nodes

    def test_the_same_is_decided_again(self, policy: RestartPolicy) -> None:
        """Another node may be asked about the same, again or in another order."""
        for past in self._all_lives(policy):
            for number in reversed(range(len(past))):
                report, history = past[number].report, past[:number]

                assert policy.on_failure(report, history) == past[number].decision
                # A history is a sequence, of whatever type.
                again = policy.on_failure(report, tuple(history))
                assert again == past[number].decision

    def test_what_it_is_told_stays_as_it_is(self, policy: RestartPolicy) -> None:
        """The history is the job's."""
        for past in self._all_lives(policy):
            before = repr(past)  # which is the same for what is no number, too
            policy.on_failure(past[-1].report, past)

            assert repr(past) == before

    def test_a_part_of_the_history_is_enough_to_decide(
        self, policy: RestartPolicy
    ) -> None:
        """A job that lost its store begins anew with none, but has spent restarts."""
        for past in self._all_lives(policy):
            for history in (past[:0], past[len(past) // 2 :], past[::-1]):
                assert policy.on_failure(past[-1].report, history).reason

    def _all_lives(self, policy: RestartPolicy) -> Iterator[list[PastFailure]]:
        """Yield what jobs go through, also odd ones: nobody may be surprised."""
        for kind in _KINDS:
            yield self._life(policy, [kind] * LENGTH)
        yield self._life(policy, _KINDS)
        yield self._life(policy, _KINDS[::-1])

    def _life(
        self, policy: RestartPolicy, reports: Sequence[FailureReport]
    ) -> list[PastFailure]:
        """Ask about each; go on where the job would have ended."""
        past: list[PastFailure] = []
        for number, report in enumerate(reports):
            asked = attrs.evolve(
                report,
                generation=number + 1,
                restarts=number,
                time=report.time + 60.0 * number,
            )
            decision: Decision = policy.on_failure(asked, past)
            past = [*past, PastFailure(asked, decision)]
        return past


def _report(**facts: object) -> FailureReport:
    failure = attrs.evolve(_FAILURE, **facts)  # type: ignore[arg-type] # any of them
    return FailureReport(generation=1, restarts=0, failures=(failure,), time=1e9)


_KINDS = (
    _report(),
    _report(exitcode=-9, ending=Ending.OUT_OF_MEMORY, uptime=0.0),
    _report(exitcode=0, ending=Ending.NO_VALUE, uptime=1e12),
    _report(ending=Ending.UNHEALTHY, monitor="heartbeat", message="unhealthy: silent"),
    _report(exception="torch.OutOfMemoryError", message="x" * 10_000, node="agent"),
    _report(request=Request.NO_RESTART),
    _report(request=Request.EXCLUDE_NODE, host="b"),
    # What only a bug, a strange clock or a strange program can make of it.
    _report(rank=-1, local_rank=-1, host="", pid=0, exitcode=2**40, timestamp=-1e300),
    _report(exitcode=-(2**40), timestamp=math.nan, uptime=-1.0, message="\udc80\n\0"),
    attrs.evolve(_report(), time=-1e9, progress=math.inf, group_size=10**9),
    attrs.evolve(_report(), time=math.nan, progress=math.nan, findings=(_FINDING,)),
    attrs.evolve(_report(), min_nodes=0, spares=10**9, progress=-1.0),
    attrs.evolve(
        _report(),
        failures=tuple(attrs.evolve(_FAILURE, rank=rank) for rank in range(1000)),
        group_size=1,
    ),
)
