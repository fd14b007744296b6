"""How an agent ends: from the signal or the outcome that ends it to its result."""

from collections.abc import Collection, Mapping

from elaunch.agent.messages import Result, Signalled
from elaunch.errors import (
    ChildFailedError,
    Preempted,
    QuorumLost,
    RendezvousClosed,
    SignalException,
)
from elaunch.failures import root_cause, signal_name
from elaunch.rendezvous import Outcome, OutcomeState
from elaunch.workers import WorkerExit, failure_of, tells_error


_KINDS: Mapping[OutcomeState, type[Preempted | RendezvousClosed]] = {
    OutcomeState.PREEMPTED: Preempted,
    OutcomeState.LOST_QUORUM: QuorumLost,
}
"""With which error a job ends that has no failure."""


def of_signal(stimulus: Signalled) -> Result:
    """Return how an agent ends that was told to stop."""
    if stimulus.notice:
        return Result(error=Preempted(f"stopped by {signal_name(stimulus.signum)}"))
    return Result(error=SignalException(stimulus.signum))


def of_job(
    name: str,
    outcome: Outcome,
    exits: Collection[WorkerExit],
    *,
    role: str,
    host: str,
) -> Result:
    """Return how an agent ends whose job is over.

    Args:
        name: What was launched.
        outcome: How the job ended.
        exits: How this node's workers ended.
        role: Role of this node.
        host: Its host name.
    """
    if outcome.state is OutcomeState.SUCCEEDED:
        values = {ended.ranks.rank: ended.value for ended in exits}
        return Result(values=dict(sorted(values.items())))
    if not outcome.failures:
        kind = _KINDS.get(outcome.state, RendezvousClosed)
        return Result(error=kind(f"the job was ended: {outcome.reason}"))
    failures = {failure.rank: failure for failure in reversed(outcome.failures)}
    first = root_cause(outcome.failures)
    for ended in filter(_failed_by_itself, exits):
        failure = failure_of(ended, role=role, host=host)
        # The job's root cause, and with it the exit code, is the same everywhere.
        if failure.timestamp >= first.timestamp:
            failures.setdefault(failure.rank, failure)
    return Result(error=ChildFailedError(name, failures))


def _failed_by_itself(ended: WorkerExit) -> bool:
    """Whether a worker wrote of an error; others ended because they were stopped."""
    return ended.failed and ended.exitcode > 0 and tells_error(ended)
