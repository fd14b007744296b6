"""The budget table of the policy ``default``: laws over any failures, and examples."""

from collections.abc import Iterator, Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elaunch.errors import UsageError
from elaunch.failures import Ending, ProcessFailure, Request, root_cause
from elaunch.options import build_options
from elaunch.policy import Decision, FailureReport, PastFailure, RestartPolicy, Verdict
from elaunch.restart_budget import BudgetOptions, BudgetPolicy
from elaunch.restart_budget.counts import grown
from elaunch.testing import RestartPolicyContract


NODES = ("a", "b", "c")
GOES_ON = (Verdict.RESTART, Verdict.EXCLUDE)
ENDS = (Verdict.FAIL, Verdict.HAND_BACK)


def report(
    node: str = "a",
    *,
    after: float = 0.0,
    exitcode: int = 1,
    uptime: float | None = 100.0,
    progress: float | None = None,
    request: Request | None = None,
    **facts: Any,
) -> FailureReport:
    """Return a report whose time is so many seconds after the one before."""
    failure = ProcessFailure(
        rank=0,
        local_rank=0,
        role="r",
        host=node,
        pid=1,
        exitcode=exitcode,
        timestamp=0.0,
        uptime=uptime,
        request=request,
    )
    told: dict[str, Any] = {
        "generation": 1,
        "restarts": 0,
        "failures": (failure,),
        "group_size": 3,
        "spares": 3,
    }
    return FailureReport(time=after, progress=progress, **(told | facts))


def lived(policy: BudgetPolicy, failures: Sequence[FailureReport]) -> list[PastFailure]:
    """Return what a job goes through until the policy ends it."""
    past: list[PastFailure] = []
    now = 1000.0
    for number, failed in enumerate(failures):
        now += failed.time
        asked = attrs.evolve(failed, generation=number + 1, restarts=number, time=now)
        decision = policy.on_failure(asked, tuple(past))
        past.append(PastFailure(asked, decision))
        if decision.verdict in ENDS:
            break
    return past


def decisions(policy: BudgetPolicy, *failures: FailureReport) -> list[Decision]:
    return [one.decision for one in lived(policy, failures)]


def verdicts(policy: BudgetPolicy, *failures: FailureReport) -> list[Verdict]:
    return [decision.verdict for decision in decisions(policy, *failures)]


REPORTS = st.builds(
    report,
    st.sampled_from(NODES),
    after=st.floats(0, 5000),
    exitcode=st.integers(-15, 20),
    uptime=st.none() | st.floats(0, 2000),
    progress=st.none() | st.integers(0, 5).map(float),
    request=st.sampled_from((None, None, None, *Request)),
    spares=st.integers(0, 3),
    min_nodes=st.integers(1, 3),
)
LIVES = st.lists(REPORTS, max_size=25)
COUNTS = st.none() | st.integers(0, 4)
CYCLES = st.none() | st.integers(1, 4)
OPTIONS = st.builds(
    BudgetOptions,
    window_restarts=COUNTS,
    window=st.floats(1, 10000),
    no_progress=CYCLES,
    min_uptime=st.floats(0, 1000),
    quick_failures=st.integers(1, 3),
    spent=st.sampled_from(("fail", "hand-back")),
    node_restarts=COUNTS,
    node_window_restarts=COUNTS,
    node_window=st.none() | st.floats(1, 10000),
    node_no_progress=CYCLES,
    node_spent=st.sampled_from(("exclude", "fail", "hand-back")),
    cool_down=st.none() | st.floats(1, 1000),
    cool_down_max=st.floats(0, 5000),
    too_few=st.sampled_from(("wait", "fail", "hand-back")),
    backoff=st.floats(0, 60),
    backoff_factor=st.floats(1, 4),
    backoff_max=st.floats(0, 500),
    backoff_reset=st.floats(0, 1000),
)
ROWS = st.sampled_from(
    [
        "exit:1-9=fail",
        "exit:1=retry:1",
        "signal:*=exclude",
        "signal:9=exclude:30",
        "exit:*=hand-back",
        "request:no-restart=retry",
        "request:exclude-node=retry:2",
    ]
)
POLICIES = st.builds(
    BudgetPolicy,
    st.integers(0, 12),
    OPTIONS,
    st.lists(ROWS, max_size=3).map(tuple),
)


