"""Whose decisions belong together: jobs, and those that began anew. Pure."""

from collections.abc import Iterable

from elaunch.failures import ProcessFailure
from elaunch.replay.reading import RecordedDecision


Life = dict[int, RecordedDecision]


def lives_of(
    decisions: Iterable[RecordedDecision],
) -> list[tuple[RecordedDecision, ...]]:
    """Return the decisions of each job in order, one for each generation.

    An id can serve again after the end of its job, and a job that loses its store
    begins anew: from generation 1, with all its restarts. Where a generation was
    decided on again, since more had been reported, that counts.

    Args:
        decisions: Decisions of all agents, in any order, perhaps some of them twice.
    """
    once = {(one.agent, one.sequence): one for one in decisions}
    ordered = sorted(once.values(), key=lambda one: one.timestamp)
    lives: list[Life] = []
    last: dict[str, Life] = {}
    for one in ordered:
        life = last.get(one.run_id)
        if life is None or not _belongs(one, life):
            life = last[one.run_id] = {}
            lives.append(life)
        life[one.generation] = one
    return [tuple(life[g] for g in sorted(life)) for life in lives]


def _belongs(one: RecordedDecision, life: Life) -> bool:
    if one.generation in life:
        return bool(_failed(one) & _failed(life[one.generation]))
    # Who decided next may have a clock that is behind.
    known = {g for other in life.values() for g in other.decided.history}
    return one.generation > max(life) or one.generation in known


def _failed(one: RecordedDecision) -> set[tuple[int, str, int, float]]:
    return set(map(_identity, one.decided.report.failures))


def _identity(failure: ProcessFailure) -> tuple[int, str, int, float]:
    return failure.rank, failure.host, failure.pid, failure.timestamp
