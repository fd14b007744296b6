"""The planner's laws, one by one."""

from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import pytest

from elaunch.failures import ProcessFailure
from elaunch.membership.planner import RETURN_GRACE, STOP_MARGIN, plan
from elaunch.membership.ranks import order
from elaunch.membership.records import JobPhase, JobRecord, NodePhase, NodeRecord
from elaunch.membership.steps import (
    ASKING,
    Charge,
    Close,
    Exclude,
    Form,
    Refund,
    Seal,
    Step,
    Suspicion,
    Timing,
    Wait,
)
from elaunch.membership.view import Node, View
from elaunch.policy import RestartPolicy
from elaunch.rendezvous import JobSettings, NodeFacts, OutcomeState
from elaunch.restart_budget import BudgetPolicy


SETTINGS = JobSettings(min_nodes=2, max_nodes=3, max_restarts=1, shutdown_timeout=30)
LAST_CALL = 5.0


def failure(rank: int, timestamp: float = 1.0) -> ProcessFailure:
    return ProcessFailure(
        rank=rank,
        local_rank=0,
        role="default",
        host=f"host-{rank}",
        pid=1,
        exitcode=1,
        timestamp=timestamp,
        message="boom",
    )


def node(
    name: str,
    joined: int,
    phase: NodePhase = NodePhase.READY,
    generation: int = 0,
    **changes: Any,
) -> Node:
    record = NodeRecord(
        facts=NodeFacts(host=name, address=name),
        settings=SETTINGS,
        phase=phase,
        generation=generation,
    )
    return Node(node_id=name, joined=joined, record=attrs.evolve(record, **changes))


def view(
    phase: JobPhase,
    nodes: Sequence[Node],
    members: Mapping[str, int] | None = None,
    *,
    generation: int = 1,
    restarts: int = 0,
    done: Sequence[str] = (),
    forming_since: float = 0.0,
    quorum_since: float | None = None,
) -> View:
    members = members or {}
    return View(
        job=JobRecord(
            phase=phase,
            generation=generation,
            settings=SETTINGS,
            token=1,
            restarts=restarts,
        ),
        nodes={n.node_id: n for n in nodes},
        members=members,
        hosts={m: m for m in members},
        done=frozenset(done),
        forming_since=forming_since,
        quorum_since=quorum_since,
    )


def with_settings(seen: View, **changes: Any) -> View:
    """Return the same view of a job with other settings, which all its nodes have."""
    settings = attrs.evolve(seen.job.settings, **changes)
    return attrs.evolve(
        seen,
        job=attrs.evolve(seen.job, settings=settings),
        nodes={
            node_id: attrs.evolve(n, record=attrs.evolve(n.record, settings=settings))
            for node_id, n in seen.nodes.items()
        },
    )


NO_SUSPICION = Suspicion(0.0)


def decide(
    seen: View,
    now: float = 0.0,
    suspicion: Suspicion = NO_SUSPICION,
    policy: RestartPolicy | None = None,
) -> Step:
    """Return the step, without the failure that it follows from."""
    timing = Timing(last_call=LAST_CALL, suspicion=suspicion)
    step = plan(seen, policy or BudgetPolicy(SETTINGS.max_restarts), timing, now)
    if isinstance(step, Form):
        return Form(step.reason, step.restarts)
    return step


def sealed_over(decision: Step) -> list[str]:
    assert isinstance(decision, Seal)
    return [member.node_id for member in decision.members]


class TestFirstGeneration:
    def test_too_few_nodes_wait_without_limit(self) -> None:
        assert decide(view(JobPhase.FORMING, [node("a", 1)])) == Wait()

    def test_the_minimum_waits_for_the_last_call(self) -> None:
        seen = view(JobPhase.FORMING, [node("a", 1), node("b", 2)], quorum_since=10.0)

        assert decide(seen, now=12.0) == Wait(15.0, quorum=True)
        assert sealed_over(decide(seen, now=15.0)) == ["a", "b"]

    def test_the_maximum_ends_the_wait(self) -> None:
        nodes = [node("a", 1), node("b", 2), node("c", 3)]

        assert sealed_over(decide(view(JobPhase.FORMING, nodes))) == ["a", "b", "c"]

    def test_a_node_with_other_settings_is_not_counted(self) -> None:
        other = attrs.evolve(SETTINGS, max_nodes=9)
        nodes = [node("a", 1), node("b", 2, settings=other)]

        assert decide(view(JobPhase.FORMING, nodes), now=99.0) == Wait()

    def test_a_leaving_node_is_not_counted(self) -> None:
        nodes = [node("a", 1), node("b", 2, NodePhase.LEAVING)]

        assert decide(view(JobPhase.FORMING, nodes), now=99.0) == Wait()


