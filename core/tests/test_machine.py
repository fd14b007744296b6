"""The agent's machine, told as short stories."""

import math
import signal
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from elaunch.agent.machine import Machine
from elaunch.agent.messages import (
    Action,
    Announce,
    Announced,
    Asked,
    Begin,
    Changed,
    Drained,
    Exited,
    Finish,
    Found,
    Join,
    Joined,
    JoinFailed,
    Kill,
    Leave,
    Left,
    Noticed,
    Notify,
    Report,
    Result,
    Retire,
    Signalled,
    Start,
    Started,
    StartFailed,
    Stimulus,
    Stop,
    Stopped,
    Waited,
)
from elaunch.agent.transitions import LATE, TRANSITIONS, State
from elaunch.errors import (
    ChildFailedError,
    InvalidTransition,
    NodeDrained,
    Preempted,
    QuorumLost,
    RendezvousClosed,
    RendezvousGracefulExit,
    RendezvousTimeout,
    SignalException,
    SpawnError,
    WorkersLeft,
)
from elaunch.failures import Ending, ProcessFailure, Request
from elaunch.monitor import Finding, Severity
from elaunch.notice import Notice, NoticeKind
from elaunch.rendezvous import (
    Change,
    ChangeKind,
    Membership,
    NodeState,
    Outcome,
    OutcomeState,
)
from elaunch.workers import WorkerExit, WorkerRanks


PLACE = Membership(
    generation=1,
    group_rank=1,
    group_size=2,
    base_rank=4,
    world_size=6,
    base_role_rank=4,
    role_world_size=6,
    restart_count=0,
    reason="first generation",
)
SUPERSEDED = Changed(Change(kind=ChangeKind.SUPERSEDED, reason="node 'b' joined"))
FAILED_ELSEWHERE = Change(kind=ChangeKind.SUPERSEDED, reason="failed", failed=True)
LOST = Changed(Change(kind=ChangeKind.LOST, reason="the lease is lost", grace=1.5))
FAILURE = ProcessFailure(
    rank=1, local_rank=1, role="r", host="h", pid=7, exitcode=3, timestamp=1.0
)
NOTICE = Notice(kind=NoticeKind.PREEMPTION, reason="SIGUSR1", host="h", timestamp=7.0)
OTHER = attrs.evolve(NOTICE, host="other")
TAKEN_AWAY = Signalled(15, attrs.evolve(NOTICE, reason="SIGTERM", grace=30.0))
SUCCEEDED = Outcome(state=OutcomeState.SUCCEEDED, reason="all workers succeeded")
FAILED = Outcome(state=OutcomeState.FAILED, reason="boom", failures=(FAILURE,))


def closed(outcome: Outcome) -> Changed:
    return Changed(
        Change(kind=ChangeKind.CLOSED, reason=outcome.reason, outcome=outcome)
    )


