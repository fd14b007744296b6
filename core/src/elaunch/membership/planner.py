"""The planner: what the coordinator does next. Pure; no clock, no I/O, no randomness.

Laws:

- A generation is sealed only over nodes that are ready: none of their workers of an
  earlier generation runs.
- A death, a departure, a failure or a node that fits makes a new generation form at
  once. Only failures cost restarts, each generation one; what fails because a member is
  gone is no failure of its own.
- Workers that ended for a preemption end the job, whatever fails because of it.
- A failure ends the job when no lost member can be its cause: each one has failed, too,
  or has said that it stopped, or its loss would be known by now.
- Enough nodes and a node that fits wait for nobody but members that still stop their
  workers; these have until the stop is overdue, then they are excluded. After a failure
  the policy may make them wait; nodes that join may wait for more of them to come, and
  for workers that hold up a scaling: once for each of them, and not for too long.
- The size of a generation is a multiple of the node unit. Nodes that don't fit are
  spares: they disturb nobody.
- A node whose settings differ from the job's is not a candidate, nor is one that is
  unfit, or left out by the policy for as long as that lasts.
- A job ends early only if nobody can come any more who would make up the minimum.
"""

import math
from collections.abc import Sequence

import msgspec

from elaunch.membership.charging import count_failure, plan_failed
from elaunch.membership.exclusions import next_end
from elaunch.membership.holding import in_force
from elaunch.membership.ranks import Candidate, choose, order
from elaunch.membership.reasons import departure, names
from elaunch.membership.records import JobPhase
from elaunch.membership.steps import Close, Exclude, Form, Seal, Step, Timing, Wait
from elaunch.membership.view import View
from elaunch.policy import RestartPolicy
from elaunch.rendezvous import Outcome, OutcomeState


STOP_MARGIN = 10.0
"""Seconds a stopping node gets beyond its workers' grace before it is excluded."""

COARSE = 0.001
"""Seconds by which two clocks that count the same time may seem to differ."""

LONGEST_DEBOUNCE = 10
"""How many debounces a node waits at most for others that keep coming."""

RETURN_GRACE = 30.0
"""Seconds that lost nodes have to come back before a minimum counts as impossible."""


def plan(view: View, policy: RestartPolicy, timing: Timing, now: float) -> Step:
    """Return what to do next.

    Args:
        view: What is known.
        policy: Asked when members report failures.
        timing: How long to wait for what.
        now: Time on the clock of ``view.forming_since`` and its like.
    """
    step = _plan(view, policy, timing, now)
    if isinstance(step, Wait) and view.job.phase is not JobPhase.CLOSED:
        until = _or_a_return(view, step.until, now)
        return msgspec.structs.replace(step, until=until)
    return step


def _or_a_return(view: View, until: float | None, now: float) -> float | None:
    """Return when to plan again, which can be when a node may come again."""
    end = next_end(view.job.excluded, view.time)
    if end is None:
        return until
    back = now + max(end - view.time, COARSE)
    return back if until is None else min(until, back)


def _plan(view: View, policy: RestartPolicy, timing: Timing, now: float) -> Step:
    match view.job.phase:
        case JobPhase.CLOSED:
            return Wait()
        case _ if view.preempted:
            return _preempted(view)
        case JobPhase.SEALED:
            return _plan_sealed(view, policy, timing, now)
        case JobPhase.FORMING:
            return _plan_forming(view, policy, timing, now)


def _plan_sealed(view: View, policy: RestartPolicy, timing: Timing, now: float) -> Step:
    job = view.job
    if view.failures() and not view.causes():
        return plan_failed(view, policy, timing.suspicion, now)
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
    return _plan_joining(view, timing, now)


def _plan_joining(view: View, timing: Timing, now: float) -> Step:
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
    calm = _calm_until(view, newcomers, timing)
    if now < calm:
        return Wait(calm)
    since = now if view.held_since is None else view.held_since
    held = in_force(view.holds, view.met, since + timing.scale_hold_limit, now)
    if held:
        return Wait(max(hold.until for hold in held), held=held)
    hosts = [candidate.facts.host for candidate in choose(newcomers, room)]
    late = "" if view.held_since is None else f", held up for {now - since:.1f} s"
    return Form(f"{names(hosts)} joined{late}", job.restarts, grows=True)


def _calm_until(view: View, newcomers: Sequence[Candidate], timing: Timing) -> float:
    """Return until when the job lets nodes wait that could join it.

    Each time costs all members a restart of their workers, so those that come one after
    the other come in together. Nobody else is waited for when no more would fit.
    """
    came = [view.came.get(node.node_id, -math.inf) for node in newcomers]
    most = view.job.settings.fitting(view.job.settings.max_nodes)
    full = len(view.members) + len(newcomers) >= most
    debounce = timing.scale_debounce
    quiet = min(max(came) + debounce, min(came) + LONGEST_DEBOUNCE * debounce)
    return max(-math.inf if full else quiet, view.grown_since + timing.scale_interval)


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


def _plan_forming(
    view: View, policy: RestartPolicy, timing: Timing, now: float
) -> Step:
    settings = view.job.settings
    counted = count_failure(view, policy, timing.suspicion, now)
    if counted:
        return counted
    stopping = view.stopping()
    if stopping:
        overdue = view.forming_since + settings.shutdown_timeout + STOP_MARGIN
        return Exclude(tuple(stopping)) if now >= overdue else Wait(overdue)
    if len(view.nodes) < settings.min_nodes:
        return _without_quorum(view, now)
    size = settings.fitting(len(view.candidates()))
    if not size:
        return _without_quorum(view, now)
    first_generation = not view.members
    if first_generation and size < settings.fitting(settings.max_nodes):
        last_call = (
            now if view.quorum_since is None else view.quorum_since
        ) + timing.last_call
        if now < last_call:
            return Wait(last_call, quorum=True)
    return _seal(view, size, now)


def _seal(view: View, size: int, now: float) -> Step:
    delayed_until = view.delayed_since + view.job.delay
    if now < delayed_until:
        return Wait(delayed_until)
    members = order(choose(view.candidates(), size))
    barred = view.barred()
    departed = [m for m in view.departed() if m not in barred]
    return Seal(members, view.job.departed + len(departed))


def _without_quorum(view: View, now: float) -> Step:
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
    barred = view.barred()
    here = sum(
        view.is_admitted(node) and node.node_id not in barred
        for node in view.nodes.values()
    )
    away = [member for member in gone if member not in barred]
    never = sum(exclusion.until is None for exclusion in view.job.excluded)
    left = max(here, settings.population - view.job.departed - len(away) - never)
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