class TestSealed:
    MEMBERS: Mapping[str, int] = {"a": 0, "b": 1}

    def running(self, *more: Node) -> list[Node]:
        return [
            node("a", 1, NodePhase.RUNNING, 1),
            node("b", 2, NodePhase.RUNNING, 1),
            *more,
        ]

    def test_nothing_to_do(self) -> None:
        assert decide(view(JobPhase.SEALED, self.running(), self.MEMBERS)) == Wait()

    def test_a_lost_node_costs_no_restart(self) -> None:
        seen = view(JobPhase.SEALED, self.running()[:1], self.MEMBERS)

        assert decide(seen) == Form("node 'b' was lost", 0)

    def test_a_departure_is_told_with_its_reason(self) -> None:
        leaving = node("b", 2, NodePhase.LEAVING, 1, reason="SIGTERM")
        seen = view(JobPhase.SEALED, [self.running()[0], leaving], self.MEMBERS)

        assert decide(seen) == Form("node 'b' left: SIGTERM", 0)

    def test_a_joiner_that_fits_costs_no_restart(self) -> None:
        seen = view(JobPhase.SEALED, self.running(node("c", 3)), self.MEMBERS)

        assert decide(seen) == Form("node 'c' joined", 0)

    def test_a_surplus_joiner_disturbs_nobody(self) -> None:
        members = {"a": 0, "b": 1, "c": 2}
        nodes = self.running(node("c", 3, NodePhase.RUNNING, 1), node("d", 4))

        assert decide(view(JobPhase.SEALED, nodes, members)) == Wait()

    def test_nobody_joins_a_finish(self) -> None:
        nodes = [
            node("a", 1, NodePhase.DONE, 1),
            node("b", 2, NodePhase.RUNNING, 1),
            node("c", 3),
        ]
        seen = view(JobPhase.SEALED, nodes, self.MEMBERS, done=["a"])

        assert decide(seen) == Wait()

    def test_a_failure_costs_a_restart(self) -> None:
        failed = node("b", 2, NodePhase.FAILED, 1, failures=(failure(1),))
        seen = view(JobPhase.SEALED, [self.running()[0], failed], self.MEMBERS)

        assert decide(seen) == Form(
            "rank 1 on 'host-1' failed: boom (restart 1 of 1)", 1
        )

    def test_a_failed_node_that_is_ready_again_still_has_failed(self) -> None:
        """Its two records came at once, and only the last one was seen."""
        ready = node("b", 2, NodePhase.READY, 1, failures=(failure(1),))
        seen = view(JobPhase.SEALED, [self.running()[0], ready], self.MEMBERS)

        assert decide(seen) == Form(
            "rank 1 on 'host-1' failed: boom (restart 1 of 1)", 1
        )

    def test_a_failure_beyond_the_budget_ends_the_job(self) -> None:
        nodes = [
            node("a", 1, NodePhase.FAILED, 1, failures=(failure(0, 2.0),)),
            node("b", 2, NodePhase.FAILED, 1, failures=(failure(1, 1.0),)),
        ]
        decision = decide(view(JobPhase.SEALED, nodes, self.MEMBERS, restarts=1))

        assert isinstance(decision, Close)
        assert decision.outcome.state is OutcomeState.FAILED
        assert [f.rank for f in decision.outcome.failures] == [1, 0]
        assert "rank 1 on 'host-1' failed: boom" in decision.outcome.reason

    def suspected(self) -> View:
        """Return a generation that failed, whose other member may be lost."""
        failed = node("b", 2, NodePhase.FAILED, 1, failures=(failure(1),))
        seen = view(
            JobPhase.SEALED, [self.running()[0], failed], self.MEMBERS, restarts=1
        )
        return attrs.evolve(seen, failed=frozenset({"b"}), failing_since=5.0)

    def test_the_end_waits_for_a_loss_that_explains_the_failure(self) -> None:
        """A broken connection is noticed by workers long before the store is sure."""
        seen = self.suspected()
        soon = Suspicion(0.75)

        assert decide(seen, now=5.1, suspicion=soon) == Wait(5.75)
        assert isinstance(decide(seen, now=5.75, suspicion=soon), Close)
        all_failed = attrs.evolve(seen, failed=frozenset({"a", "b"}))
        assert isinstance(decide(all_failed, now=5.1, suspicion=soon), Close)
        lost = attrs.evolve(seen, nodes={"b": seen.nodes["b"]})
        assert decide(lost, now=5.1, suspicion=soon) == Form("node 'a' was lost", 1)

    def test_members_are_asked_where_a_loss_is_noticed_late(self) -> None:
        seen = self.suspected()
        late = Suspicion(30.0, asks=True)
        what = f"rank 1 on 'host-1' failed: boom; {ASKING}"

        assert decide(seen, now=5.1, suspicion=late) == Form(what, 1)
        assert isinstance(decide(seen, now=35.0, suspicion=late), Close)
        all_failed = attrs.evolve(seen, failed=frozenset({"a", "b"}))
        assert isinstance(decide(all_failed, now=5.1, suspicion=late), Close)

    def test_a_failure_of_an_earlier_generation_counts_no_more(self) -> None:
        failed = node("b", 2, NodePhase.FAILED, 1, failures=(failure(1),))
        seen = view(
            JobPhase.SEALED,
            [node("a", 1, NodePhase.RUNNING, 2), failed],
            self.MEMBERS,
            generation=2,
        )

        assert decide(seen) == Wait()

    def test_a_member_that_runs_nothing_any_more_is_taken_in_again(self) -> None:
        """Its report did not get through, so it stopped its workers and is ready."""
        ready = node("b", 2, NodePhase.READY, 1)
        seen = view(JobPhase.SEALED, [self.running()[0], ready], self.MEMBERS)

        assert decide(seen) == Form("node 'b' stopped running", 0)

    def test_a_member_that_was_just_assigned_is_not_idle(self) -> None:
        nodes = [node("a", 1), node("b", 2)]

        assert decide(view(JobPhase.SEALED, nodes, self.MEMBERS)) == Wait()

    def test_all_done_is_success(self) -> None:
        nodes = [node("a", 1, NodePhase.DONE, 1), node("b", 2, NodePhase.DONE, 1)]
        decision = decide(view(JobPhase.SEALED, nodes, self.MEMBERS, done=["a", "b"]))

        assert isinstance(decision, Close)
        assert decision.outcome.state is OutcomeState.SUCCEEDED

    def test_who_is_done_may_be_gone(self) -> None:
        seen = view(
            JobPhase.SEALED,
            [node("b", 2, NodePhase.RUNNING, 1)],
            self.MEMBERS,
            done=["a"],
        )

        assert decide(seen) == Wait()


