"""What a history says: how many restarts, how fast, with what progress. Pure."""

from collections.abc import Iterable, Sequence

from elaunch.failures import ProcessFailure, root_cause
from elaunch.policy import FailureReport, History, PastFailure, Verdict


def node_of(failure: ProcessFailure) -> str:
    """Return the node by which a failure counts; empty if nobody knows."""
    return failure.node or failure.host


def restarts_within(seconds: float, now: float, past: Iterable[PastFailure]) -> int:
    """Return how many restarts there were in the last seconds.

    What seems to lie in the future, since it was told by another host's clock, counts.
    """
    return sum(_restarted(one) and now - one.report.time < seconds for one in past)


def of_node(node: str, history: History) -> Sequence[PastFailure]:
    """Return the failures whose root cause a node was, since it was last left out."""
    found: list[PastFailure] = []
    for one in history:
        if node_of(root_cause(one.report.failures)) == node:
            found.append(one)
        if node in one.decision.exclude:
            found = []
    return found


def exclusions(node: str, history: History) -> int:
    """Return how many times a node was left out."""
    return sum(node in one.decision.exclude for one in history)


def failed_quickly(report: FailureReport, seconds: float) -> bool:
    """Whether all that failed had run for less than so many seconds."""
    return all(
        failure.uptime is not None and failure.uptime < seconds
        for failure in report.failures
    )


def quick_in_a_row(report: FailureReport, history: History, seconds: float) -> int:
    """Return how many generations in a row, this one the last, failed so soon."""
    count = 0
    for one in (report, *(past.report for past in reversed(history))):
        if not failed_quickly(one, seconds):
            break
        count += 1
    return count


def barren_in_a_row(reports: Sequence[FailureReport]) -> int:
    """Return how many of these failures, the last ones in a row, saw no progress."""
    count = 0
    farthest: float | None = None
    for report in reports:
        if _farther(report.progress, farthest):
            farthest, count = report.progress, 0
        else:
            count += 1
    return count


def length_of_row(report: FailureReport, history: History, good_run: float) -> int:
    """Return how many failures in a row there are, this one the last.

    A row begins with a failure that came after a good run: one that made progress, or
    was so many seconds long.
    """
    reports = [*(past.report for past in history), report]
    count = 0
    farthest: float | None = None
    for one in reports:
        first = root_cause(one.failures)
        long = first.uptime is not None and first.uptime >= good_run
        farther = _farther(one.progress, farthest)
        farthest = one.progress if farther else farthest
        count = 1 if long or farther else count + 1
    return count


def grown(first: float, factor: float, times: int, most: float) -> float:
    """Return seconds that grow by a factor so many times, up to a limit."""
    seconds = min(first, most)
    for _ in range(times):
        if seconds >= most or factor <= 1:
            break
        seconds = min(seconds * factor, most)
    return seconds


def _restarted(one: PastFailure) -> bool:
    return one.decision.verdict in (Verdict.RESTART, Verdict.EXCLUDE)


def _farther(progress: float | None, farthest: float | None) -> bool:
    return progress is not None and (farthest is None or progress > farthest)
