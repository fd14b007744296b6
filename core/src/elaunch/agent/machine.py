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
5. A drain, or the first signal, stops the workers; a second signal kills them.
6. A notice stops nobody. It is about the generation in which it was made; one that
   comes while this node is a member of none is about the next one.

`TRANSITIONS` names the method for each stimulus that a state allows. A stimulus that a
state can receive only because it was under way when the state was entered is listed
under `LATE` and changes nothing. Anything else raises `InvalidTransition` with the
story.
"""

import math
from collections.abc import Sequence

import attrs

from elaunch.agent.endings import Ends, of_job, of_order, of_success
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
from elaunch.agent.unhealthy import Node, attached
from elaunch.errors import (
    PREEMPTED_EXIT,
    InvalidTransition,
    RendezvousClosed,
    WorkersLeft,
)
from elaunch.failures import ProcessFailure, Request, root_cause
from elaunch.monitor import Severity
from elaunch.notice import Notice
from elaunch.rendezvous import ChangeKind, Membership, NodeState, Outcome
from elaunch.workers import WorkerExit, by_its_error, failure_of


@attrs.define(eq=False, repr=False, kw_only=True)
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
    _outcome: Outcome | None = attrs.field(default=None, init=False)
    _failures: tuple[ProcessFailure, ...] = attrs.field(default=(), init=False)
    _no_restart: Asked | None = attrs.field(default=None, init=False)
    _stops_for_failure: bool = attrs.field(default=False, init=False)
    _signalled: bool = attrs.field(default=False, init=False)
    _retired: bool = attrs.field(default=False, init=False)
    _unannounced: Notice | None = attrs.field(default=None, init=False)
    _untold: Notice | None = attrs.field(default=None, init=False)
    _told: Notice | None = attrs.field(default=None, init=False)
    _preemption: Notice | None = attrs.field(default=None, init=False)

    def is_preempted(self, ended: WorkerExit) -> bool:
        """Whether a worker has ended for a preemption that it was told of."""
        return self._preemption is not None and ended.exitcode == PREEMPTED_EXIT

    @property
    def is_alone(self) -> bool:
        """Whether no other node is a member of its generation."""
        return self._membership is not None and self._membership.group_size == 1

    @property
    def is_needed(self) -> bool:
        """Whether it has no workers, but others may use what it hosts for theirs."""
        host = self._membership is not None and self._membership.group_rank == 0
        return host and not self.is_alone and self.state is State.WAITING

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
        self._untold = self._told = self._preemption = None
        self._failures, self._no_restart = (), None
        notice, self._unannounced = self._unannounced, None
        start = Start(stimulus.membership)
        return (start, *self._announce(Noticed(notice))) if notice else (start,)

    def _not_joined(self, stimulus: JoinFailed) -> Sequence[Action]:
        if isinstance(stimulus.error, RendezvousClosed) and stimulus.outcome:
            return self._end_with(stimulus.outcome)
        return self._leave(Result(error=stimulus.error), str(stimulus.error))

    def _run(self, _: Started) -> Sequence[Action]:
        self.state = State.RUNNING
        notify = self._tell_workers(Announced(self._untold)) if self._untold else ()
        return (Report(NodeState.RUNNING), *notify)

    def _not_started(self, stimulus: StartFailed) -> Sequence[Action]:
        return self._leave(Result(error=stimulus.error), str(stimulus.error))

    def _exited(self, stimulus: Exited) -> Sequence[Action]:
        ended = stimulus.exit
        self._exits[ended.ranks.local_rank] = ended
        if self.is_preempted(ended):
            self.state = State.STOPPING
            reason = f"rank {ended.ranks.rank} ended for a preemption"
            return (Report(NodeState.PREEMPTED), self._stop(reason))
        if ended.failed:
            failure = failure_of(ended, role=self.role, host=self.host)
            return self._fail(failure)
        if len(self._exits) < self.local_world_size:
            return ()
        self.state = State.WAITING
        return (Report(NodeState.DONE),)

    def _found(self, stimulus: Found) -> Sequence[Action]:
        if stimulus.finding.severity is not Severity.UNHEALTHY:
            return ()
        return self._fail(self._node.found(stimulus))

    def _asked(self, stimulus: Asked) -> Sequence[Action]:
        if stimulus.request is Request.EXCLUDE_NODE:
            return self._fail(self._node.asked(stimulus))
        self._no_restart = self._no_restart or stimulus
        return ()

    def _asked_while_stopping(self, stimulus: Asked) -> Sequence[Action]:
        """Hear what the worker that caused a failure elsewhere says a moment later."""
        if stimulus.request is not Request.EXCLUDE_NODE:
            self._no_restart = self._no_restart or stimulus
            return ()
        failure = self._node.asked(stimulus)
        return self._fail_late(failure) if self._blames() else ()

    @property
    def _node(self) -> Node:
        base = self._membership.base_rank if self._membership else 0
        return Node(role=self.role, host=self.host, base_rank=base)

    def _blames(self) -> bool:
        """Whether the workers stop because one of the job has failed."""
        return self._stops_for_failure and not self._retired and not self._outcome

    def _matters(self, ended: WorkerExit) -> bool:
        """Whether a worker that was stopped has asked for what nobody knows yet."""
        asked = self._no_restart
        if asked is None or asked.local_rank != ended.ranks.local_rank:
            return False
        return self._blames() and not any(f.request for f in self._failures)

    def _fail_late(self, failure: ProcessFailure) -> Sequence[Action]:
        failure = attached(failure, self._no_restart)
        self._failures = (*self._failures, failure)
        return (Report(NodeState.FAILED, self._failures),)

    def _fail(self, failure: ProcessFailure) -> Sequence[Action]:
        failure = attached(failure, self._no_restart)
        self.state, self._failures = State.STOPPING, (failure,)
        reason = f"{failure.who} failed: {failure.message}"
        stop = self._stop(reason, failed=True)
        return (Report(NodeState.FAILED, (failure,)), stop)

    def _stop(
        self, reason: str, grace: float = math.inf, *, failed: bool = False
    ) -> Stop:
        self._stops_for_failure = failed
        return Stop(reason, grace, failed=failed, preemption=self._preemption)

    def _stop_for_change(self, stimulus: Changed) -> Sequence[Action]:
        change = stimulus.change
        self.state = State.STOPPING
        if change.kind is ChangeKind.CLOSED and change.outcome:
            self._outcome = change.outcome
        failed = change.failed or bool(change.outcome and change.outcome.failures)
        return (self._stop(change.reason, change.grace, failed=failed),)

    def _note_change(self, stimulus: Changed) -> Sequence[Action]:
        """While the workers stop: the end of the job, or of the time to stop them."""
        change = stimulus.change
        if change.kind is ChangeKind.LOST:
            return (Kill(),)
        outcome = change.outcome if change.kind is ChangeKind.CLOSED else None
        # A signal that came after a failure has not ended the job.
        if outcome and not self._retired and (outcome.failures or not self._signalled):
            self._outcome = outcome
        return ()

    def _change_when_done(self, stimulus: Changed) -> Sequence[Action]:
        change = stimulus.change
        if change.kind is ChangeKind.CLOSED and change.outcome:
            return self._end_with(change.outcome)
        self.state = State.JOINING
        return (Join(),)

    def _leave_early(self, _: Waited) -> Sequence[Action]:
        result = of_success(self._exits.values(), early=True)
        return self._leave(result, "its workers have succeeded, and it waits no longer")

    def _stopped(self, stimulus: Stopped) -> Sequence[Action]:
        if self._outcome:  # the ends of all workers are known only now
            self._ending = self._result(self._outcome)
            self._reason = self._outcome.reason
        failed = self._ending and self._ending.failed
        if stimulus.left and not failed:
            error = WorkersLeft(self.host, stimulus.left)
            return self._leave(Result(error=error), str(error))
        if self._ending:
            return self._leave(self._ending, self._reason)
        return self._join(stimulus)

    def _noted_exit(self, stimulus: Exited) -> Sequence[Action]:
        first = root_cause(self._failures).timestamp if self._failures else -math.inf
        ended = stimulus.exit
        if ended.timestamp < first:  # the signal that stops it met it while it ended
            ended = by_its_error(ended)
        self._exits[ended.ranks.local_rank] = ended
        if not self._failures and not self._retired and self.is_preempted(ended):
            return (Report(NodeState.PREEMPTED),)
        if not ended.failed or (ended.timestamp > first and not self._matters(ended)):
            return ()
        # It ended before the other failed, and was only told later; or what it asked
        # for is news to the job.
        if self.is_preempted(ended):
            self._failures = ()
            return (Report(NodeState.PREEMPTED),)
        return self._fail_late(failure_of(ended, role=self.role, host=self.host))

    def _keep_notice(self, stimulus: Noticed) -> Sequence[Action]:
        """Nobody is there to be told; the next workers are."""
        self._unannounced = stimulus.notice
        return ()

    def _announce(self, stimulus: Noticed) -> Sequence[Action]:
        # It is in effect at once: whoever told this agent may have told the workers.
        self._preemption = stimulus.notice
        return (Announce(stimulus.notice),)

    def _tell_when_started(self, stimulus: Announced) -> Sequence[Action]:
        self._untold = self._preemption = stimulus.notice
        return ()

    def _tell_workers(self, stimulus: Announced) -> Sequence[Action]:
        notice = stimulus.notice
        if self._told and self._told.is_about(notice):
            return ()
        self._told = self._preemption = notice
        return (Notify(notice),)

    def _leave_for_order(self, stimulus: Signalled | Drained) -> Sequence[Action]:
        return self._leave(of_order(stimulus), stimulus.reason)

    def _leave_when_done(self, stimulus: Signalled) -> Sequence[Action]:
        leave = self._leave_for_order(stimulus)
        return (Announce(stimulus.notice), *leave) if stimulus.notice else leave

    def _drain_when_done(self, stimulus: Drained) -> Sequence[Action]:
        return () if self.is_needed else self._leave_for_order(stimulus)

    def _stop_for_order(self, stimulus: Signalled | Drained) -> Sequence[Action]:
        self.state, self._retired = State.STOPPING, True
        self._note_order(stimulus)
        notice = stimulus.notice if isinstance(stimulus, Signalled) else None
        self._preemption = self._preemption or notice
        announce = (Announce(notice),) if notice else ()
        return (*announce, Retire(self._reason), self._stop(self._reason))

    def _signal_while_stopping(self, stimulus: Signalled) -> Sequence[Action]:
        again = self._signalled
        self._note_order(stimulus)
        return (Kill(),) if again else ()

    def _note_order(self, stimulus: Signalled | Drained) -> Sequence[Action]:
        signal = isinstance(stimulus, Signalled)
        if signal or not self._signalled:
            # Where the job has an outcome, that takes the place of this.
            self._reason, self._ending = stimulus.reason, of_order(stimulus)
        self._signalled = self._signalled or signal
        return ()

    def _finish(self, _: Left | Signalled) -> Sequence[Action]:
        """Go, also without the goodbye if that takes too long for somebody."""
        self.state = State.FINISHED
        return (Finish(self._ending or Result()),)

    def _end_with(self, outcome: Outcome) -> Sequence[Action]:
        return self._leave(self._result(outcome), outcome.reason)

    def _leave(self, ending: Result, reason: str) -> Sequence[Action]:
        self.state = State.LEAVING
        self._ending = ending
        return (Leave(reason),)

    def _result(self, outcome: Outcome) -> Result:
        ends = Ends(
            exits=self._exits.values(),
            role=self.role,
            host=self.host,
            alone=self.is_alone,
            is_preempted=self.is_preempted,
        )
        return of_job(self.name, outcome, ends)


STORY = 50
"""How many transitions a story keeps."""