class TestForming:
    MEMBERS: Mapping[str, int] = {"a": 0, "b": 1}

    def forming(self, *nodes: Node, since: float = 0.0) -> View:
        return view(
            JobPhase.FORMING,
            nodes,
            self.MEMBERS,
            generation=2,
            forming_since=since,
        )

    def test_members_that_stop_their_workers_are_waited_for(self) -> None:
        seen = self.forming(
            node("a", 1, generation=1), node("b", 2, NodePhase.RUNNING, 1), since=7.0
        )

        assert decide(seen, now=8.0) == Wait(7.0 + 30 + STOP_MARGIN)

    def test_a_member_that_is_ready_for_the_last_one_still_stops(self) -> None:
        """It was assigned, but has not said yet that its workers are gone."""
        seen = self.forming(node("a", 1, generation=1), node("b", 2, generation=0))

        assert isinstance(decide(seen), Wait)

    def test_an_overdue_stop_excludes(self) -> None:
        seen = self.forming(
            node("a", 1, generation=1), node("b", 2, NodePhase.RUNNING, 1)
        )

        assert decide(seen, now=30 + STOP_MARGIN) == Exclude(("b",))

    def test_a_member_that_says_goodbye_is_waited_for_until_it_is_gone(self) -> None:
        leaving = node("b", 2, NodePhase.LEAVING, 1)
        others = (node("a", 1, generation=1), node("c", 3))

        assert isinstance(decide(self.forming(*others, leaving)), Wait)
        assert sealed_over(decide(self.forming(*others))) == ["a", "c"]

    def failed(self, *more: Node, **changes: Any) -> View:
        """Return a generation that forms since a node joined, whose last one failed."""
        failed = node("b", 2, NodePhase.FAILED, 1, failures=(failure(1),))
        seen = self.forming(node("a", 1, generation=1), failed, *more)
        return attrs.evolve(seen, job=attrs.evolve(seen.job, **changes))

    def test_a_failure_that_meets_a_join_costs_a_restart(self) -> None:
        reason = "rank 1 on 'host-1' failed: boom (restart 1 of 1)"

        charge = decide(self.failed(node("c", 3)))
        assert isinstance(charge, Charge)
        assert (charge.reason, charge.restarts) == (reason, 1)
        assert isinstance(decide(self.failed(restarts=1)), Close)

    def test_the_end_waits_for_the_answer_of_members_that_are_asked(self) -> None:
        failed = node("b", 2, NodePhase.READY, 1, failures=(failure(1),))
        silent = self.forming(node("a", 1, NodePhase.RUNNING, 1), failed)
        silent = attrs.evolve(
            silent,
            job=attrs.evolve(silent.job, restarts=1),
            failed=frozenset({"b"}),
            failing_since=5.0,
        )
        late = Suspicion(30.0, asks=True)

        assert decide(silent, now=6.0, suspicion=late) == Wait(35.0)
        assert isinstance(decide(silent, now=35.0, suspicion=late), Close)
        answers = attrs.evolve(silent, answered=frozenset({"a"}))
        assert isinstance(decide(answers, now=6.0, suspicion=late), Close)
        lost = attrs.evolve(silent, nodes={"b": failed})
        assert isinstance(decide(lost, now=6.0, suspicion=late), Wait)
        replaced = attrs.evolve(lost, nodes={"b": failed, "c": node("c", 3)})
        assert sealed_over(decide(replaced, now=6.0, suspicion=late)) == ["c", "b"]

    def test_a_failure_is_counted_once(self) -> None:
        assert isinstance(decide(self.failed(restarts=1, failed=1)), Wait)

    def test_what_fails_because_a_member_is_gone_is_no_failure(self) -> None:
        failed = node("b", 2, NodePhase.FAILED, 1, failures=(failure(1),))

        assert isinstance(decide(self.forming(failed)), Wait)

    def charged(self, *nodes: Node, **changes: Any) -> View:
        """Return a generation that forms since a failure was counted."""
        seen = self.forming(*nodes)
        job = attrs.evolve(seen.job, restarts=1, failed=1)
        return attrs.evolve(
            seen, job=job, charged=True, failed=frozenset({"a"}), **changes
        )

    def test_a_restart_is_taken_back_when_a_loss_explains_the_failure(self) -> None:
        ready = node("a", 1, generation=1, failures=(failure(0),))

        assert decide(self.charged(ready)) == Refund(
            "node 'b' was lost, and others failed", 0
        )

    @pytest.mark.parametrize(
        "changes",
        [
            {"answered": frozenset({"b"})},  # it was there when it had stopped
            {"charged": False},  # another coordinator counted it, which may be the lost
        ],
    )
    def test_it_is_not_taken_back_for_a_loss_that_came_later(
        self, changes: Mapping[str, Any]
    ) -> None:
        ready = node("a", 1, generation=1, failures=(failure(0),))

        assert decide(attrs.evolve(self.charged(ready), **changes)) == Wait()

    def test_a_restart_has_no_last_call(self) -> None:
        seen = self.forming(node("b", 2, generation=1), node("a", 1, generation=1))

        assert sealed_over(decide(seen)) == ["a", "b"]

    def test_a_replacement_takes_the_free_rank(self) -> None:
        seen = self.forming(node("new", 9), node("b", 2, generation=1))

        assert sealed_over(decide(seen)) == ["new", "b"]

    def test_too_few_wait_for_replacements(self) -> None:
        assert decide(self.forming(node("a", 1, generation=1)), now=99.0) == Wait()


