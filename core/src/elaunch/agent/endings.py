"""How an agent ends: from the signal or the outcome that ends it to its result."""

from collections.abc import Callable, Collection, Mapping

import attrs

from elaunch.agent.messages import Drained, Result, Signalled
from elaunch.errors import (
    ChildFailedError,
    HandedBack,
    NodeDrained,
    Preempted,
    QuorumLost,
    RendezvousClosed,
    SignalException,
)
from elaunch.failures import root_cause
from elaunch.rendezvous import Outcome, OutcomeState
from elaunch.workers import WorkerExit, failure_of, tells_error


_KINDS: Mapping[OutcomeState, type[Preempted | RendezvousClosed]] = {
    OutcomeState.PREEMPTED: Preempted,
    OutcomeState.LOST_QUORUM: QuorumLost,
}
"""With which error a job ends that has no failure."""


def of_order(stimulus: Signalled | Drained) -> Result:
    """Return how an agent ends that was told to."""
    if isinstance(stimulus, Drained):
        return Result(error=NodeDrained(stimulus.reason))
    if stimulus.notice:
        return Result(error=Preempted(f"stopped by {stimulus.reason}"))
    return Result(error=SignalException(stimulus.signum))


def of_success(exits: Collection[WorkerExit], *, early: bool = False) -> Result:
    """Return how an agent ends whose workers succeeded, all of them.

    Args:
        exits: Their exits.
        early: Whether the others may not have succeeded yet.
    """
    values = {ended.ranks.rank: ended.value for ended in exits}
    return Result(values=dict(sorted(values.items())), early=early)


@attrs.frozen(kw_only=True)
class Ends:
    """How the workers of a node ended.

    Attributes:
        exits: Their exits.
        role: Role of the node.
        host: Its host name.
        alone: Whether it was the only node of its generation.
        is_preempted: Whether a worker has ended for a preemption that it was told of.
    """

    exits: Collection[WorkerExit]
    role: str
    host: str
    alone: bool
    is_preempted: Callable[[WorkerExit], bool]


def of_job(name: str, outcome: Outcome, ends: Ends) -> Result:
    """Return how an agent ends whose job is over.

    The job's root cause, and with it the exit code, is the same on all nodes: that of
    the outcome. Only on a node that is alone does an end count that came before it and
    was told when the job was over.

    Args:
        name: What was launched.
        outcome: How the job ended.
        ends: How this node's workers ended.
    """
    if outcome.state is OutcomeState.SUCCEEDED:
        return of_success(ends.exits)
    if not outcome.failures:
        kind = _KINDS.get(outcome.state, RendezvousClosed)
        return Result(error=kind(f"the job was ended: {outcome.reason}"))
    first = root_cause(outcome.failures).timestamp
    earlier = [end for end in ends.exits if end.failed and end.timestamp < first]
    missed = sorted(earlier, key=_time) if ends.alone else []
    if missed and ends.is_preempted(missed[0]):
        return Result(error=Preempted("workers have ended for a preemption"))
    others = (end for end in ends.exits if end.timestamp >= first and _erred(end))
    failures = {failure.rank: failure for failure in reversed(outcome.failures)}
    for end in (*missed, *others):
        failure = failure_of(end, role=ends.role, host=ends.host)
        failures.setdefault(failure.rank, failure)
    if outcome.state is OutcomeState.HANDED_BACK:
        return Result(error=HandedBack(name, failures, reason=outcome.reason))
    return Result(error=ChildFailedError(name, failures))


def _erred(ended: WorkerExit) -> bool:
    """Whether a worker wrote of an error; others ended because they were stopped."""
    return ended.failed and ended.exitcode > 0 and tells_error(ended)


def _time(end: WorkerExit) -> float:
    return end.timestamp
