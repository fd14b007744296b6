"""What follows from failures: the policy is asked, and the job is charged. Pure.

The policy is asked for each generation that failed, and not for what fails because a
member is gone. It is asked again when a worker turns out to have asked for something.
"""

from collections.abc import Sequence

from elaunch.failures import ProcessFailure, root_cause
from elaunch.membership.reasons import departure, names
from elaunch.membership.steps import (
    ASKING,
    Charge,
    Close,
    Form,
    Refund,
    Step,
    Suspicion,
    Wait,
)
from elaunch.membership.view import View
from elaunch.policy import (
    Decision,
    FailureReport,
    PastFailure,
    RestartPolicy,
    Verdict,
    ask,
    telling,
)
from elaunch.rendezvous import Outcome, OutcomeState


def plan_failed(
    view: View, policy: RestartPolicy, suspicion: Suspicion, now: float
) -> Step:
    """Restart or end the job; before its end, find out whether a member is lost."""
    step = _after_failure(view, policy, Form)
    if isinstance(step, Close):
        known_by = _loss_known_by(view, suspicion, now)
        if known_by is not None and suspicion.asks:
            what = _what(root_cause(view.failures()))
            return Form(f"{what}; {ASKING}", view.job.restarts)
        if known_by is not None:
            return Wait(known_by)
    return step


def count_failure(
    view: View, policy: RestartPolicy, suspicion: Suspicion, now: float
) -> Step | None:
    """Count a failure that met a change, or take back one that a loss explains.

    One is taken back, too, to be decided on anew, if a worker asked for something when
    that was decided: it knows best, and may be heard a moment after others have failed.
    """
    job, causes = view.job, view.causes()
    counted = job.failed == job.members_of
    if counted and causes and view.charged:
        return Refund(f"{departure(view, causes)}, and others failed", job.restarts - 1)
    if counted and not causes and (late := _heard_late(view)):
        return Refund(f"{late}, when something else was decided", job.restarts - 1)
    if counted or causes or not view.failures():
        return None
    step = _after_failure(view, policy, Charge)
    # Those that are not asked have been waited for while they were running.
    if isinstance(step, Close) and suspicion.asks:
        known_by = _loss_known_by(view, suspicion, now)
        return step if known_by is None else Wait(known_by)
    return step


def _heard_late(view: View) -> str:
    """Return who has asked for something since the last failure was decided on."""
    last = view.history[-1].report if view.history else None
    if last is None or last.generation != view.job.members_of:
        return ""
    known = {(failure.node, failure.request) for failure in last.failures}
    for failure in telling(view.failures()):
        if failure.request and (failure.node, failure.request) not in known:
            return f"{failure.who} on {failure.host!r} asked for {failure.request!s}"
    return ""


def delay_of(past: PastFailure | None) -> float:
    """Return the seconds that a job waits after a failure before it goes on."""
    return past.decision.delay if past else 0.0


def _loss_known_by(view: View, suspicion: Suspicion, now: float) -> float | None:
    """Return when to end a job, while a member could be lost and nobody knows."""
    if not view.suspects():
        return None
    since = now if view.failing_since is None else view.failing_since
    known_by = since + suspicion.known_within
    return known_by if now < known_by else None


def _after_failure(
    view: View, policy: RestartPolicy, restart: type[Form | Charge]
) -> Step:
    job, failures = view.job, view.failures()
    report = FailureReport(
        generation=job.members_of,
        restarts=job.restarts,
        failures=failures,
        time=view.time,
        progress=view.progress,
        findings=view.findings,
        group_size=len(view.members),
        min_nodes=job.settings.min_nodes,
        spares=len(view.newcomers()),
    )
    decision = ask(policy, report, view.history)
    past = PastFailure(report, decision)
    reason = f"{_what(root_cause(failures))} ({_told(past)})"
    match decision.verdict:
        case Verdict.RESTART | Verdict.EXCLUDE:
            return restart(reason, job.restarts + 1, past)
        case Verdict.FAIL:
            return _end(OutcomeState.FAILED, reason, failures, past)
        case Verdict.HAND_BACK:
            return _end(OutcomeState.HANDED_BACK, reason, failures, past)


def _end(
    state: OutcomeState,
    reason: str,
    failures: Sequence[ProcessFailure],
    past: PastFailure,
) -> Close:
    told = telling(failures)
    return Close(Outcome(state=state, reason=reason, failures=told), past)


def _what(first: ProcessFailure) -> str:
    return f"{first.who} on {first.host!r} failed: {first.message}"


def _told(past: PastFailure) -> str:
    """Return what was decided, in the policy's words and with what follows."""
    decision = past.decision
    parts = [decision.reason]
    if decision.verdict is Verdict.EXCLUDE and decision.exclude:
        without = f"without {names(decision.exclude)} {_for(decision)}"
        if without not in decision.reason:
            parts.append(without)
    delay = delay_of(past)
    if delay and decision.verdict in {Verdict.RESTART, Verdict.EXCLUDE}:
        parts.append(f"not before {delay:g} s are over")
    return "; ".join(parts)


def _for(decision: Decision) -> str:
    cool_down = decision.cool_down
    return "for good" if cool_down is None else f"for {cool_down:g} s"
