"""The planner: what the coordinator does next. Pure; no clock, no I/O, no randomness.

Laws:

- A generation is sealed only over nodes that are ready: none of their workers of an
  earlier generation runs.
- A death, a departure, a failure or a node that fits makes a new generation form at
  once. Only failures cost restarts, and the policy is asked once for each generation
  that failed; what fails because a member is gone is no failure of its own.
- Workers that ended for a preemption end the job, whatever fails because of it.
- A failure ends the job when no lost member can be its cause: each one has failed, too,
  or has said that it stopped, or its loss would be known by now.
- Enough nodes and a node that fits wait for nobody but members that still stop their
  workers; these have until the stop is overdue, then they are excluded.
- The size of a generation is a multiple of the node unit. Nodes that don't fit are
  spares: they disturb nobody.
- A node whose settings differ from the job's is not a candidate.
- A job ends early only if nobody can come any more who would make up the minimum.
"""

import attrs

from elaunch.failures import ProcessFailure, root_cause
from elaunch.membership.ranks import Candidate, choose, order
from elaunch.membership.reasons import departure, names
from elaunch.membership.records import JobPhase
from elaunch.membership.view import View
from elaunch.policy import MAX_FAILURES, FailureReport, RestartPolicy, Verdict
from elaunch.rendezvous import Outcome, OutcomeState


STOP_MARGIN = 10.0
"""Seconds a stopping node gets beyond its workers' grace before it is excluded."""

RETURN_GRACE = 30.0
"""Seconds that lost nodes have to come back before a minimum counts as impossible."""


@attrs.frozen
class Wait:
    """Do nothing before something changes, or before ``until``.

    Attributes:
        until: When to plan again at the latest.
        quorum: Whether only the last call keeps the generation from being sealed.
    """

    until: float | None = None
    quorum: bool = False


@attrs.frozen
class Form:
    """Begin to form the next generation."""

    reason: str
    restarts: int


@attrs.frozen
class Charge:
    """Count the generation that is forming as a restart: the last one failed, too."""

    reason: str
    restarts: int


@attrs.frozen
class Refund:
    """Take a restart back: what failed did so because a member was lost."""

    reason: str
    restarts: int


@attrs.frozen
class Seal:
    """Seal the forming generation over these nodes, in the order of group ranks.

    Attributes:
        members: The nodes.
        departed: Agents that have been members so far and are gone.
    """

    members: tuple[Candidate, ...]
    departed: int = 0


@attrs.frozen
class Exclude:
    """Count these nodes as dead: they did not stop in time."""

    node_ids: tuple[str, ...]


@attrs.frozen
class Close:
    """End the job."""

    outcome: Outcome


@attrs.frozen
class Suspicion:
    """How a failure that would end a job is told from the loss of a member.

    Attributes:
        known_within: Seconds in which the loss of a member is known.
        asks: Whether that is so long that members are asked: those that live stop
            their workers and are ready for a next generation.
    """

    known_within: float
    asks: bool = False


NO_SUSPICION = Suspicion(0.0)

ASKING = "asking first whether the loss of a node was the cause"
"""End of the reason for which a generation forms while members are asked."""

Decision = Wait | Form | Charge | Refund | Seal | Exclude | Close


def plan(
    view: View,
    policy: RestartPolicy,
    last_call_timeout: float,
    now: float,
    suspicion: Suspicion = NO_SUSPICION,
) -> Decision:
    """Return what to do next.

    Args:
        view: What is known.
        policy: Asked when members report failures.
        last_call_timeout: Seconds the first generation waits beyond the minimum.
        suspicion: How a failure that would end the job is told from the loss of a
            member, which may be its cause and be noticed later.
        now: Time on the clock of ``view.forming_since`` and ``view.quorum_since``.
    """
    match view.job.phase:
        case JobPhase.CLOSED:
            return Wait()
        case _ if view.preempted:
            return _preempted(view)
        case JobPhase.SEALED:
            return _plan_sealed(view, policy, suspicion, now)
        case JobPhase.FORMING:
            return _plan_forming(view, policy, last_call_timeout, now, suspicion)


def _plan_sealed(
    view: View, policy: RestartPolicy, suspicion: Suspicion, now: float
) -> Decision:
    job = view.job
    failures = view.failures()
    if failures and not view.causes():
        return _plan_failed(view, policy, failures, suspicion, now)
    absent = (*view.gone(), *view.idle())
    if absent:
        end = _end_of_hope(view, view.said_goodbye())
        return end or Form(departure(view, absent), job.restarts)
    if len(view.done) == len(view.members):
        return Close(
            Outcome(state=OutcomeState.SUCCEEDED, reason="all workers succeeded")
        )
    asking = view.restarts()
    if asking:
        return Form(departure(view, asking), job.restarts)
    return _plan_joining(view)


def _plan_joining(view: View) -> Decision:
    """Take in the nodes that fit into the sealed generation, if there are any."""
    job = view.job
    # Whoever is done can't take part in a larger world, so nobody joins a finish.
    size = len(view.members)
    if view.done or len(view.nodes) <= size or size >= job.settings.max_nodes:
        return Wait()
    newcomers = view.newcomers()
    room = job.settings.fitting(size + len(newcomers)) - size
    if room <= 0:
        return Wait()
    hosts = [candidate.facts.host for candidate in choose(newcomers, room)]
    return Form(f"{names(hosts)} joined", job.restarts)