class TestUnits:
    UNITS: Mapping[str, int] = {"min_nodes": 2, "max_nodes": 5, "node_unit": 2}

    def forming(self, count: int) -> View:
        nodes = [node(f"n{i}", i) for i in range(count)]
        seen = view(JobPhase.FORMING, nodes, quorum_since=0.0)
        return with_settings(seen, **self.UNITS)

    def sealed(self, members: int, more: int) -> View:
        nodes = [node(f"m{i}", i, NodePhase.RUNNING, 1) for i in range(members)]
        nodes += [node(f"n{i}", 10 + i) for i in range(more)]
        ranks = {f"m{i}": i for i in range(members)}
        return with_settings(view(JobPhase.SEALED, nodes, ranks), **self.UNITS)

    @pytest.mark.parametrize(("ready", "size"), [(2, 2), (3, 2), (4, 4), (5, 4)])
    def test_a_generation_has_a_multiple_of_the_unit(
        self, ready: int, size: int
    ) -> None:
        assert len(sealed_over(decide(self.forming(ready), now=LAST_CALL))) == size

    def test_the_largest_multiple_ends_the_last_call(self) -> None:
        assert len(sealed_over(decide(self.forming(4)))) == 4
        assert isinstance(decide(self.forming(3)), Wait)

    def test_joiners_wait_until_a_unit_is_there(self) -> None:
        assert decide(self.sealed(2, 1)) == Wait()
        assert decide(self.sealed(2, 2)) == Form("nodes 'n0', 'n1' joined", 0)
        assert decide(self.sealed(4, 2)) == Wait()

    def test_the_first_ranks_stay_when_a_unit_breaks(self) -> None:
        nodes = [node(f"m{i}", 9 - i, generation=1) for i in (0, 2, 3)]
        ranks = {f"m{i}": i for i in range(4)}
        seen = view(JobPhase.FORMING, nodes, ranks, generation=2)

        assert sealed_over(decide(with_settings(seen, **self.UNITS))) == ["m0", "m2"]


