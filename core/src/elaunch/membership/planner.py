"""The planner: what the coordinator does next. Pure; no clock, no I/O, no randomness.

Laws:

- A generation is sealed only over nodes that are ready: none of their workers of an
  earlier generation runs.
- A death, a departure, a failure or a node that fits makes a new generation form at
  once. Only failures cost restarts, and the policy is asked once for each.
- Enough nodes and a node that fits wait for nobody but members that still stop their
  workers; these have until the stop is overdue, then they are excluded.
- Nodes that don't fit are spares: they disturb nobody.
- A node whose settings differ from the job's is not a candidate.
"""

from collections.abc import Mapping

import attrs

from elaunch.failures import ProcessFailure, root_cause
from elaunch.membership.ranks import Candidate, choose, order
from elaunch.membership.records import JobPhase, JobRecord, NodePhase, NodeRecord
from elaunch.policy import FailureReport, RestartPolicy, Verdict
from elaunch.rendezvous import MAX_FAILURES, Outcome, OutcomeState


STOP_MARGIN = 10.0
"""Seconds a stopping node gets beyond its workers' grace before it is excluded."""

NAMED = 4
"""How many nodes a reason names; the others are counted."""


@attrs.frozen(kw_only=True)
class Node:
    """A node as the coordinator sees it."""

    node_id: str
    joined: int
    record: NodeRecord


@attrs.frozen(kw_only=True)
class View:
    """All that a decision depends on, but time.

    Attributes:
        job: The job's record.
        nodes: The living nodes by id.
        members: Group rank by node id in the generation that is sealed, or in the one
            before the generation that is forming.
        hosts: Host of each member, for reasons after it is gone.
        left: Why members left that are gone since.
        done: Members that reported ``DONE`` for the sealed generation, also if gone.
        forming_since: When the coordinator first saw this generation forming.
        quorum_since: When the minimum was first there, `None` while it is not.
    """

    job: JobRecord
    nodes: Mapping[str, Node]
    members: Mapping[str, int]
    hosts: Mapping[str, str]
    left: Mapping[str, str] = attrs.field(factory=dict)
    done: frozenset[str] = frozenset()
    forming_since: float = 0.0
    quorum_since: float | None = None


@attrs.frozen
class Wait:
    """Do nothing before something changes, or before ``until``."""

    until: float | None = None


@attrs.frozen
class Form:
    """Begin to form the next generation."""

    reason: str
    restarts: int


@attrs.frozen
class Seal:
    """Seal the forming generation over these nodes, in the order of group ranks."""

    members: tuple[Candidate, ...]


@attrs.frozen
class Exclude:
    """Count these nodes as dead: they did not stop in time."""

    node_ids: tuple[str, ...]


@attrs.frozen
class Close:
    """End the job."""

    outcome: Outcome


Decision = Wait | Form | Seal | Exclude | Close


def plan(
    view: View, policy: RestartPolicy, last_call_timeout: float, now: float
) -> Decision:
    """Return what to do next.

    Args:
        view: What is known.
        policy: Asked when members report failures.
        last_call_timeout: Seconds the first generation waits beyond the minimum.
        now: Time on the clock of ``view.forming_since`` and ``view.quorum_since``.
    """
    match view.job.phase:
        case JobPhase.CLOSED:
            return Wait()
        case JobPhase.SEALED:
            return _plan_sealed(view, policy)
        case JobPhase.FORMING:
            return _plan_forming(view, last_call_timeout, now)


def _plan_sealed(view: View, policy: RestartPolicy) -> Decision:
    job = view.job
    failures = _failures(view)
    if failures:
        return _after_failure(view, policy, failures)
    gone = [m for m in view.members if m not in view.done and not _here(view, m)]
    if gone:
        return Form(_departure(view, gone), job.restarts)
    if len(view.done) == len(view.members):
        return Close(
            Outcome(state=OutcomeState.SUCCEEDED, reason="all workers succeeded")
        )
    newcomers = [c for c in candidates(view) if c.node_id not in view.members]
    room = job.settings.max_nodes - len(view.members)
    # Whoever is done can't take part in a larger world, so nobody joins a finish.
    if newcomers and room > 0 and not view.done:
        fitting = choose(newcomers, room)
        return Form(f"{_names([c.facts.host for c in fitting])} joined", job.restarts)
    return Wait()


