"""What follows from failures: what a policy is told, and what comes of its words."""

import math
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from elaunch.failures import ProcessFailure, Request
from elaunch.membership.exclusions import Exclusion
from elaunch.membership.planner import plan
from elaunch.membership.records import JobPhase, JobRecord, NodePhase, NodeRecord
from elaunch.membership.steps import (
    Charge,
    Close,
    Form,
    Refund,
    Seal,
    Step,
    Suspicion,
    Timing,
    Wait,
)
from elaunch.membership.view import Node, View
from elaunch.policy import Decision, FailureReport, History, PastFailure, Verdict
from elaunch.rendezvous import JobSettings, NodeFacts, OutcomeState
from elaunch.vitals import ToldFinding


SETTINGS = JobSettings(min_nodes=1, max_nodes=2)

FAILURE = ProcessFailure(
    rank=1,
    local_rank=0,
    role="default",
    host="b",
    pid=1,
    exitcode=1,
    timestamp=1.0,
    message="boom",
)

FINDING = ToldFinding(
    host="b", rank=1, monitor="m", severity="info", reason="slow", timestamp=1.0
)


@attrs.define
class Asked:
    """A policy that decides what it was told to, and remembers the questions."""

    decision: Decision
    questions: list[tuple[FailureReport, History]] = attrs.field(factory=list)

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        self.questions.append((report, history))
        return self.decision


def node(
    node_id: str,
    phase: NodePhase = NodePhase.READY,
    generation: int = 0,
    host: str = "",
    **changes: Any,
) -> Node:
    host = host or node_id
    record = NodeRecord(
        facts=NodeFacts(host=host, address=host),
        settings=SETTINGS,
        phase=phase,
        generation=generation,
        **changes,
    )
    return Node(node_id=node_id, joined=1, record=record)


def failed(node_id: str = "b", **changes: Any) -> Node:
    return node(node_id, NodePhase.FAILED, 3, failures=(FAILURE,), **changes)


def view(*nodes: Node, phase: JobPhase = JobPhase.SEALED, **changes: Any) -> View:
    job = JobRecord(
        phase=phase,
        generation=3 + (phase is JobPhase.FORMING),
        settings=SETTINGS,
        token=1,
        restarts=1,
        failed=1,
    )
    members = changes.pop("members", {"a": 0, "b": 1})
    jobs = {k: changes.pop(k) for k in ("excluded", "delay") if k in changes}
    return View(
        job=attrs.evolve(job, **jobs),
        nodes={n.node_id: n for n in nodes},
        members=members,
        hosts={m: m for m in members},
        **changes,
    )


RUNNING = node("a", NodePhase.RUNNING, 3)
RESTART = Decision(Verdict.RESTART, "again")


def decide(
    seen: View,
    decision: Decision = RESTART,
    now: float = 0.0,
    timing: Timing = Timing(),  # noqa: B008 - it is frozen
) -> Step:
    return plan(seen, Asked(decision), timing, now)


class TestReport:
    def asked(self, seen: View) -> tuple[FailureReport, History]:
        policy = Asked(RESTART)
        plan(seen, policy, Timing(), 0.0)
        return policy.questions[0]

    def test_it_has_all_that_is_known(self) -> None:
        spare, unfit = node("c"), node("d", unfit="x")
        report, _ = self.asked(
            view(
                *(RUNNING, failed(), spare, unfit),
                time=50.0,
                progress=7.5,
                findings=(FINDING,),
            )
        )

        assert report == FailureReport(
            generation=3,
            restarts=1,
            failures=(attrs.evolve(FAILURE, node="b"),),
            time=50.0,
            progress=7.5,
            findings=(FINDING,),
            group_size=2,
            min_nodes=1,
            spares=1,
        )

    def test_it_names_the_generation_that_failed_while_the_next_forms(self) -> None:
        report, _ = self.asked(
            view(node("a", NodePhase.READY, 3), failed(), phase=JobPhase.FORMING)
        )

        assert report.generation == 3

    def test_nodes_that_share_a_host_go_by_their_agents(self) -> None:
        members = {"a-1-x~1": 0, "a-2-y~2": 1}
        report, _ = self.asked(
            view(
                node("a-1-x~1", NodePhase.RUNNING, 3, host="a"),
                failed("a-2-y~2", host="a"),
                members=members,
            )
        )

        assert [f.node for f in report.failures] == ["a-2-y"]

    def test_stays_of_one_agent_share_no_host(self) -> None:
        """It came back: the stay before lives on as a member that is gone."""
        report, _ = self.asked(
            view(
                failed("b-2-y~1", host="b"),
                node("a-1-x~2", host="a"),
                members={"a-1-x~1": 0, "b-2-y~1": 1},
                failed=frozenset({"a-1-x~1", "b-2-y~1"}),
            )
        )

        assert [f.node for f in report.failures] == ["b"]

    def test_the_history_is_told(self) -> None:
        before = PastFailure(
            FailureReport(generation=1, restarts=0, failures=(FAILURE,)), RESTART
        )
        _, history = self.asked(view(RUNNING, failed(), history=(before,)))

        assert history == (before,)