class TestPopulation:
    """What ends a job whose minimum can't be reached any more."""

    def forming(self, population: int | None, **changes: Any) -> View:
        seen = view(
            JobPhase.FORMING,
            [node("a", 1, generation=1)],
            {"a": 0, "b": 1},
            generation=2,
        )
        return with_settings(attrs.evolve(seen, **changes), population=population)

    def test_replacements_are_waited_for_where_they_may_come(self) -> None:
        assert decide(self.forming(None), now=999.0) == Wait()
        assert decide(self.forming(3), now=999.0) == Wait()

    def test_a_lost_node_has_time_to_come_back(self) -> None:
        assert decide(self.forming(2), now=1.0) == Wait(RETURN_GRACE)

    def test_a_minimum_that_cant_be_reached_ends_the_job(self) -> None:
        decision = decide(self.forming(2), now=RETURN_GRACE)

        assert isinstance(decision, Close)
        assert decision.outcome.state is OutcomeState.LOST_QUORUM
        assert decision.outcome.reason == (
            "the minimum of 2 nodes can't be reached any more: of the 2 nodes of the "
            "job at most 1 is left; node 'b' was lost"
        )

    def test_whoever_said_goodbye_is_not_waited_for(self) -> None:
        decision = decide(self.forming(2, left={"b": "SIGTERM"}))

        assert isinstance(decision, Close)
        assert decision.outcome.reason.endswith("node 'b' left: SIGTERM")

    def test_a_goodbye_that_leaves_too_few_ends_the_job_at_once(self) -> None:
        """The coordinator may be the one that leaves: nobody else would know why."""
        nodes = [
            node("a", 1, NodePhase.RUNNING, 1),
            node("b", 2, NodePhase.LEAVING, 1, reason="SIGTERM"),
        ]
        seen = view(JobPhase.SEALED, nodes, {"a": 0, "b": 1})

        assert isinstance(decide(with_settings(seen, population=2)), Close)
        assert isinstance(decide(with_settings(seen, population=3)), Form)

    def test_those_who_departed_before_count(self) -> None:
        seen = self.forming(3)
        seen = attrs.evolve(seen, job=attrs.evolve(seen.job, departed=1))

        assert decide(seen, now=1.0) == Wait(RETURN_GRACE)

    def test_an_agent_that_came_back_has_not_departed(self) -> None:
        nodes = [node("a", 1, generation=1), node("b~2", 5)]
        seen = view(JobPhase.FORMING, nodes, {"a": 0, "b~1": 1}, generation=2)

        assert sealed_over(decide(seen)) == ["a", "b~2"]
        assert decide(seen) == Seal(order(seen.candidates()), departed=0)

    def test_a_replacement_lets_the_lost_one_be_counted(self) -> None:
        nodes = [node("a", 1, generation=1), node("c~1", 5)]
        seen = view(JobPhase.FORMING, nodes, {"a": 0, "b~1": 1}, generation=2)
        decision = decide(seen)

        assert isinstance(decision, Seal)
        assert decision.departed == 1


@pytest.mark.parametrize("nodes", [[], [node("a", 1)]])
def test_a_closed_job_stays_closed(nodes: Sequence[Node]) -> None:
    assert decide(view(JobPhase.CLOSED, nodes, {"a": 0})) == Wait()