def _plan_failed(
    view: View,
    policy: RestartPolicy,
    failures: tuple[ProcessFailure, ...],
    suspicion: Suspicion,
    now: float,
) -> Decision:
    """Restart or end the job; before its end, find out whether a member is lost."""
    decision = _after_failure(view, policy, failures, Form)
    decision = _suspend(view, decision, suspicion, now)
    if isinstance(decision, Wait) and suspicion.asks:
        what = _what(root_cause(failures))
        return Form(f"{what}; {ASKING}", view.job.restarts)
    return decision


def _suspend(
    view: View, decision: Decision, suspicion: Suspicion, now: float
) -> Decision:
    """Put off the end of a job while a member could be lost and nobody knows."""
    if not isinstance(decision, Close) or not view.suspects():
        return decision
    since = now if view.failing_since is None else view.failing_since
    known_by = since + suspicion.known_within
    return decision if now >= known_by else Wait(known_by)


def _after_failure(
    view: View,
    policy: RestartPolicy,
    failures: tuple[ProcessFailure, ...],
    restart: type[Form | Charge],
) -> Decision:
    job = view.job
    first = root_cause(failures)
    what = _what(first)
    decision = policy.on_failure(
        FailureReport(
            generation=job.generation, restarts=job.restarts, failures=failures
        ),
        (),
    )
    if decision.verdict is Verdict.RESTART:
        return restart(f"{what} ({decision.reason})", job.restarts + 1)
    kept = tuple(sorted(failures, key=lambda f: f.timestamp)[:MAX_FAILURES])
    return Close(
        Outcome(
            state=OutcomeState.FAILED,
            reason=f"{what} ({decision.reason})",
            failures=kept,
        )
    )


def _preempted(view: View) -> Close:
    """End the job: the workers of a node have saved, and ended for a preemption."""
    ended = sorted(view.preempted, key=view.members.__getitem__)
    hosts = [view.hosts[member] for member in ended]
    return Close(
        Outcome(
            state=OutcomeState.PREEMPTED,
            reason=f"workers of {names(hosts)} ended for a preemption",
        )
    )


def _what(first: ProcessFailure) -> str:
    return f"{first.who} on {first.host!r} failed: {first.message}"


def _plan_forming(
    view: View,
    policy: RestartPolicy,
    last_call_timeout: float,
    now: float,
    suspicion: Suspicion,
) -> Decision:
    settings = view.job.settings
    counted = _count_failure(view, policy, suspicion, now)
    if counted:
        return counted
    stopping = view.stopping()
    if stopping:
        overdue = view.forming_since + settings.shutdown_timeout + STOP_MARGIN
        return Exclude(tuple(stopping)) if now >= overdue else Wait(overdue)
    if len(view.nodes) < settings.min_nodes:
        return _without_quorum(view, now)
    candidates = view.candidates()
    size = settings.fitting(len(candidates))
    if not size:
        return _without_quorum(view, now)
    first_generation = not view.members
    if first_generation and size < settings.fitting(settings.max_nodes):
        last_call = (
            now if view.quorum_since is None else view.quorum_since
        ) + last_call_timeout
        if now < last_call:
            return Wait(last_call, quorum=True)
    members = order(choose(candidates, size))
    return Seal(members, view.job.departed + len(view.departed()))


def _count_failure(
    view: View, policy: RestartPolicy, suspicion: Suspicion, now: float
) -> Decision | None:
    """Count a failure that met a change, or take back one that a loss explains."""
    job, causes = view.job, view.causes()
    counted = job.failed == job.members_of
    if counted and causes and view.charged:
        return Refund(f"{departure(view, causes)}, and others failed", job.restarts - 1)
    failures = view.failures()
    if failures and not counted and not causes:
        decision = _after_failure(view, policy, failures, Charge)
        # Those that are not asked have been waited for while they were running.
        return _suspend(view, decision, suspicion, now) if suspicion.asks else decision
    return None


def _without_quorum(view: View, now: float) -> Decision:
    """Wait for more nodes, unless they can't come any more."""
    end = _end_of_hope(view, view.said_goodbye())
    if end:
        return end
    end = _end_of_hope(view, view.departed())
    given_up = view.forming_since + RETURN_GRACE
    if end and now < given_up:
        return Wait(given_up)
    return end or Wait()


def _end_of_hope(view: View, gone: list[str]) -> Close | None:
    """Return the end of a job whose minimum can't be reached without these members."""
    settings = view.job.settings
    if settings.population is None:
        return None
    here = sum(view.is_admitted(node) for node in view.nodes.values())
    left = max(here, settings.population - view.job.departed - len(gone))
    if settings.fitting(left):
        return None
    why = f"; {departure(view, gone)}" if gone else ""
    return Close(
        Outcome(
            state=OutcomeState.LOST_QUORUM,
            reason=f"the minimum of {settings.min_nodes} nodes can't be reached any "
            f"more: of the {settings.population} nodes of the job at most {left} "
            f"{'is' if left == 1 else 'are'} left{why}",
        )
    )