class TestVerdicts:
    def test_a_restart_is_told_with_its_delay(self) -> None:
        step = decide(view(RUNNING, failed()), attrs.evolve(RESTART, delay=4.0))

        assert isinstance(step, Form)
        assert step.reason == (
            "rank 1 on 'b' failed: boom (again; not before 4 s are over)"
        )
        assert step.past is not None
        assert step.past.decision.delay == 4.0

    def test_an_exclusion_costs_a_restart_and_names_the_node(self) -> None:
        excludes = Decision(Verdict.EXCLUDE, "bad", exclude=("b",), cool_down=60.0)
        step = decide(view(RUNNING, failed()), excludes)

        assert isinstance(step, Form)
        assert step.restarts == 2
        assert step.reason == (
            "rank 1 on 'b' failed: boom (bad; without node 'b' for 60 s)"
        )

    def test_a_policy_that_names_the_node_is_not_repeated(self) -> None:
        words = "restart 2 of 3, without node 'b' for 60 s: it asked for that"
        excludes = Decision(Verdict.EXCLUDE, words, exclude=("b",), cool_down=60.0)
        step = decide(view(RUNNING, failed()), excludes)

        assert isinstance(step, Form)
        assert step.reason == f"rank 1 on 'b' failed: boom ({words})"

    def test_an_exclusion_for_good_says_so(self) -> None:
        excludes = Decision(Verdict.EXCLUDE, "bad", exclude=("b",))
        forming = view(node("a", NodePhase.READY, 3), failed(), phase=JobPhase.FORMING)
        step = decide(forming, excludes)

        assert isinstance(step, Charge)
        assert step.reason.endswith("(bad; without node 'b' for good)")

    @pytest.mark.parametrize(
        ("verdict", "state"),
        [
            (Verdict.FAIL, OutcomeState.FAILED),
            (Verdict.HAND_BACK, OutcomeState.HANDED_BACK),
        ],
    )
    def test_an_end_is_told_with_its_failures(
        self, verdict: Verdict, state: OutcomeState
    ) -> None:
        step = decide(view(RUNNING, failed()), Decision(verdict, "enough", 4.0))

        assert isinstance(step, Close)
        assert step.outcome.state is state
        assert step.outcome.reason == "rank 1 on 'b' failed: boom (enough)"
        assert [f.node for f in step.outcome.failures] == ["b"]
        assert step.past is not None

    def test_an_end_of_any_kind_waits_for_what_may_have_caused_it(self) -> None:
        step = decide(
            view(RUNNING, failed(), failed=frozenset({"b"}), failing_since=1.0),
            Decision(Verdict.HAND_BACK, "enough"),
            now=1.5,
            timing=Timing(suspicion=Suspicion(1.0)),
        )

        assert step == Wait(2.0)


