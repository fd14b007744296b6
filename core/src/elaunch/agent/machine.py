"""The agent's state machine. Pure: stimuli in, actions out; no I/O, clock or logging.

Laws:

1. Workers run only in STARTING, RUNNING and STOPPING, and there is one way out of
   these states with workers: STOPPING, by one schedule, whatever the reason.
2. A generation is joined only when no worker of an earlier one is alive. An agent whose
   workers can't be killed leaves, and does not call that a success.
3. A failure or a departure is told before the workers are stopped, so that the nodes
   of the job stop theirs at the same time.
4. Only the coordinator ends the job. An agent that fails by itself, or is told to stop,
   leaves: the others go on as the job's settings allow.
5. The first signal stops the workers, a second kills them.

`TRANSITIONS` names the method for each stimulus that a state allows. A stimulus that a
state can receive only because it was under way when the state was entered is listed
under `LATE` and changes nothing. Anything else raises `InvalidTransition` with the
story.
"""

import enum
from collections.abc import Mapping, Sequence

import attrs

from elaunch.agent.messages import (
    Action,
    Begin,
    Changed,
    Exited,
    Finish,
    Found,
    Join,
    Joined,
    JoinFailed,
    Kill,
    Leave,
    Left,
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
)
from elaunch.errors import (
    ChildFailedError,
    InvalidTransition,
    RendezvousClosed,
    SignalException,
    WorkersLeft,
)
from elaunch.failures import Ending, ProcessFailure, root_cause, signal_name
from elaunch.monitor import Severity
from elaunch.rendezvous import (
    ChangeKind,
    Membership,
    NodeState,
    Outcome,
    OutcomeState,
)
from elaunch.workers import WorkerExit, failure_of, tells_error


class State(enum.StrEnum):
    """Where the agent stands."""

    NEW = "new"
    JOINING = "joining"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"
    LEAVING = "leaving"
    FINISHED = "finished"