def exited(
    local_rank: int, exitcode: int = 0, value: object = None, timestamp: float = 2.0
) -> Exited:
    ranks = WorkerRanks(
        local_rank=local_rank, rank=4 + local_rank, role_rank=4 + local_rank
    )
    return Exited(
        WorkerExit(
            ranks=ranks,
            pid=9,
            exitcode=exitcode,
            timestamp=timestamp,
            value=value,
        )
    )


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A fresh machine; its invariants are checked when the test ends."""
    fresh = Machine(name="job", role="r", host="h", local_world_size=2)
    yield fresh
    assert fresh.state in State
    assert len(fresh.story) > 0


def tell(machine: Machine, *stimuli: Stimulus) -> list[Action]:
    """Tell stimuli one after the other; return what the last one asks for."""
    actions: list[Action] = []
    for stimulus in stimuli:
        actions = list(machine.handle(stimulus))
    return actions


def error_of(machine: Machine, *stimuli: Stimulus) -> Exception | None:
    """Tell stimuli that end an agent; return with what."""
    (finish,) = tell(machine, *stimuli)
    assert isinstance(finish, Finish)
    return finish.result.error


RUNNING = (Begin(), Joined(PLACE), Started({0: 1, 1: 2}))
ALONE = (Begin(), Joined(attrs.evolve(PLACE, group_size=1)), Started({0: 1, 1: 2}))


def found(finding: Finding) -> Found:
    """Return what a monitor of this node says."""
    return Found(finding=finding, monitor="process", pid=2, timestamp=3.0)


class TestHappyPath:
    def test_from_begin_to_the_values(self, machine: Machine) -> None:
        assert tell(machine, Begin()) == [Join()]
        assert tell(machine, Joined(PLACE)) == [Start(PLACE)]
        assert tell(machine, Started({0: 1, 1: 2})) == [Report(NodeState.RUNNING)]
        assert tell(machine, exited(1, value="b")) == []
        assert tell(machine, exited(0, value="a")) == [Report(NodeState.DONE)]
        assert tell(machine, closed(SUCCEEDED)) == [Leave(SUCCEEDED.reason)]
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        assert finish.result.values == {4: "a", 5: "b"}
        assert finish.result.error is None
        assert machine.state is State.FINISHED

    @pytest.mark.parametrize("kind", [RendezvousClosed, RendezvousGracefulExit])
    def test_a_spare_of_a_job_that_succeeds_succeeds_without_values(
        self, machine: Machine, kind: type[RendezvousClosed]
    ) -> None:
        over = JoinFailed(kind("over"), SUCCEEDED)
        (finish,) = tell(machine, Begin(), over, Left())

        assert isinstance(finish, Finish)
        assert finish.result.values == {}
        assert finish.result.error is None


class TestFailure:
    def test_it_is_reported_before_the_others_are_stopped(
        self, machine: Machine
    ) -> None:
        report, stop = tell(machine, *RUNNING, exited(1, exitcode=3))

        assert isinstance(report, Report)
        assert report.state is NodeState.FAILED
        assert [(f.rank, f.exitcode, f.host) for f in report.failures] == [(5, 3, "h")]
        assert isinstance(stop, Stop)
        assert stop.grace == math.inf

    @pytest.mark.parametrize(
        ("stimulus", "failed"),
        [
            (exited(1, exitcode=3), True),
            (closed(FAILED), True),
            (closed(SUCCEEDED), False),
            (SUPERSEDED, False),
            (Changed(FAILED_ELSEWHERE), True),
            (LOST, False),
            (Signalled(15), False),
        ],
    )
    def test_a_stop_knows_whether_a_worker_failed(
        self, machine: Machine, stimulus: Stimulus, *, failed: bool
    ) -> None:
        stop = tell(machine, *RUNNING, stimulus)[-1]

        assert isinstance(stop, Stop)
        assert stop.failed is failed

    def test_then_the_node_joins_again(self, machine: Machine) -> None:
        tell(machine, *RUNNING, exited(1, exitcode=3), exited(0, exitcode=-15))

        assert tell(machine, SUPERSEDED) == []
        assert tell(machine, Stopped()) == [Join()]

    def test_the_end_of_the_job_names_the_root_cause(self, machine: Machine) -> None:
        tell(machine, *RUNNING, exited(1, exitcode=3), closed(FAILED))
        assert tell(machine, Stopped()) == [Leave("boom")]
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        error = finish.result.error
        assert isinstance(error, ChildFailedError)
        assert error.failures == {1: FAILURE}
        assert error.status == 3

    def test_other_workers_of_the_node_that_raised_are_told_too(
        self, machine: Machine
    ) -> None:
        raised, late = exited(1, exitcode=3), exited(0, exitcode=1)
        told = Exited(attrs.evolve(late.exit, message="KeyError: 'x'"))
        tell(machine, *RUNNING, raised, told, closed(FAILED), Stopped())
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        error = finish.result.error
        assert isinstance(error, ChildFailedError)
        assert error.failures.keys() == {1, 4}
        assert error.failures[4].message == "KeyError: 'x'"
        assert error.status == 3

    @pytest.mark.parametrize(
        "facts",
        [
            {"exitcode": -15, "message": "said before"},
            {"exitcode": 143},
            {"exitcode": 1, "message": "said before", "timestamp": 0.5},
        ],
    )
    def test_who_was_only_stopped_is_not(
        self, machine: Machine, facts: dict[str, Any]
    ) -> None:
        late = Exited(attrs.evolve(exited(0, exitcode=1).exit, **facts))
        tell(machine, *RUNNING, exited(1, exitcode=3), late, closed(FAILED), Stopped())
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        error = finish.result.error
        assert isinstance(error, ChildFailedError)
        assert error.failures == {1: FAILURE}

    def test_an_earlier_one_that_is_told_later_is_reported_too(
        self, machine: Machine
    ) -> None:
        reported, _ = tell(machine, *RUNNING, exited(1, exitcode=3, timestamp=2.0))
        assert isinstance(reported, Report)

        (report,) = tell(machine, exited(0, exitcode=7, timestamp=1.0))
        assert isinstance(report, Report)
        assert report.state is NodeState.FAILED
        assert report.failures[0] == reported.failures[0]
        assert [(f.rank, f.exitcode) for f in report.failures] == [(5, 3), (4, 7)]

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
    def test_one_that_is_stopped_after_its_own_error_ended_by_that(
        self, machine: Machine, signum: int
    ) -> None:
        """It tidied up when the other had failed, too, and was ended by that."""
        stopped = exited(0, exitcode=-signum, timestamp=0.5).exit
        late = Exited(attrs.evolve(stopped, message="KeyError: 'x'"))
        tell(machine, *ALONE, exited(1, exitcode=3, timestamp=1.0))

        (report,) = tell(machine, late)
        assert isinstance(report, Report)
        last = report.failures[-1]
        assert (last.rank, last.exitcode, last.message) == (4, 1, "KeyError: 'x'")
        error = error_of(machine, closed(FAILED), Stopped(), Left())
        assert isinstance(error, ChildFailedError)
        assert (error.get_first_failure()[0], error.status) == (4, 1)

    def test_who_ends_because_of_it_is_not_reported(self, machine: Machine) -> None:
        tell(machine, *RUNNING, exited(1, exitcode=3, timestamp=2.0))

        assert tell(machine, exited(0, exitcode=-15, timestamp=2.1)) == []

    def test_no_failure_is_reported_while_workers_stop_for_a_change(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, SUPERSEDED)

        assert tell(machine, exited(0, exitcode=1, timestamp=0.1)) == []

    @pytest.mark.parametrize("told_after_the_end", [False, True])
    def test_where_a_node_is_alone_its_earliest_is_the_root_cause(
        self, machine: Machine, *, told_after_the_end: bool
    ) -> None:
        late: list[Stimulus] = [exited(0, exitcode=7, timestamp=0.5), closed(FAILED)]
        if told_after_the_end:
            late.reverse()
        tell(machine, *ALONE, exited(1, exitcode=3, timestamp=1.0), *late)
        error = error_of(machine, Stopped(), Left())

        assert isinstance(error, ChildFailedError)
        assert error.get_first_failure()[0] == 4
        assert error.failures.keys() == {1, 4}
        assert error.status == 7

    def test_the_end_can_be_heard_while_joining(self, machine: Machine) -> None:
        over = JoinFailed(RendezvousClosed("over"), FAILED)
        tell(machine, *RUNNING, exited(1, exitcode=3), Stopped(), over)
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        assert isinstance(finish.result.error, ChildFailedError)

    def test_a_node_with_workers_that_live_on_does_not_join_again(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, exited(1, exitcode=3), SUPERSEDED)
        (leave,) = tell(machine, Stopped(left=(7, 8)))
        (finish,) = tell(machine, Left())

        assert isinstance(leave, Leave)
        assert "pids 7, 8" in leave.reason
        assert isinstance(finish, Finish)
        assert isinstance(finish.result.error, WorkersLeft)
        assert finish.result.error.status == 1

    @pytest.mark.parametrize(
        ("outcome", "error"), [(FAILED, ChildFailedError), (SUCCEEDED, WorkersLeft)]
    )
    def test_workers_that_live_on_hide_no_failure_and_are_no_success(
        self, machine: Machine, outcome: Outcome, error: type[Exception]
    ) -> None:
        tell(machine, *RUNNING, exited(1, exitcode=3), closed(outcome))
        (_,) = tell(machine, Stopped(left=(7,)))
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        assert isinstance(finish.result.error, error)

    def test_an_unhealthy_worker_is_a_failure(self, machine: Machine) -> None:
        finding = Finding(local_rank=1, severity=Severity.UNHEALTHY, reason="too big")
        report, stop = tell(machine, *RUNNING, found(finding))

        assert isinstance(report, Report)
        assert report.failures[0].message == "unhealthy: too big"
        assert report.failures[0].status == 0
        assert isinstance(stop, Stop)

    def test_a_lesser_finding_changes_nothing(self, machine: Machine) -> None:
        finding = Finding(local_rank=1, severity=Severity.DEGRADED, reason="stopped")

        assert tell(machine, *RUNNING, found(finding)) == []
        assert machine.state is State.RUNNING

    def test_a_node_that_cant_start_workers_leaves_the_others_alone(
        self, machine: Machine
    ) -> None:
        error = SpawnError("no such program")
        assert tell(machine, Begin(), Joined(PLACE), StartFailed(error)) == [
            Leave("no such program")
        ]
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        assert finish.result.error is error

    def test_a_join_that_fails_ends_the_agent(self, machine: Machine) -> None:
        error = RendezvousTimeout("nobody came")
        (finish,) = tell(machine, Begin(), JoinFailed(error), Left())

        assert isinstance(finish, Finish)
        assert finish.result.error is error


class TestMembership:
    def test_a_newer_generation_stops_the_workers_then_joins(
        self, machine: Machine
    ) -> None:
        assert tell(machine, *RUNNING, SUPERSEDED) == [Stop("node 'b' joined")]
        assert tell(machine, Stopped()) == [Join()]

    def test_it_can_come_while_the_workers_start(self, machine: Machine) -> None:
        tell(machine, Begin(), Joined(PLACE), SUPERSEDED)

        assert tell(machine, Started({0: 1})) == []
        assert tell(machine, Stopped()) == [Join()]

    def test_a_lost_lease_stops_in_haste(self, machine: Machine) -> None:
        assert tell(machine, *RUNNING, LOST) == [Stop("the lease is lost", grace=1.5)]
        assert tell(machine, Stopped()) == [Join()]

    def test_a_lease_that_is_lost_while_the_workers_stop_cuts_their_grace_short(
        self, machine: Machine
    ) -> None:
        assert tell(machine, *RUNNING, SUPERSEDED) == [Stop("node 'b' joined")]
        assert tell(machine, LOST) == [Kill()]

    def test_who_is_done_and_waits_no_longer_leaves_with_its_values(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, exited(0, value="a"), exited(1, value="b"))

        assert tell(machine, Waited()) == [
            Leave("its workers have succeeded, and it waits no longer")
        ]
        assert tell(machine, closed(FAILED)) == []
        [finish] = tell(machine, Left())
        assert finish == Finish(Result(values={4: "a", 5: "b"}, early=True))

    def test_who_is_needed_again_meanwhile_stays(self, machine: Machine) -> None:
        tell(machine, *RUNNING, exited(0), exited(1), SUPERSEDED)

        assert tell(machine, Waited()) == []

    def test_who_is_done_takes_part_in_the_next_generation(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, exited(0), exited(1))

        assert tell(machine, SUPERSEDED) == [Join()]
        assert tell(machine, Joined(PLACE)) == [Start(PLACE)]


class TestSignals:
    def test_the_first_stops_the_second_kills(self, machine: Machine) -> None:
        assert tell(machine, *RUNNING, Signalled(15)) == [
            Retire("SIGTERM"),
            Stop("SIGTERM"),
        ]
        assert tell(machine, Signalled(2)) == [Kill()]
        assert tell(machine, Stopped()) == [Leave("SIGINT")]
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        error = finish.result.error
        assert isinstance(error, SignalException)
        assert error.sigval == 2

    def test_one_during_another_stop_makes_it_the_last(self, machine: Machine) -> None:
        tell(machine, *RUNNING, SUPERSEDED)

        assert tell(machine, Signalled(15)) == []
        assert tell(machine, Stopped()) == [Leave("SIGTERM")]

    @pytest.mark.parametrize("signalled_first", [False, True])
    def test_one_after_a_failure_leaves_the_end_of_the_job_as_it_is(
        self, machine: Machine, *, signalled_first: bool
    ) -> None:
        both: list[Stimulus] = [Signalled(2), closed(FAILED)]
        if not signalled_first:
            both.reverse()
        tell(machine, *RUNNING, exited(1, exitcode=3), *both)

        assert tell(machine, TAKEN_AWAY) == [Kill()]
        assert tell(machine, Stopped()) == [Leave("boom")]
        assert isinstance(error_of(machine, Left()), ChildFailedError)

    def test_one_after_a_failure_ends_an_agent_whose_job_goes_on(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, exited(1, exitcode=3), SUPERSEDED, Signalled(2))

        assert tell(machine, Stopped()) == [Leave("SIGINT")]
        assert isinstance(error_of(machine, Left()), SignalException)

    def test_who_was_told_to_stop_first_ends_so_whatever_the_job_does(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, Signalled(2), closed(FAILED))

        assert tell(machine, Stopped()) == [Leave("SIGINT")]
        assert isinstance(error_of(machine, Left()), SignalException)

    def test_one_while_joining_leaves(self, machine: Machine) -> None:
        assert tell(machine, Begin(), Signalled(2)) == [Leave("SIGINT")]

    def test_one_while_waiting_for_the_others_leaves(self, machine: Machine) -> None:
        tell(machine, *RUNNING, exited(0), exited(1))

        assert tell(machine, Signalled(15)) == [Leave("SIGTERM")]

    def test_one_during_the_goodbye_ends_it(self, machine: Machine) -> None:
        (finish,) = tell(machine, Begin(), Signalled(2), Signalled(2))

        assert isinstance(finish, Finish)
        assert isinstance(finish.result.error, SignalException)


class TestDrain:
    DRAINED = Drained("drained: new kernel")

    def test_it_leaves_as_after_a_signal_and_ends_well(self, machine: Machine) -> None:
        assert tell(machine, *RUNNING, self.DRAINED) == [
            Retire("drained: new kernel"),
            Stop("drained: new kernel"),
        ]
        tell(machine, exited(0, exitcode=-15), exited(1, exitcode=-15))
        assert tell(machine, Stopped()) == [Leave("drained: new kernel")]
        error = error_of(machine, Left())

        assert isinstance(error, NodeDrained)
        assert error.status == 0
        assert str(error) == "drained: new kernel"

    @pytest.mark.parametrize("before", [(), (Begin(),)])
    def test_who_is_no_member_leaves_at_once(
        self, machine: Machine, before: tuple[Stimulus, ...]
    ) -> None:
        assert tell(machine, *before, self.DRAINED) == [Leave("drained: new kernel")]
        assert isinstance(error_of(machine, Left()), NodeDrained)

    def test_workers_that_are_being_started_are_stopped(self, machine: Machine) -> None:
        tell(machine, Begin(), Joined(PLACE))

        assert tell(machine, self.DRAINED)[1] == Stop("drained: new kernel")

    def test_who_waits_for_the_others_waits_no_longer(self, machine: Machine) -> None:
        tell(machine, *RUNNING, exited(0), exited(1))

        assert tell(machine, self.DRAINED) == [Leave("drained: new kernel")]

    def test_who_hosts_what_workers_of_others_use_stays_for_them(
        self, machine: Machine
    ) -> None:
        first = Joined(attrs.evolve(PLACE, group_rank=0))
        tell(machine, Begin(), first, Started({0: 1, 1: 2}), exited(0), exited(1))

        assert machine.is_needed
        assert tell(machine, self.DRAINED) == []
        assert tell(machine, closed(SUCCEEDED)) == [Leave(SUCCEEDED.reason)]

    def test_one_during_another_stop_makes_it_the_last(self, machine: Machine) -> None:
        tell(machine, *RUNNING, SUPERSEDED)

        assert tell(machine, self.DRAINED) == []
        assert tell(machine, Stopped()) == [Leave("drained: new kernel")]

    def test_one_during_another_stop_leaves_the_end_of_the_job_as_it_is(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, exited(1, exitcode=3), self.DRAINED, closed(FAILED))

        assert tell(machine, Stopped()) == [Leave("boom")]
        assert isinstance(error_of(machine, Left()), ChildFailedError)

    def test_a_signal_wins_whatever_comes_first(self, machine: Machine) -> None:
        tell(machine, *RUNNING, Signalled(2), self.DRAINED)

        assert tell(machine, Stopped()) == [Leave("SIGINT")]
        assert isinstance(error_of(machine, Left()), SignalException)

    def test_a_signal_after_it_does_not_kill_but_a_second_does(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, self.DRAINED)

        assert tell(machine, Signalled(15)) == []
        assert tell(machine, Signalled(15)) == [Kill()]

    def test_one_is_enough(self, machine: Machine) -> None:
        tell(machine, *RUNNING, self.DRAINED)

        assert tell(machine, self.DRAINED) == []
        tell(machine, Stopped())
        assert tell(machine, self.DRAINED) == []
        tell(machine, Left())
        assert tell(machine, self.DRAINED) == []

    def test_workers_that_can_not_be_killed_are_no_good_end(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, self.DRAINED, Stopped((7,)))

        assert isinstance(error_of(machine, Left()), WorkersLeft)


class TestTakenAway:
    """A signal that means that the node is taken away."""

    def test_all_are_told_before_anybody_stops(self, machine: Machine) -> None:
        notice = TAKEN_AWAY.notice
        assert notice is not None
        assert tell(machine, *RUNNING, TAKEN_AWAY) == [
            Announce(notice),
            Retire("SIGTERM"),
            Stop("SIGTERM", preemption=notice),
        ]
        tell(machine, Stopped())
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        assert isinstance(finish.result.error, Preempted)
        assert str(finish.result.error) == "stopped by SIGTERM"
        assert finish.result.error.status == 75

    def test_workers_are_told_once_of_one_preemption(self, machine: Machine) -> None:
        """They have heard the notice that came before the signal."""
        *_, stop = tell(machine, *RUNNING, Announced(OTHER), TAKEN_AWAY)

        assert stop == Stop("SIGTERM", preemption=OTHER)

    def test_a_second_signal_kills(self, machine: Machine) -> None:
        assert tell(machine, *RUNNING, TAKEN_AWAY, TAKEN_AWAY) == [Kill()]

    def test_a_first_signal_after_the_end_of_the_job_kills_nobody(
        self, machine: Machine
    ) -> None:
        over = Outcome(state=OutcomeState.PREEMPTED, reason="saved")

        assert tell(machine, *RUNNING, closed(over), TAKEN_AWAY) == []

    def test_whose_workers_are_done_tells_the_others_and_goes(
        self, machine: Machine
    ) -> None:
        notice = TAKEN_AWAY.notice
        assert notice is not None
        tell(machine, *RUNNING, exited(0), exited(1))

        assert tell(machine, TAKEN_AWAY) == [Announce(notice), Leave("SIGTERM")]

    def test_who_is_no_member_just_goes(self, machine: Machine) -> None:
        assert tell(machine, Begin(), TAKEN_AWAY) == [Leave("SIGTERM")]
        (finish,) = tell(machine, Left())

        assert isinstance(finish, Finish)
        assert isinstance(finish.result.error, Preempted)

    def test_during_the_goodbye_it_hurries_and_a_success_stays_one(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, exited(0), exited(1), closed(SUCCEEDED))

        assert error_of(machine, TAKEN_AWAY) is None


class TestNotices:
    def test_it_is_announced_and_told_when_the_job_says_so(
        self, machine: Machine
    ) -> None:
        assert tell(machine, *RUNNING, Noticed(NOTICE)) == [Announce(NOTICE)]
        assert tell(machine, Announced(NOTICE)) == [Notify(NOTICE)]
        assert machine.state is State.RUNNING

    def test_workers_hear_of_it_once(self, machine: Machine) -> None:
        tell(machine, *RUNNING, Announced(NOTICE))

        assert tell(machine, Announced(attrs.evolve(NOTICE, grace=3.0))) == []
        assert tell(machine, Announced(OTHER)) == [Notify(OTHER)]

    def test_one_that_comes_while_the_workers_start_is_told_when_they_run(
        self, machine: Machine
    ) -> None:
        tell(machine, Begin(), Joined(PLACE))

        assert tell(machine, Noticed(NOTICE)) == [Announce(NOTICE)]
        assert tell(machine, Announced(NOTICE)) == []
        assert tell(machine, Started({0: 1, 1: 2})) == [
            Report(NodeState.RUNNING),
            Notify(NOTICE),
        ]

    @pytest.mark.parametrize(
        "before",
        [
            (),
            (Begin(),),
            (*RUNNING, SUPERSEDED),
        ],
    )
    def test_one_that_comes_to_no_member_is_about_the_next_generation(
        self, machine: Machine, before: tuple[Stimulus, ...]
    ) -> None:
        assert tell(machine, *before, Noticed(NOTICE)) == []
        if machine.state is not State.JOINING:
            tell(machine, Stopped() if before else Begin())

        assert tell(machine, Joined(PLACE)) == [Start(PLACE), Announce(NOTICE)]
        tell(machine, Started({}), SUPERSEDED, Stopped())
        assert tell(machine, Joined(PLACE)) == [Start(PLACE)]

    def test_whose_workers_are_done_announces_and_has_nobody_to_tell(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, exited(0), exited(1))

        assert tell(machine, Noticed(NOTICE)) == [Announce(NOTICE)]
        assert tell(machine, Announced(NOTICE)) == []

    def test_it_is_about_one_generation(self, machine: Machine) -> None:
        tell(machine, *RUNNING, Announced(NOTICE), SUPERSEDED, Stopped())
        tell(machine, Joined(PLACE), Started({}))
        report, stop = tell(machine, exited(0, exitcode=75))

        assert isinstance(report, Report)
        assert report.state is NodeState.FAILED
        reason = "rank 4 failed: ended with exit code 75"
        assert stop == Stop(reason, failed=True)

    def test_a_later_stop_tells_the_workers_of_it_again(self, machine: Machine) -> None:
        assert tell(machine, *RUNNING, Announced(NOTICE), SUPERSEDED) == [
            Stop("node 'b' joined", preemption=NOTICE)
        ]


class TestPreemption:
    @pytest.mark.parametrize("how", [Noticed(NOTICE), Announced(NOTICE)])
    def test_a_worker_that_ends_for_it_is_no_failure(
        self, machine: Machine, how: Stimulus
    ) -> None:
        """Whoever told the agent may have told the worker, too."""
        assert tell(machine, *RUNNING, how, exited(1, exitcode=75)) == [
            Report(NodeState.PREEMPTED),
            Stop("rank 5 ended for a preemption", preemption=NOTICE),
        ]
        assert tell(machine, exited(0, exitcode=1)) == []

    def test_one_that_ended_before_another_failed_is_told_late(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, Announced(NOTICE), exited(0, exitcode=1, timestamp=3.0))

        assert tell(machine, exited(1, exitcode=75, timestamp=2.9)) == [
            Report(NodeState.PREEMPTED)
        ]

    def test_one_that_ends_while_workers_stop_for_a_change_is_told(
        self, machine: Machine
    ) -> None:
        """The node that told of it has left, and this one's workers end for it."""
        tell(machine, *RUNNING, Announced(NOTICE), SUPERSEDED)

        assert tell(machine, exited(0, exitcode=75)) == [Report(NodeState.PREEMPTED)]

    def test_the_workers_of_a_node_that_leaves_end_no_job(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, TAKEN_AWAY)

        assert tell(machine, exited(0, exitcode=75)) == []

    def test_where_a_node_is_alone_it_wins_when_the_job_is_over(
        self, machine: Machine
    ) -> None:
        failed = exited(0, exitcode=1, timestamp=1.0)
        tell(machine, *ALONE, Announced(NOTICE), failed, closed(FAILED))
        tell(machine, exited(1, exitcode=75, timestamp=0.9), Stopped())

        assert isinstance(error_of(machine, Left()), Preempted)

    def test_one_that_ended_after_another_failed_changes_nothing(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, Announced(NOTICE), exited(0, exitcode=1, timestamp=3.0))

        assert tell(machine, exited(1, exitcode=75, timestamp=3.1)) == []

    def test_a_worker_that_succeeds_after_a_notice_has_succeeded(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, Announced(NOTICE), exited(0))

        assert tell(machine, exited(1)) == [Report(NodeState.DONE)]

    @pytest.mark.parametrize(
        ("state", "kind"),
        [
            (OutcomeState.PREEMPTED, Preempted),
            (OutcomeState.LOST_QUORUM, QuorumLost),
            (OutcomeState.FAILED, RendezvousClosed),
        ],
    )
    def test_a_job_that_ends_so_ends_all_agents_so(
        self, machine: Machine, state: OutcomeState, kind: type[Exception]
    ) -> None:
        over = JoinFailed(RendezvousClosed("over"), Outcome(state=state, reason="why"))
        (finish,) = tell(machine, Begin(), over, Left())

        assert isinstance(finish, Finish)
        assert type(finish.result.error) is kind
        assert str(finish.result.error) == "the job was ended: why"