def _after_failure(
    view: View, policy: RestartPolicy, failures: tuple[ProcessFailure, ...]
) -> Decision:
    job = view.job
    first = root_cause(failures)
    what = f"rank {first.rank} on {first.host!r} failed: {first.message}"
    decision = policy.on_failure(
        FailureReport(
            generation=job.generation, restarts=job.restarts, failures=failures
        )
    )
    if decision.verdict is Verdict.RESTART:
        return Form(f"{what} ({decision.reason})", job.restarts + 1)
    kept = tuple(sorted(failures, key=lambda f: f.timestamp)[:MAX_FAILURES])
    return Close(
        Outcome(
            state=OutcomeState.FAILED,
            reason=f"{what} ({decision.reason})",
            failures=kept,
        )
    )


def _plan_forming(view: View, last_call_timeout: float, now: float) -> Decision:
    settings = view.job.settings
    stopping = _stopping(view)
    if stopping:
        overdue = view.forming_since + settings.shutdown_timeout + STOP_MARGIN
        return Exclude(tuple(stopping)) if now >= overdue else Wait(overdue)
    chosen = choose(candidates(view), settings.max_nodes)
    if len(chosen) < settings.min_nodes:
        return Wait()
    first_generation = not view.members
    if first_generation and len(chosen) < settings.max_nodes:
        last_call = (
            now if view.quorum_since is None else view.quorum_since
        ) + last_call_timeout
        if now < last_call:
            return Wait(last_call)
    return Seal(order(chosen))


def candidates(view: View) -> tuple[Candidate, ...]:
    """Return the nodes that are ready for the next generation."""
    return tuple(
        Candidate(
            node_id=node.node_id,
            facts=node.record.facts,
            joined=node.joined,
            previous_rank=view.members.get(node.node_id),
        )
        for node in view.nodes.values()
        if node.record.phase is NodePhase.READY
        and node.record.settings == view.job.settings
        and (node.node_id not in view.members or _has_stopped(view, node))
    )


def has_quorum(view: View) -> bool:
    """Whether the forming generation could be sealed, the last call aside."""
    return (
        view.job.phase is JobPhase.FORMING
        and not _stopping(view)
        and len(candidates(view)) >= view.job.settings.min_nodes
    )


def _has_stopped(view: View, node: Node) -> bool:
    """Whether a member of the generation before has stopped its workers."""
    return node.record.generation >= view.job.generation - 1


def _stopping(view: View) -> list[str]:
    return [
        node_id
        for node_id in view.members
        if _here(view, node_id)
        and not (
            view.nodes[node_id].record.phase is NodePhase.READY
            and _has_stopped(view, view.nodes[node_id])
        )
    ]


def _here(view: View, node_id: str) -> bool:
    node = view.nodes.get(node_id)
    return node is not None and node.record.phase is not NodePhase.LEAVING


def _failures(view: View) -> tuple[ProcessFailure, ...]:
    """Return what members report of the sealed generation, stopped already or not."""
    return tuple(
        failure
        for node_id in view.members
        if (node := view.nodes.get(node_id)) is not None
        and node.record.phase in (NodePhase.FAILED, NodePhase.READY)
        and node.record.generation == view.job.generation
        for failure in node.record.failures
    )


def _departure(view: View, gone: list[str]) -> str:
    left = dict(view.left)
    for node_id in gone:
        if node_id in view.nodes:
            left[node_id] = view.nodes[node_id].record.reason
    lost = [view.hosts[node_id] for node_id in gone if node_id not in left]
    parts = [f"{_names(lost)} was lost"] if lost else []
    parts += [
        f"node {view.hosts[node_id]!r} left: {left[node_id]}"
        for node_id in [node_id for node_id in gone if node_id in left][:NAMED]
    ]
    return "; ".join(parts)


def _names(hosts: list[str]) -> str:
    named = ", ".join(repr(host) for host in hosts[:NAMED])
    more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
    return f"node {named}{more}" if len(hosts) == 1 else f"nodes {named}{more}"