@attrs.define(eq=False, kw_only=True)
class Machine:
    """The state of one agent. Nobody sets an attribute from outside: use `handle`.

    Attributes:
        name: What is launched, for reports.
        role: Role of this node.
        host: Host name of this node.
        local_world_size: Workers of this node.
    """

    name: str
    role: str
    host: str
    local_world_size: int
    state: State = attrs.field(default=State.NEW, init=False)
    story: list[str] = attrs.field(factory=list, init=False)
    _exits: dict[int, WorkerExit] = attrs.field(factory=dict, init=False)
    _membership: Membership | None = attrs.field(default=None, init=False)
    _ending: Result | None = attrs.field(default=None, init=False)
    _reason: str = attrs.field(default="", init=False)

    def handle(self, stimulus: Stimulus) -> Sequence[Action]:
        """Take a stimulus and return what to do.

        Raises:
            InvalidTransition: If the state does not allow it; nothing has changed.
        """
        kind = type(stimulus)
        if (self.state, kind) in LATE:
            return ()
        method = TRANSITIONS.get((self.state, kind))
        if method is None:
            raise InvalidTransition(self.state.value, stimulus, tuple(self.story))
        before = self.state
        actions: Sequence[Action] = getattr(self, method)(stimulus)
        told = ", ".join(type(action).__name__ for action in actions) or "nothing"
        self.story.append(f"{before} + {kind.__name__} -> {self.state}: {told}")
        del self.story[:-STORY]
        return actions

    # Each method below is named in TRANSITIONS.

    def _join(self, _: Begin | Stopped) -> Sequence[Action]:
        self.state = State.JOINING
        return (Join(),)

    def _start(self, stimulus: Joined) -> Sequence[Action]:
        self.state = State.STARTING
        self._membership = stimulus.membership
        self._exits = {}
        return (Start(stimulus.membership),)

    def _not_joined(self, stimulus: JoinFailed) -> Sequence[Action]:
        if isinstance(stimulus.error, RendezvousClosed) and stimulus.outcome:
            return self._end_with(stimulus.outcome)
        return self._leave(Result(error=stimulus.error), str(stimulus.error))

    def _run(self, _: Started) -> Sequence[Action]:
        self.state = State.RUNNING
        return (Report(NodeState.RUNNING),)

    def _not_started(self, stimulus: StartFailed) -> Sequence[Action]:
        return self._leave(Result(error=stimulus.error), str(stimulus.error))

    def _exited(self, stimulus: Exited) -> Sequence[Action]:
        ended = stimulus.exit
        self._exits[ended.ranks.local_rank] = ended
        if ended.failed:
            failure = failure_of(ended, role=self.role, host=self.host)
            return self._fail(failure)
        if len(self._exits) < self.local_world_size:
            return ()
        self.state = State.WAITING
        return (Report(NodeState.DONE),)

    def _found(self, stimulus: Found) -> Sequence[Action]:
        finding = stimulus.finding
        if finding.severity is not Severity.UNHEALTHY:
            return ()
        base = self._membership.base_rank if self._membership else 0
        failure = ProcessFailure(
            rank=base + finding.local_rank,
            local_rank=finding.local_rank,
            role=self.role,
            host=self.host,
            pid=stimulus.pid,
            exitcode=UNHEALTHY_EXIT,
            timestamp=stimulus.timestamp,
            ending=Ending.UNHEALTHY,
            message=f"unhealthy: {finding.reason}",
        )
        return self._fail(failure)

    def _fail(self, failure: ProcessFailure) -> Sequence[Action]:
        self.state = State.STOPPING
        reason = f"rank {failure.rank} failed: {failure.message}"
        return (Report(NodeState.FAILED, (failure,)), Stop(reason, failed=True))

    def _stop_for_change(self, stimulus: Changed) -> Sequence[Action]:
        change = stimulus.change
        self.state = State.STOPPING
        if change.kind is ChangeKind.CLOSED and change.outcome:
            self._ending, self._reason = self._result(change.outcome), change.reason
        failed = change.failed or bool(change.outcome and change.outcome.failures)
        return (Stop(change.reason, change.grace, failed=failed),)

    def _note_change(self, stimulus: Changed) -> Sequence[Action]:
        """While the workers stop: the end of the job, or of the time to stop them."""
        change = stimulus.change
        if change.kind is ChangeKind.LOST:
            return (Kill(),)
        if change.kind is ChangeKind.CLOSED and change.outcome and not self._ending:
            self._ending, self._reason = self._result(change.outcome), change.reason
        return ()

    def _change_when_done(self, stimulus: Changed) -> Sequence[Action]:
        change = stimulus.change
        if change.kind is ChangeKind.CLOSED and change.outcome:
            return self._end_with(change.outcome)
        self.state = State.JOINING
        return (Join(),)

    def _stopped(self, stimulus: Stopped) -> Sequence[Action]:
        failed = self._ending and self._ending.error
        if stimulus.left and not failed:
            error = WorkersLeft(self.host, stimulus.left)
            return self._leave(Result(error=error), str(error))
        if self._ending:
            return self._leave(self._ending, self._reason)
        return self._join(stimulus)

    def _noted_exit(self, stimulus: Exited) -> Sequence[Action]:
        self._exits[stimulus.exit.ranks.local_rank] = stimulus.exit
        return ()

    def _leave_for_signal(self, stimulus: Signalled) -> Sequence[Action]:
        error = SignalException(stimulus.signum)
        return self._leave(Result(error=error), signal_name(stimulus.signum))

    def _stop_for_signal(self, stimulus: Signalled) -> Sequence[Action]:
        self.state = State.STOPPING
        self._reason = signal_name(stimulus.signum)
        self._ending = Result(error=SignalException(stimulus.signum))
        return (Retire(self._reason), Stop(self._reason))

    def _signal_while_stopping(self, stimulus: Signalled) -> Sequence[Action]:
        again = self._ending and isinstance(self._ending.error, SignalException)
        self._reason = signal_name(stimulus.signum)
        self._ending = Result(error=SignalException(stimulus.signum))
        return (Kill(),) if again else ()

    def _hurry(self, stimulus: Signalled) -> Sequence[Action]:
        """The goodbye takes too long for somebody: go without it."""
        ending = self._ending or Result()
        if ending.error is None:
            ending = Result(error=SignalException(stimulus.signum))
        self.state = State.FINISHED
        return (Finish(ending),)

    def _finish(self, _: Left) -> Sequence[Action]:
        self.state = State.FINISHED
        return (Finish(self._ending or Result()),)

    def _end_with(self, outcome: Outcome) -> Sequence[Action]:
        return self._leave(self._result(outcome), outcome.reason)

    def _leave(self, ending: Result, reason: str) -> Sequence[Action]:
        self.state = State.LEAVING
        self._ending = ending
        return (Leave(reason),)

    def _result(self, outcome: Outcome) -> Result:
        if outcome.state is OutcomeState.SUCCEEDED:
            values = {e.ranks.rank: e.value for e in self._exits.values()}
            return Result(values=dict(sorted(values.items())))
        if not outcome.failures:
            return Result(
                error=RendezvousClosed(f"the job was ended: {outcome.reason}")
            )
        failures = {failure.rank: failure for failure in reversed(outcome.failures)}
        first = root_cause(outcome.failures)
        for failure in self._further_failures():
            # The job's root cause, and with it the exit code, is the same everywhere.
            if failure.timestamp >= first.timestamp:
                failures.setdefault(failure.rank, failure)
        return Result(error=ChildFailedError(self.name, failures))

    def _further_failures(self) -> list[ProcessFailure]:
        """Return the failures of this node's workers that wrote of an error.

        Others that ended after the first one did so because they were stopped.
        """
        return [
            failure_of(ended, role=self.role, host=self.host)
            for ended in self._exits.values()
            if ended.failed and ended.exitcode > 0 and tells_error(ended)
        ]


