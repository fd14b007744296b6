"""What a step makes of the job's record. Pure: coordinator and tests do the same."""

import attrs

from elaunch.membership.charging import delay_of
from elaunch.membership.exclusions import exclusions, joined
from elaunch.membership.records import JobPhase, JobRecord
from elaunch.membership.steps import Charge, Close, Form, Refund
from elaunch.policy import PastFailure


def after(
    job: JobRecord, step: Form | Charge | Refund | Close, time: float
) -> JobRecord:
    """Return the record of a job after a step.

    Args:
        job: The record before.
        step: What is done.
        time: The time in Unix seconds.
    """
    match step:
        case Form(reason, restarts, past):
            return _decided(
                attrs.evolve(
                    job,
                    phase=JobPhase.FORMING,
                    generation=job.generation + 1,
                    restarts=restarts,
                    failed=job.generation if past else job.failed,
                    reason=reason,
                    size=0,
                ),
                past,
                time,
            )
        case Charge(reason, restarts, past):
            return _decided(
                attrs.evolve(
                    job, restarts=restarts, failed=job.members_of, reason=reason
                ),
                past,
                time,
            )
        case Refund(reason, restarts):
            still = (e for e in job.excluded if e.generation != job.members_of)
            return attrs.evolve(
                job,
                restarts=restarts,
                failed=0,
                reason=reason,
                delay=0.0,
                excluded=tuple(still),
            )
        case Close(outcome):
            return attrs.evolve(
                job, phase=JobPhase.CLOSED, reason=outcome.reason, outcome=outcome
            )


def _decided(job: JobRecord, past: PastFailure | None, time: float) -> JobRecord:
    """Return a record with what a decision asks for beside another generation."""
    more = exclusions(past, time) if past else ()
    excluded = joined(job.excluded, more, time)
    return attrs.evolve(job, delay=delay_of(past), excluded=excluded)