class TestHeardLate:
    """Others failed of a node that is bad, and were heard before it said so."""

    ASKING = attrs.evolve(
        FAILURE, rank=0, host="a", timestamp=2.0, request=Request.EXCLUDE_NODE
    )

    def forming(self, *known: ProcessFailure, **changes: Any) -> View:
        """Return a job that forms anew after these failures, and has heard more."""
        report = FailureReport(generation=3, restarts=0, failures=known)
        seen = view(
            node("a", NodePhase.READY, 3, failures=(self.ASKING,)),
            node("b", NodePhase.READY, 3, failures=(FAILURE,)),
            phase=JobPhase.FORMING,
            history=(PastFailure(report, RESTART),),
            **changes,
        )
        return attrs.evolve(seen, job=attrs.evolve(seen.job, failed=3))

    def test_it_is_decided_anew(self) -> None:
        counted = self.forming(attrs.evolve(FAILURE, node="b"))
        step = decide(counted)

        assert step == Refund(
            "rank 0 on 'a' asked for exclude-node, when something else was decided", 0
        )
        policy = Asked(Decision(Verdict.EXCLUDE, "bad", exclude=("a",)))
        job = attrs.evolve(counted.job, failed=0, restarts=0)
        again = plan(attrs.evolve(counted, job=job, history=()), policy, Timing(), 0.0)
        assert isinstance(again, Charge)
        assert again.restarts == 1
        assert len(policy.questions[0][0].failures) == 2

    def test_once(self) -> None:
        both = (
            attrs.evolve(FAILURE, node="b"),
            attrs.evolve(self.ASKING, node="a"),
        )

        assert isinstance(decide(self.forming(*both)), Seal)

    def test_what_others_asked_for_before_is_no_reason(self) -> None:
        earlier = attrs.evolve(self.ASKING, node="b")

        assert isinstance(decide(self.forming(earlier)), Refund)

    def test_a_loss_explains_it_all_the_same(self) -> None:
        seen = self.forming(
            attrs.evolve(FAILURE, node="b"), members={"a": 0, "b": 1, "c": 2}
        )

        assert isinstance(decide(seen), Seal)


def left_out(name: str, until: float | None) -> tuple[Exclusion, ...]:
    return (Exclusion(node=name, reason="bad", until=until, generation=3),)


class TestLeavingOut:
    STOPPED = (node("a", NodePhase.READY, 3), node("b", NodePhase.READY, 3))

    def forming(self, *more: Node, **changes: Any) -> View:
        return view(*self.STOPPED, *more, phase=JobPhase.FORMING, **changes)

    def sealed_over(self, step: Step) -> Sequence[str]:
        assert isinstance(step, Seal)
        return [member.node_id for member in step.members]

    def test_a_spare_takes_the_rank_of_who_is_left_out(self) -> None:
        excluded = left_out("a", None)
        spare = node("c")

        assert self.sealed_over(decide(self.forming(spare, excluded=excluded))) == [
            "c",
            "b",
        ]

    def test_its_workers_are_waited_for_all_the_same(self) -> None:
        still = node("a", NodePhase.RUNNING, 3)
        seen = view(
            *(still, self.STOPPED[1], node("c")),
            phase=JobPhase.FORMING,
            excluded=left_out("a", None),
        )

        assert isinstance(decide(seen), Wait)

    def test_too_few_wait_until_a_cool_down_is_over(self) -> None:
        """Of all the clocks only the loop's wakes anybody."""
        both = (*left_out("a", 160.0), *left_out("b", 190.0))
        seen = self.forming(excluded=both, time=150.0)

        assert decide(seen, now=7.0) == Wait(17.0)
        later = attrs.evolve(seen, time=160.0)
        assert self.sealed_over(decide(later, now=17.0)) == ["a"]

    def test_who_has_cooled_down_joins_a_job_that_runs(self) -> None:
        running = (RUNNING, node("b", NodePhase.RUNNING, 3))
        settings = attrs.evolve(SETTINGS, max_nodes=3)
        seen = view(*running, node("c"), excluded=left_out("c", 160.0), time=150.0)
        job = attrs.evolve(seen.job, settings=settings)
        nodes = {
            key: attrs.evolve(n, record=attrs.evolve(n.record, settings=settings))
            for key, n in seen.nodes.items()
        }
        seen = attrs.evolve(seen, job=job, nodes=nodes)

        assert decide(seen, now=1.0) == Wait(11.0)
        assert decide(attrs.evolve(seen, time=160.0), now=11.0) == Form(
            "node 'c' joined", 1, grows=True
        )

    def test_a_job_ends_when_too_few_are_left_that_may_come(self) -> None:
        """Where all are known: whoever is left out for good is not waited for."""
        settings = attrs.evolve(SETTINGS, min_nodes=2, population=3)

        def with_settings(n: Node) -> Node:
            return attrs.evolve(n, record=attrs.evolve(n.record, settings=settings))

        def forming(*nodes: Node, until: float | None) -> View:
            seen = view(
                *map(with_settings, nodes),
                phase=JobPhase.FORMING,
                excluded=left_out("a", until),
            )
            return attrs.evolve(seen, job=attrs.evolve(seen.job, settings=settings))

        here = forming(*self.STOPPED, until=None)
        assert decide(here, now=99.0) == Wait()  # the third may come
        gone = attrs.evolve(
            here,
            nodes={"b": here.nodes["b"]},
            members={"a": 0, "b": 1, "c": 2},
            hosts={"a": "a", "b": "b", "c": "c"},
            left={"c": "SIGTERM"},
        )
        end = decide(gone)
        assert isinstance(end, Close)
        assert end.outcome.state is OutcomeState.LOST_QUORUM
        assert "at most 1 is left" in end.outcome.reason
        cools = attrs.evolve(gone, job=forming(until=50.0).job)
        assert isinstance(decide(cools, now=1.0), Wait)