class TestLaws:
    @given(st.integers(0, 5), st.lists(REPORTS, min_size=7, max_size=9))
    def test_without_options_it_counts_restarts_as_torchrun_does(
        self, most: int, failures: list[FailureReport]
    ) -> None:
        plain = [
            attrs.evolve(
                failed, failures=(attrs.evolve(failed.failures[0], request=None),)
            )
            for failed in failures
        ]
        found = decisions(BudgetPolicy(most), *plain)

        expected = [
            Decision(Verdict.RESTART, f"restart {n} of {most}")
            for n in range(1, most + 1)
        ]
        spent = f"all {most} restarts are spent" if most else "no restarts are allowed"
        assert found == [*expected, Decision(Verdict.FAIL, spent)]

    @given(POLICIES, LIVES)
    def test_no_job_has_more_restarts_than_its_budget(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        found = decisions(policy, *failures)

        restarts = [one for one in found if one.verdict in GOES_ON]
        assert len(restarts) <= policy.max_restarts
        assert all(one.reason for one in found)

    @given(POLICIES, LIVES)
    def test_no_window_has_more_restarts_than_its_budget(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        most = policy.options.window_restarts
        times = [
            one.report.time
            for one in lived(policy, failures)
            if one.decision.verdict in GOES_ON
        ]
        if most is not None:
            for last, now in enumerate(times):
                recent = [
                    t for t in times[: last + 1] if now - t < policy.options.window
                ]
                assert len(recent) <= most

    @given(POLICIES, LIVES)
    def test_no_node_costs_more_than_its_budget_before_it_is_left_out(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        options = policy.options
        for times in _restarts_of_nodes(lived(policy, failures)):
            if options.node_restarts is not None:
                assert len(times) <= options.node_restarts
            if options.node_window_restarts is not None:
                window = options.node_window or options.window
                for last, now in enumerate(times):
                    recent = [t for t in times[: last + 1] if now - t < window]
                    assert len(recent) <= options.node_window_restarts

    @given(POLICIES, LIVES)
    def test_no_job_goes_on_without_progress(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        barren, farthest = 0, -1.0
        for one in lived(policy, failures):
            progress = -1.0 if one.report.progress is None else one.report.progress
            barren = 0 if progress > farthest else barren + 1
            farthest = max(farthest, progress)
            if one.decision.verdict in GOES_ON and policy.options.no_progress:
                assert barren < policy.options.no_progress

    @given(POLICIES, LIVES)
    def test_no_job_goes_on_that_fails_at_its_start(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        quick = 0
        for one in lived(policy, failures):
            uptime = one.report.failures[0].uptime
            soon = uptime is not None and uptime < policy.options.min_uptime
            quick = quick + 1 if soon else 0
            if one.decision.verdict in GOES_ON:
                assert quick < policy.options.quick_failures

    @given(POLICIES, LIVES)
    def test_a_delay_is_that_of_the_row_and_has_a_limit(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        options = policy.options
        row, farthest = 0, -1.0
        for one in lived(policy, failures):
            uptime = one.report.failures[0].uptime
            progress = -1.0 if one.report.progress is None else one.report.progress
            good = progress > farthest or (uptime or -1.0) >= options.backoff_reset
            good = good or (uptime == 0.0 == options.backoff_reset)
            row = 1 if good else row + 1
            farthest = max(farthest, progress)
            if one.decision.verdict in GOES_ON:
                wanted = options.backoff * options.backoff_factor ** (row - 1)
                expected = min(wanted, options.backoff_max)
                assert one.decision.delay == pytest.approx(expected)
            else:
                assert one.decision.delay == 0

    @given(POLICIES, LIVES)
    def test_only_nodes_that_failed_are_left_out_each_time_for_longer(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        times: dict[str, float] = {}
        for one in lived(policy, failures):
            decision = one.decision
            assert bool(decision.exclude) == (decision.verdict is Verdict.EXCLUDE)
            assert set(decision.exclude) <= {f.host for f in one.report.failures}
            if decision.verdict is Verdict.EXCLUDE and policy.options.cool_down:
                assert decision.cool_down is not None
                assert decision.cool_down > 0
                if not policy.rows:  # which may give a cool-down of their own
                    (node,) = decision.exclude
                    assert decision.cool_down >= times.get(node, 0.0)
                    times[node] = decision.cool_down
            if decision.verdict is not Verdict.EXCLUDE:
                assert decision.cool_down is None

    @given(st.integers(0, 12), OPTIONS, LIVES, st.data())
    def test_one_budget_more_never_lets_a_job_go_on_that_would_have_ended(
        self,
        most: int,
        options: BudgetOptions,
        failures: list[FailureReport],
        data: st.DataObject,
    ) -> None:
        """Any of several budgets counts."""
        off: dict[str, Any] = {
            "window_restarts": None,
            "no_progress": None,
            "min_uptime": 0.0,
        }
        name = data.draw(st.sampled_from(sorted(off)))
        change: dict[str, Any] = {name: off[name]}
        fewer = attrs.evolve(options, **change)
        past: list[PastFailure] = []
        for number, failed in enumerate(failures):
            asked = attrs.evolve(failed, restarts=number, time=failed.time * number)
            one, more = (
                BudgetPolicy(most, budgets).on_failure(asked, past)
                for budgets in (fewer, options)
            )
            assert more.verdict in ENDS or one == more
            past.append(PastFailure(asked, one))

    @given(POLICIES, LIVES)
    def test_it_decides_the_same_again(
        self, policy: BudgetPolicy, failures: list[FailureReport]
    ) -> None:
        past = lived(policy, failures)

        for number, one in enumerate(past):
            assert policy.on_failure(one.report, past[:number]) == one.decision


def _restarts_of_nodes(past: Sequence[PastFailure]) -> Iterator[list[float]]:
    """Yield when each node cost a restart, from one exclusion of it to the next."""
    for node in NODES:
        times: list[float] = []
        for one in past:
            if node in one.decision.exclude:
                yield times
                times = []
            elif root_cause(one.report.failures).host == node:
                times += [one.report.time] * (one.decision.verdict in GOES_ON)
        yield times


class TestJob:
    def test_a_window_forgets(self) -> None:
        policy = BudgetPolicy(9, BudgetOptions(window_restarts=2, window=100))

        assert verdicts(policy, *[report(after=60)] * 6) == [Verdict.RESTART] * 6
        assert decisions(policy, *[report(after=40)] * 6)[2:] == [
            Decision(Verdict.FAIL, "all 2 restarts within 100 s are spent")
        ]

    def test_what_another_clock_told_counts_as_recent(self) -> None:
        policy = BudgetPolicy(9, BudgetOptions(window_restarts=1, window=100))
        ahead = PastFailure(report(after=1e9), Decision(Verdict.RESTART, "once"))

        decision = policy.on_failure(report(after=5), [ahead])

        assert decision.verdict is Verdict.FAIL

    def test_a_job_that_gets_nowhere_ends(self) -> None:
        policy = BudgetPolicy(99, BudgetOptions(no_progress=3))
        markers: list[float | None] = [None, 10, 10, 20, 20, 15, 20, 30]

        found = lived(policy, [report(progress=marker) for marker in markers])

        assert [one.report.progress for one in found] == markers[:7]
        assert found[-1].decision.reason == (
            "3 generations in a row failed without progress"
        )

    def test_workers_that_die_at_their_start_are_not_tried_again(self) -> None:
        policy = BudgetPolicy(99, BudgetOptions(min_uptime=10))

        assert decisions(policy, report(uptime=0.4)) == [
            Decision(
                Verdict.FAIL,
                "the generation failed within 10 s of the start of the workers",
            )
        ]
        assert verdicts(policy, report(uptime=10)) == [Verdict.RESTART]
        assert verdicts(policy, report(uptime=None)) == [Verdict.RESTART]

    def test_one_worker_that_ran_for_long_is_enough(self) -> None:
        policy = BudgetPolicy(99, BudgetOptions(min_uptime=10))
        (quick,) = report(uptime=1).failures
        (slow,) = report(uptime=20).failures

        both = attrs.evolve(report(), failures=(quick, slow))

        assert verdicts(policy, both) == [Verdict.RESTART]

    def test_several_quick_failures_may_be_allowed(self) -> None:
        policy = BudgetPolicy(99, BudgetOptions(min_uptime=10, quick_failures=2))
        quick, slow = report(uptime=1), report(uptime=50)

        assert verdicts(policy, quick, slow, quick, quick) == [
            *[Verdict.RESTART] * 3,
            Verdict.FAIL,
        ]

    def test_a_job_whose_budget_is_spent_may_be_handed_back(self) -> None:
        policy = BudgetPolicy(1, BudgetOptions(spent="hand-back"))

        assert decisions(policy, report(), report())[1:] == [
            Decision(Verdict.HAND_BACK, "all 1 restarts are spent")
        ]

    def test_each_restart_of_a_row_waits_longer_until_one_is_good(self) -> None:
        options = BudgetOptions(backoff=5, backoff_max=30, backoff_reset=600)
        failures = [
            *(report(uptime=10) for _ in range(4)),
            report(uptime=700),
            report(uptime=10),
            report(uptime=10, progress=3),
        ]

        found = decisions(BudgetPolicy(99, options), *failures)

        assert [one.delay for one in found] == [5, 10, 20, 30, 5, 10, 5]
        assert found[1].reason == "restart 2 of 99 after 10 s"

    def test_a_very_long_row_has_a_delay_like_any(self) -> None:
        assert grown(1.0, 10.0, 10_000_000, 300.0) == 300.0
        assert grown(1.0, 1.0, 10_000_000, 300.0) == 1.0


class TestNode:
    def test_a_node_that_fails_too_often_is_left_out(self) -> None:
        policy = BudgetPolicy(99, BudgetOptions(node_restarts=1, cool_down=60))

        found = decisions(policy, report("a"), report("b"), report("a"), report("b"))

        assert [one.exclude for one in found] == [(), (), ("a",), ("b",)]
        assert found[2] == Decision(
            Verdict.EXCLUDE,
            "restart 3 of 99, without node 'a' for 60 s: "
            "node 'a' has spent its 1 restart",
            exclude=("a",),
            cool_down=60,
        )

    def test_a_node_that_returns_has_its_budget_anew_but_stays_out_longer(self) -> None:
        options = BudgetOptions(node_restarts=1, cool_down=60, cool_down_max=200)

        found = decisions(BudgetPolicy(99, options), *[report("a")] * 8)

        assert [one.cool_down for one in found] == [
            *(None, 60, None, 120, None, 200, None, 200)
        ]

    def test_the_root_cause_names_the_node(self) -> None:
        (first,) = report("a").failures
        later = attrs.evolve(first, host="b", timestamp=5.0)
        both = attrs.evolve(report(), failures=(later, first))
        policy = BudgetPolicy(99, BudgetOptions(node_restarts=0))

        assert policy.on_failure(both, []).exclude == ("a",)

    def test_a_node_is_what_the_job_calls_it(self) -> None:
        (failed,) = report("host").failures
        told = attrs.evolve(report(), failures=(attrs.evolve(failed, node="agent-7"),))
        policy = BudgetPolicy(99, BudgetOptions(node_restarts=0))

        assert policy.on_failure(told, []).exclude == ("agent-7",)

    def test_nobody_is_left_out_whom_nobody_knows(self) -> None:
        policy = BudgetPolicy(9, BudgetOptions(node_restarts=0))
        asked = report("", request=Request.EXCLUDE_NODE)

        assert policy.on_failure(report(""), []).verdict is Verdict.RESTART
        assert policy.on_failure(asked, []) == Decision(
            Verdict.RESTART,
            "restart 1 of 9; nobody knows the node: "
            "rank 0 on '' asked for 'exclude-node'",
        )

    def test_a_node_without_progress_is_told_from_the_others(self) -> None:
        policy = BudgetPolicy(99, BudgetOptions(node_no_progress=2))
        failures = [
            report("a", progress=1),
            report("b", progress=2),
            report("a", progress=3),
            report("b", progress=3),
            report("a", progress=3),
            report("a", progress=3),
        ]

        found = decisions(policy, *failures)

        assert [one.exclude for one in found] == [(), (), (), (), (), ("a",)]
        assert found[-1].reason.endswith("node 'a' has failed twice without progress")

    @pytest.mark.parametrize(
        ("spent", "verdict"),
        [("fail", Verdict.FAIL), ("hand-back", Verdict.HAND_BACK)],
    )
    def test_a_node_that_fails_too_often_may_end_the_job(
        self, spent: str, verdict: Verdict
    ) -> None:
        options = BudgetOptions(node_window_restarts=1, node_spent=spent)

        assert decisions(BudgetPolicy(9, options), report(), report())[1:] == [
            Decision(verdict, "node 'a' has spent its 1 restart within 3600 s")
        ]


class TestTooFew:
    ASKED = report(request=Request.EXCLUDE_NODE, min_nodes=3, spares=0)

    def test_others_are_waited_for(self) -> None:
        found = BudgetPolicy(9).on_failure(self.ASKED, [])

        assert found == Decision(
            Verdict.EXCLUDE,
            "restart 1 of 9, without node 'a' for good: "
            "rank 0 on 'a' asked for 'exclude-node'",
            exclude=("a",),
        )

    @pytest.mark.parametrize(
        ("too_few", "verdict"),
        [("fail", Verdict.FAIL), ("hand-back", Verdict.HAND_BACK)],
    )
    def test_nobody_is_waited_for_where_users_say_so(
        self, too_few: str, verdict: Verdict
    ) -> None:
        policy = BudgetPolicy(9, BudgetOptions(too_few=too_few))
        with_spare = attrs.evolve(self.ASKED, spares=1)

        assert policy.on_failure(self.ASKED, []) == Decision(
            verdict,
            "rank 0 on 'a' asked for 'exclude-node'; "
            "without node 'a' too few nodes are left",
        )
        assert policy.on_failure(with_spare, []).verdict is Verdict.EXCLUDE

    def test_a_cool_down_brings_the_node_back(self) -> None:
        policy = BudgetPolicy(9, BudgetOptions(too_few="fail", cool_down=60))

        assert policy.on_failure(self.ASKED, []).cool_down == 60

    def test_a_job_of_which_no_node_is_left_is_handed_back(self) -> None:
        alone = attrs.evolve(self.ASKED, group_size=1, min_nodes=1)

        assert BudgetPolicy(9).on_failure(alone, []).verdict is Verdict.HAND_BACK
        fails = BudgetPolicy(9, BudgetOptions(too_few="fail"))
        assert fails.on_failure(alone, []).verdict is Verdict.FAIL

    def test_where_nobody_knows_the_size_the_job_goes_on(self) -> None:
        unknown = attrs.evolve(self.ASKED, group_size=0)
        policy = BudgetPolicy(9, BudgetOptions(too_few="fail"))

        assert policy.on_failure(unknown, []).verdict is Verdict.EXCLUDE


class TestTable:
    def policy(self, *rows: str, **options: Any) -> BudgetPolicy:
        return BudgetPolicy(9, BudgetOptions(**options), rows)

    def test_what_cannot_succeed_is_not_retried(self) -> None:
        policy = self.policy("exit:64-78=fail")

        assert decisions(policy, report(exitcode=1), report(exitcode=70))[1:] == [
            Decision(Verdict.FAIL, "on failure 'exit:64-78=fail'")
        ]

    def test_a_worker_that_knows_better_ends_the_job(self) -> None:
        found = decisions(self.policy(), report(request=Request.NO_RESTART))

        assert found == [Decision(Verdict.FAIL, "rank 0 on 'a' asked for 'no-restart'")]

    def test_a_request_is_no_more_than_users_let_it_be(self) -> None:
        policy = self.policy("request:no-restart=retry")

        assert verdicts(policy, report(request=Request.NO_RESTART)) == [Verdict.RESTART]

    def test_a_class_of_failures_may_have_a_budget_of_its_own(self) -> None:
        policy = self.policy("exit:3=retry:1")
        failures = [report(exitcode=code) for code in (3, 1, 1, 3)]

        assert decisions(policy, *failures)[-2:] == [
            Decision(Verdict.RESTART, "restart 3 of 9"),
            Decision(Verdict.FAIL, "'exit:3=retry:1' allows no more"),
        ]

    def test_a_row_says_for_how_long_a_node_stays_out(self) -> None:
        policy = self.policy("signal:*=exclude:30", cool_down=500)

        found = decisions(policy, *[report(exitcode=-9)] * 3)

        assert [one.cool_down for one in found] == [30, 60, 120]

    def test_an_exclusion_costs_a_restart_of_the_job(self) -> None:
        policy = attrs.evolve(self.policy("signal:*=exclude"), max_restarts=1)
        failures = [report(node, exitcode=-9) for node in NODES]

        assert verdicts(policy, *failures) == [Verdict.EXCLUDE, Verdict.FAIL]

    def test_all_that_ask_for_it_are_left_out(self) -> None:
        (first,) = report("a", request=Request.EXCLUDE_NODE).failures
        other = attrs.evolve(first, host="b", timestamp=2.0)
        failed = attrs.evolve(report(), failures=(other, first))

        assert self.policy().on_failure(failed, []).exclude == ("a", "b")

    def test_a_finding_may_exclude_its_node(self) -> None:
        (failed,) = report("b").failures
        found = attrs.evolve(failed, ending=Ending.UNHEALTHY, monitor="straggler")
        policy = self.policy("finding:straggler=exclude")

        decision = policy.on_failure(attrs.evolve(report(), failures=(found,)), [])

        assert decision.exclude == ("b",)


class TestPlain(RestartPolicyContract):
    @pytest.fixture
    def policy(self) -> RestartPolicy:
        return BudgetPolicy(3)


class TestWithAll(RestartPolicyContract):
    @pytest.fixture
    def policy(self) -> RestartPolicy:
        options = BudgetOptions(
            window_restarts=50,
            no_progress=30,
            min_uptime=0.5,
            quick_failures=20,
            node_restarts=2,
            node_window_restarts=3,
            node_no_progress=9,
            cool_down=60,
            backoff=1,
        )
        rows = ("signal:*=exclude:30", "exception:*Memory*=retry:3", "exit:3=hand-back")
        return BudgetPolicy(1000, options, rows)


class TestThatEndsSoon(RestartPolicyContract):
    @pytest.fixture(params=["fail", "hand-back"])
    def policy(self, request: pytest.FixtureRequest) -> RestartPolicy:
        return BudgetPolicy(0, BudgetOptions(spent=request.param))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"spent": "stop"}, "'spent' is 'fail' or 'hand-back', not 'stop'"),
        ({"too_few": "x"}, "'too_few' is 'wait' or 'fail' or 'hand-back', not 'x'"),
        ({"window": "0"}, "'window' must be > 0"),
        ({"window_restarts": "-1"}, "'window_restarts' must be >= 0"),
        ({"no_progress": "0"}, "'no_progress' must be >= 1"),
        ({"backoff_factor": "0.5"}, "'backoff_factor' must be >= 1"),
        ({"cool_down": "0"}, "'cool_down' must be > 0"),
        ({"node_restart": "1"}, "did you mean 'node_restarts'"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: dict[str, str], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        build_options(BudgetOptions, options, "--restart-policy")