STORY = 50
"""How many transitions a story keeps."""

UNHEALTHY_EXIT = 1
"""Exit code reported for a worker that was alive but unhealthy."""

TRANSITIONS: Mapping[tuple[State, type], str] = {
    (State.NEW, Begin): "_join",
    (State.NEW, Signalled): "_leave_for_signal",
    (State.JOINING, Joined): "_start",
    (State.JOINING, JoinFailed): "_not_joined",
    (State.JOINING, Signalled): "_leave_for_signal",
    (State.STARTING, Started): "_run",
    (State.STARTING, StartFailed): "_not_started",
    (State.STARTING, Changed): "_stop_for_change",
    (State.STARTING, Signalled): "_stop_for_signal",
    (State.RUNNING, Exited): "_exited",
    (State.RUNNING, Found): "_found",
    (State.RUNNING, Changed): "_stop_for_change",
    (State.RUNNING, Signalled): "_stop_for_signal",
    (State.STOPPING, Exited): "_noted_exit",
    (State.STOPPING, Changed): "_note_change",
    (State.STOPPING, Signalled): "_signal_while_stopping",
    (State.STOPPING, Stopped): "_stopped",
    (State.WAITING, Changed): "_change_when_done",
    (State.WAITING, Signalled): "_leave_for_signal",
    (State.LEAVING, Signalled): "_hurry",
    (State.LEAVING, Left): "_finish",
}

LATE: frozenset[tuple[State, type]] = frozenset(
    {
        # A membership that was left behind can still have had news.
        (State.JOINING, Changed),
        (State.LEAVING, Changed),
        # A join that was given up can still have ended first.
        (State.LEAVING, Joined),
        (State.LEAVING, JoinFailed),
        # A start that a stop overtook can still have ended first.
        (State.STOPPING, Started),
        (State.STOPPING, StartFailed),
        # A monitor speaks when it likes.
        (State.STOPPING, Found),
        (State.WAITING, Found),
        (State.JOINING, Found),
        (State.LEAVING, Found),
        # Whoever is finished hears nothing.
        *(
            (State.FINISHED, kind)
            for kind in (Changed, Signalled, Found, Exited, Left, Joined, JoinFailed)
        ),
    }
)
