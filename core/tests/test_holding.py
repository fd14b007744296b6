"""Workers that put off a scaling: what their agent keeps, what the job makes of it."""

import math
from collections.abc import Sequence
from typing import Any

import attrs
import pytest

from elaunch.agent.holding import Holds
from elaunch.failures import ProcessFailure
from elaunch.membership.holding import NAMED, Hold, PutOff, holders, in_force
from elaunch.membership.job_vitals import JobVitals
from elaunch.membership.planner import plan
from elaunch.membership.records import (
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    NodeRecord,
    encode,
)
from elaunch.membership.roster import Roster
from elaunch.membership.steps import Form, Seal, Step, Timing, Wait
from elaunch.membership.view import Node, View
from elaunch.policy import Decision, FailureReport, History, Verdict
from elaunch.rendezvous import JobSettings, NodeFacts
from elaunch.vitals import ScalingHold, Vitals


SETTINGS = JobSettings(min_nodes=1, max_nodes=4)
FAILURE = ProcessFailure(
    rank=0,
    local_rank=0,
    role="default",
    host="a",
    pid=1,
    exitcode=1,
    timestamp=1.0,
    message="boom",
)
WORKER = ("a", 0)


def base(local_rank: int) -> int:
    return 10 + local_rank


class TestHolds:
    def test_what_lasts_is_told_with_what_is_left_of_it(self) -> None:
        holds = Holds()
        holds.begin(0, 5.0, now=100.0)
        holds.begin(1, 9.0, now=101.0)

        assert holds.next_end == 105.0
        assert holds.told(102.0, base) == (
            ScalingHold(rank=10, number=1, seconds=3.0),
            ScalingHold(rank=11, number=2, seconds=8.0),
        )

    def test_one_that_has_run_out_is_forgotten(self) -> None:
        holds = Holds()
        holds.begin(0, 5.0, now=100.0)

        assert holds.told(105.0, base) == ()
        assert holds.next_end == math.inf

    def test_who_asks_again_has_the_same_hold_for_as_long_as_is_asked_for(self) -> None:
        holds = Holds()
        fresh = [holds.begin(0, seconds, now=100.0) for seconds in (5.0, 60.0, 2.0)]

        assert fresh == [True, False, False]
        assert holds.told(100.0, base) == (ScalingHold(rank=10, number=1, seconds=2.0),)

    @pytest.mark.parametrize("released", [True, False])
    def test_one_that_begins_after_the_end_of_another_is_another(
        self,
        released: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        holds = Holds()
        holds.begin(0, 5.0, now=100.0)
        if released:
            assert holds.end(0)
        assert holds.begin(0, 5.0, now=105.0)

        (told,) = holds.told(105.0, base)
        assert told.number == 2

    def test_numbers_go_on_in_the_next_group(self) -> None:
        holds = Holds()
        holds.begin(0, 5.0, now=100.0)
        holds.clear()

        assert holds.told(100.0, base) == ()
        assert not holds.end(0)
        holds.begin(0, 5.0, now=100.0)
        assert holds.told(100.0, base)[0].number == 2


class TestInForce:
    def test_one_counts_until_it_runs_out_or_the_limit_is_there(self) -> None:
        hold = Hold(WORKER, 1, 10.0)

        assert in_force([hold], {}, 20.0, 9.0) == (hold,)
        assert in_force([hold], {}, 20.0, 10.0) == ()
        assert in_force([hold], {}, 9.5, 9.0) == (attrs.evolve(hold, until=9.5),)
        assert in_force([hold], {}, 9.0, 9.0) == ()

    def test_each_worker_holds_up_a_scaling_once(self) -> None:
        again, other = Hold(WORKER, 2, 10.0), Hold(("b", 1), 5, 10.0)

        assert in_force([again, other], {WORKER: 1}, 20.0, 0.0) == (other,)

    def test_the_first_hold_of_each_worker_is_the_one_that_was_met(self) -> None:
        put_off = PutOff()
        begins = [
            put_off.note((Hold(WORKER, 1, 10.0),), 1.0),
            put_off.note((Hold(WORKER, 1, 12.0), Hold(("b", 1), 5, 10.0)), 2.0),
        ]

        assert begins == [True, False]
        assert attrs.astuple(put_off) == (1.0, {WORKER: 1, ("b", 1): 5})
        assert not put_off.note((), 3.0)
        assert attrs.astuple(put_off) == (None, {})

    def test_some_of_many_are_named(self) -> None:
        many = [Hold(("a", rank), 1, 1.0) for rank in reversed(range(NAMED + 2))]

        assert holders(many[-1:], {"a": "host"}) == ("rank 0 on 'host'",)
        named = holders(many, {"a": "host"})
        assert named[0] == "rank 0 on 'host'"
        assert named[NAMED:] == ("2 more",)


class Never:
    """A policy that nobody needs."""

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        raise AssertionError(f"{report} {history}")


class Restart:
    """A policy that lets the job go on."""

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        assert len(history) == report.restarts
        return Decision(Verdict.RESTART, "again")


def node(node_id: str, phase: NodePhase = NodePhase.READY, **changes: Any) -> Node:
    record = NodeRecord(
        facts=NodeFacts(host=node_id, address=node_id),
        settings=SETTINGS,
        phase=phase,
        **changes,
    )
    return Node(node_id=node_id, joined=1, record=record)


RUNNING = node("a", NodePhase.RUNNING, generation=3)


def view(
    holds: Sequence[Hold],
    *nodes: Node,
    phase: JobPhase = JobPhase.SEALED,
    **changes: Any,
) -> View:
    """Return generation 3 of node 'a', and nodes that came at 10."""
    generation = 3 if phase is JobPhase.SEALED else 4
    return View(
        job=JobRecord(phase=phase, generation=generation, settings=SETTINGS, token=1),
        nodes={each.node_id: each for each in nodes or (RUNNING, node("new"))},
        members={"a": 0},
        hosts={"a": "a"},
        came={"new": 10.0},
        holds=tuple(holds),
        **changes,
    )


def step(seen: View, now: float, **timing: float) -> Step:
    return plan(seen, Never(), Timing(**{"scale_hold_limit": 60.0, **timing}), now)  # type: ignore[arg-type] # all of them are numbers


class TestPlan:
    HOLD = Hold(WORKER, 1, 30.0)

    def test_nodes_that_came_wait_for_workers_that_hold(self) -> None:
        later = Hold(("a", 1), 2, 40.0)

        assert step(view([self.HOLD, later]), 10.0) == Wait(
            40.0, held=(self.HOLD, later)
        )

    def test_they_come_in_when_it_has_run_out_and_the_reason_tells(self) -> None:
        seen = view([self.HOLD], held_since=10.0, met={WORKER: 1})
        formed = step(seen, 30.0)

        assert isinstance(formed, Form)
        assert formed.grows
        assert formed.restarts == 0
        assert formed.reason == "node 'new' joined, held up for 20.0 s"

    def test_without_a_hold_nobody_was_held_up(self) -> None:
        formed = step(view([]), 10.0)

        assert isinstance(formed, Form)
        assert formed.reason == "node 'new' joined"

    def test_who_holds_again_at_once_has_let_them_in(self) -> None:
        seen = view([Hold(WORKER, 2, 90.0)], held_since=10.0, met={WORKER: 1})

        assert isinstance(step(seen, 20.0), Form)

    def test_nobody_holds_longer_than_the_limit(self) -> None:
        longer = attrs.evolve(self.HOLD, until=1000.0)
        seen = view([longer], held_since=10.0, met={WORKER: 1})
        capped = attrs.evolve(longer, until=70.0)

        assert step(seen, 69.0) == Wait(70.0, held=(capped,))
        assert isinstance(step(seen, 70.0), Form)

    def test_the_limit_may_forbid_it(self) -> None:
        assert isinstance(step(view([self.HOLD]), 10.0, scale_hold_limit=0.0), Form)

    def test_what_is_not_due_yet_is_not_held_up(self) -> None:
        """The limit counts from when it is due."""
        assert step(view([self.HOLD]), 11.0, scale_debounce=5.0) == Wait(15.0)

    def test_a_failure_waits_for_nobody(self) -> None:
        failed = node("a", NodePhase.FAILED, generation=3, failures=(FAILURE,))
        seen = view([self.HOLD], failed, node("new"), failed=frozenset({"a"}))
        formed = plan(seen, Restart(), Timing(scale_hold_limit=60.0), 10.0)

        assert isinstance(formed, Form)
        assert formed.past is not None

    def test_a_loss_waits_for_nobody(self) -> None:
        formed = step(view([self.HOLD], node("new")), 10.0)

        assert isinstance(formed, Form)
        assert not formed.grows

    def test_a_restart_that_is_asked_for_waits_for_nobody(self) -> None:
        asking = node("a", NodePhase.RUNNING, generation=3, restart="new code")
        formed = step(view([self.HOLD], asking, node("new")), 10.0)

        assert isinstance(formed, Form)
        assert not formed.grows

    def test_whoever_is_there_comes_in_with_what_forms_anew_anyway(self) -> None:
        stopped = node("a", generation=3)
        seen = view([self.HOLD], stopped, node("new"), phase=JobPhase.FORMING)
        sealed = step(seen, 10.0)

        assert isinstance(sealed, Seal)
        assert {member.node_id for member in sealed.members} == {"a", "new"}


KEYS = Keys("job")


def told(*holds: ScalingHold, generation: int = 3) -> Vitals:
    return Vitals(generation=generation, holds=holds)


class TestWhatIsHeard:
    HOLD = ScalingHold(rank=0, number=1, seconds=30.0)

    def test_a_hold_lasts_from_when_it_was_heard_of(self) -> None:
        vitals = JobVitals()
        vitals.take("a", told(self.HOLD), 100.0)

        assert vitals.holds(3, {"a"}) == (Hold(WORKER, 1, 130.0),)

    def test_only_members_of_the_generation_that_runs_hold(self) -> None:
        vitals = JobVitals()
        vitals.take("a", told(self.HOLD, generation=2), 100.0)
        vitals.take("b", told(self.HOLD), 100.0)

        assert vitals.holds(3, {"a"}) == ()

    def test_what_does_not_change_who_holds_is_no_news(self) -> None:
        """Numbers of workers and of seconds that are left come with each progress."""
        vitals = JobVitals()
        other = attrs.evolve(self.HOLD, number=2)
        words = [
            told(),
            told(self.HOLD),
            told(attrs.evolve(self.HOLD, seconds=20.0)),
            told(other),
            told(),
        ]
        news = [vitals.take("a", word, 100.0) for word in words]

        assert news == [False, True, False, True, True]

    def test_it_is_news_only_while_a_scaling_is_put_off(self) -> None:
        roster, key = Roster(KEYS), KEYS.vitals("a")
        before = roster.note_vitals(key, encode(told(self.HOLD)), 100.0)
        roster.put_off.note((Hold(WORKER, 1, 130.0),), 101.0)
        released = roster.note_vitals(key, encode(told()), 102.0)
        roster.forming(103.0)

        assert (before, released) == (False, True)
        assert roster.put_off.since is None