class TestPreemption:
    """Workers have saved, and ended because a node will be taken away."""

    def seen(self, phase: JobPhase, generation: int, **changes: Any) -> View:
        nodes = [
            node("a", 1, NodePhase.FAILED, 1, failures=(failure(0),)),
            node("b", 2, NodePhase.PREEMPTED, 1, preempted=True),
        ]
        seen = view(phase, nodes, {"a": 0, "b": 1}, generation=generation)
        return attrs.evolve(seen, **{"preempted": frozenset({"b"}), **changes})

    @pytest.mark.parametrize(
        ("phase", "generation"), [(JobPhase.SEALED, 1), (JobPhase.FORMING, 2)]
    )
    def test_it_ends_the_job_whatever_else_fails(
        self, phase: JobPhase, generation: int
    ) -> None:
        """What others lose by it, and fail of, is no failure and costs nothing."""
        decision = decide(self.seen(phase, generation))

        assert isinstance(decision, Close)
        assert decision.outcome.state is OutcomeState.PREEMPTED
        assert decision.outcome.reason == ("workers of node 'b' ended for a preemption")
        assert decision.outcome.failures == ()

    def test_those_who_have_left_since_are_named_too(self) -> None:
        both = frozenset({"b", "a"})
        seen = self.seen(JobPhase.SEALED, 1, nodes={}, preempted=both)
        decision = decide(seen)

        assert isinstance(decision, Close)
        assert decision.outcome.reason.startswith("workers of nodes 'a', 'b' ended")

    def test_a_job_that_is_over_stays_as_it_is(self) -> None:
        assert decide(self.seen(JobPhase.CLOSED, 1)) == Wait()

    def test_without_it_the_failure_counts(self) -> None:
        seen = self.seen(JobPhase.SEALED, 1, preempted=frozenset())

        assert isinstance(decide(seen), Form)


class TestRestartOnRequest:
    MEMBERS: Mapping[str, int] = {"a": 0, "b": 1}

    def seen(self, *nodes: Node, done: Sequence[str] = ()) -> View:
        return view(JobPhase.SEALED, nodes, self.MEMBERS, done=done)

    def test_it_costs_nothing_and_is_told_with_its_reason(self) -> None:
        asks = node("b", 2, NodePhase.RUNNING, 1, restart="new code")

        assert decide(self.seen(node("a", 1, NodePhase.RUNNING, 1), asks)) == Form(
            "node 'b' asks for a restart: new code", 0
        )

    def test_who_has_stopped_already_is_told_with_its_reason(self) -> None:
        """Its two records came at once, and only the last one was seen."""
        asks = node("b", 2, NodePhase.READY, 1, restart="new code")

        assert decide(self.seen(node("a", 1, NodePhase.RUNNING, 1), asks)) == Form(
            "node 'b' asks for a restart: new code", 0
        )

    def test_a_failure_is_not_hidden_by_it(self) -> None:
        asks = node(
            "b", 2, NodePhase.FAILED, 1, restart="new code", failures=(failure(1),)
        )
        decision = decide(self.seen(node("a", 1, NodePhase.RUNNING, 1), asks))

        assert isinstance(decision, Form)
        assert decision.restarts == 1

    def test_it_is_about_one_generation(self) -> None:
        """Who asked in the one before has not asked in this one."""
        asked = node("b", 2, NodePhase.READY, 0, restart="new code")

        assert decide(self.seen(node("a", 1, NodePhase.RUNNING, 1), asked)) == Wait()

    def test_a_job_that_has_succeeded_has_succeeded(self) -> None:
        nodes = [
            node("a", 1, NodePhase.DONE, 1),
            node("b", 2, NodePhase.DONE, 1, restart="new code"),
        ]

        assert isinstance(decide(self.seen(*nodes, done=["a", "b"])), Close)


class TestUnfit:
    def test_a_node_that_is_unfit_is_not_counted(self) -> None:
        nodes = [node("a", 1), node("b", 2), node("c", 3, unfit="disk full")]
        seen = view(JobPhase.FORMING, nodes, quorum_since=0.0)

        assert sealed_over(decide(seen, now=LAST_CALL)) == ["a", "b"]

    def test_it_disturbs_nobody_and_comes_in_when_it_is_fit(self) -> None:
        members = {"a": 0, "b": 1}
        nodes = [node(m, 1, NodePhase.RUNNING, 1) for m in members]
        unfit = view(JobPhase.SEALED, [*nodes, node("c", 3, unfit="x")], members)
        fit = view(JobPhase.SEALED, [*nodes, node("c", 3)], members)

        assert decide(unfit) == Wait()
        assert decide(fit) == Form("node 'c' joined", 0)