def asked(request: Request, local_rank: int = 1, reason: str = "why") -> Asked:
    """Return what a worker of this node asks for."""
    return Asked(
        request=request, local_rank=local_rank, pid=7, timestamp=1.5, reason=reason
    )


HOPELESS = asked(Request.NO_RESTART)
UNFIT = asked(Request.EXCLUDE_NODE)
STOPPED_FOR_ANOTHER = Changed(FAILED_ELSEWHERE)


def reported(actions: list[Action]) -> list[ProcessFailure]:
    """Return the failures that the first of some actions reports."""
    report = actions[0]
    assert isinstance(report, Report)
    assert report.state is NodeState.FAILED
    return list(report.failures)


class TestRequests:
    def test_no_restart_alone_changes_nothing(self, machine: Machine) -> None:
        assert tell(machine, *RUNNING, HOPELESS) == []
        assert machine.state is State.RUNNING

    @pytest.mark.parametrize(
        ("rank", "who"), [(1, "it asked"), (0, "local rank 1 asked")]
    )
    def test_the_next_failure_of_the_node_carries_it(
        self, machine: Machine, rank: int, who: str
    ) -> None:
        (failure,) = reported(
            tell(machine, *RUNNING, HOPELESS, exited(rank, exitcode=3))
        )

        assert failure.request is Request.NO_RESTART
        assert failure.context == f"{who} for no restart: why"

    def test_what_is_known_of_a_failure_stays(self, machine: Machine) -> None:
        ended = attrs.evolve(exited(1, exitcode=3).exit, remark="limit reached")
        (failure,) = reported(tell(machine, *RUNNING, HOPELESS, Exited(ended)))

        assert failure.context == "it asked for no restart: why"
        assert failure.message == "ended with exit code 3: limit reached"

    def test_so_does_what_a_monitor_finds(self, machine: Machine) -> None:
        finding = Finding(
            local_rank=0,
            severity=Severity.UNHEALTHY,
            reason="silent",
            request=Request.EXCLUDE_NODE,
        )
        (failure,) = reported(tell(machine, *RUNNING, HOPELESS, found(finding)))

        assert failure.request is Request.NO_RESTART

    def test_the_first_one_counts(self, machine: Machine) -> None:
        later = asked(Request.NO_RESTART, local_rank=0, reason="another")
        (failure,) = reported(
            tell(machine, *RUNNING, HOPELESS, later, exited(0, exitcode=3))
        )

        assert failure.context == "local rank 1 asked for no restart: why"

    def test_it_is_about_one_generation(self, machine: Machine) -> None:
        tell(machine, *RUNNING, HOPELESS, SUPERSEDED, Stopped())
        (failure,) = reported(
            tell(machine, Joined(PLACE), Started({0: 1, 1: 2}), exited(1, exitcode=3))
        )

        assert failure.request is None
        assert failure.context == ""

    def test_a_node_that_is_to_be_left_out_has_failed(self, machine: Machine) -> None:
        actions = tell(machine, *RUNNING, UNFIT)
        (failure,) = reported(actions)

        assert failure == ProcessFailure(
            rank=5,
            local_rank=1,
            role="r",
            host="h",
            pid=7,
            exitcode=0,
            timestamp=1.5,
            ending=Ending.UNHEALTHY,
            message="asked to exclude its node: why",
            request=Request.EXCLUDE_NODE,
        )
        assert isinstance(actions[1], Stop)
        assert actions[1].failed

    def test_a_reason_is_no_must(self, machine: Machine) -> None:
        (failure,) = reported(
            tell(machine, *RUNNING, asked(Request.EXCLUDE_NODE, reason=""))
        )

        assert failure.message == "asked to exclude its node"

    @pytest.mark.parametrize("stimulus", [exited(0, exitcode=3), STOPPED_FOR_ANOTHER])
    def test_it_can_say_so_while_workers_stop_for_a_failure(
        self, machine: Machine, stimulus: Stimulus
    ) -> None:
        """Others may fail of it first, and are heard first."""
        tell(machine, *RUNNING, stimulus)

        assert reported(tell(machine, UNFIT))[-1].request is Request.EXCLUDE_NODE

    @pytest.mark.parametrize(
        "stimulus", [SUPERSEDED, LOST, Signalled(15), closed(FAILED)]
    )
    def test_it_comes_too_late_while_they_stop_for_something_else(
        self, machine: Machine, stimulus: Stimulus
    ) -> None:
        tell(machine, *RUNNING, stimulus)

        assert tell(machine, UNFIT) == []

    def test_who_knows_that_no_restart_can_help_is_heard_when_others_failed_first(
        self, machine: Machine
    ) -> None:
        tell(machine, *RUNNING, STOPPED_FOR_ANOTHER, HOPELESS)
        assert tell(machine, exited(0, exitcode=-15)) == []
        (failure,) = reported(tell(machine, exited(1, exitcode=3)))

        assert (failure.rank, failure.request) == (5, Request.NO_RESTART)

    def test_what_the_job_knows_is_not_told_again(self, machine: Machine) -> None:
        tell(machine, *RUNNING, HOPELESS, exited(0, exitcode=3))

        assert tell(machine, exited(1, exitcode=-15, timestamp=2.1)) == []

    @pytest.mark.parametrize("stimulus", [HOPELESS, UNFIT])
    def test_whoever_is_left_of_a_worker_asks_for_nothing(
        self, machine: Machine, stimulus: Stimulus
    ) -> None:
        assert tell(machine, *RUNNING, exited(0), exited(1), stimulus) == []
        assert machine.state is State.WAITING


class TestTable:
    def test_an_illegal_stimulus_tells_the_story_and_changes_nothing(
        self, machine: Machine
    ) -> None:
        tell(machine, Begin())

        with pytest.raises(InvalidTransition) as caught:
            machine.handle(Stopped())

        assert machine.state is State.JOINING
        assert caught.value.story == ("new + Begin -> joining: Join",)
        assert "state 'joining' does not allow Stopped(left=())" in str(caught.value)

    def test_every_method_of_the_table_exists(self, machine: Machine) -> None:
        tell(machine, Begin())

        assert all(hasattr(machine, method) for method in TRANSITIONS.values())

    def test_nothing_is_both_late_and_a_transition(self, machine: Machine) -> None:
        tell(machine, Begin())

        assert LATE.isdisjoint(TRANSITIONS)