class TestBackOff:
    STOPPED = TestLeavingOut.STOPPED

    def test_a_generation_is_not_sealed_before_its_delay_is_over(self) -> None:
        seen = view(
            *self.STOPPED, phase=JobPhase.FORMING, delay=4.0, delayed_since=10.0
        )

        assert decide(seen, now=13.9) == Wait(14.0)
        assert isinstance(decide(seen, now=14.0), Seal)


class TestCalmScaling:
    def seen(self, *came: float, most: int = 9, **changes: Any) -> View:
        """Return a job of one node, and nodes that came at these times."""
        sizes = attrs.evolve(SETTINGS, max_nodes=most)
        nodes = [RUNNING, *(node(f"n{i}") for i in range(len(came)))]
        admitted = [
            attrs.evolve(n, record=attrs.evolve(n.record, settings=sizes))
            for n in nodes
        ]
        seen = view(
            *admitted,
            members={"a": 0},
            came={f"n{i}": time for i, time in enumerate(came)},
            **changes,
        )
        return attrs.evolve(seen, job=attrs.evolve(seen.job, settings=sizes))

    def step(self, seen: View, now: float, **timing: Any) -> Step:
        return decide(seen, now=now, timing=Timing(**timing))

    def test_nodes_wait_until_nobody_has_come_for_a_while(self) -> None:
        seen = self.seen(10.0, 14.0)

        assert self.step(seen, 15.0, scale_debounce=5.0) == Wait(19.0)
        step = self.step(seen, 19.0, scale_debounce=5.0)
        assert isinstance(step, Form)
        assert step.reason == "nodes 'n0', 'n1' joined"

    def test_nobody_is_waited_for_when_no_more_would_fit(self) -> None:
        seen = self.seen(10.0, 14.0, most=3)

        assert isinstance(self.step(seen, 15.0, scale_debounce=5.0), Form)

    def test_nodes_that_keep_coming_hold_up_the_first_ones_for_so_long(self) -> None:
        seen = self.seen(*(10.0 + 4 * i for i in range(8)), most=20)

        assert self.step(seen, 38.5, scale_debounce=3.0) == Wait(40.0)
        assert isinstance(self.step(seen, 40.0, scale_debounce=3.0), Form)

    def test_the_job_forms_anew_for_them_once_in_a_while(self) -> None:
        seen = self.seen(10.0, most=2, grown_since=8.0)

        assert self.step(seen, 20.0, scale_interval=60.0) == Wait(68.0)
        assert isinstance(self.step(seen, 68.0, scale_interval=60.0), Form)

    def test_whoever_is_there_comes_in_with_a_failure(self) -> None:
        """Only restarts that joiners cause wait for more of them."""
        nodes = [node("b", NodePhase.READY, 3), node("c")]
        seen = view(*nodes, phase=JobPhase.FORMING, members={"b": 0}, came={"c": 9.0})
        step = self.step(seen, 10.0, scale_debounce=60.0, scale_interval=60.0)

        assert isinstance(step, Seal)
        assert len(step.members) == 2

    def test_at_first_nobody_has_grown(self) -> None:
        assert self.seen(1.0).grown_since == -math.inf
