"""Nodes that a job leaves out, after a decision of its policy. Pure."""

import math
from collections.abc import Iterable

import attrs

from elaunch.failures import root_cause
from elaunch.policy import PastFailure, Verdict


@attrs.frozen(kw_only=True)
class Exclusion:
    """A node that the job leaves out.

    Attributes:
        node: Its name among the nodes of the job: a host, or an agent.
        reason: Why, in one line.
        until: When it may come again, in Unix seconds; `None` for never.
        generation: The generation whose failure it follows from.
    """

    node: str
    reason: str
    until: float | None
    generation: int

    def lasts(self, time: float) -> bool:
        """Whether it is left out at a time."""
        return self.until is None or time < self.until

    def told(self, time: float) -> str:
        """Return for how long, from a time on, and why."""
        if self.until is None:
            return f"excluded for good: {self.reason}"
        return f"excluded for {max(0.0, self.until - time):.0f} s: {self.reason}"


def exclusions(past: PastFailure, time: float) -> tuple[Exclusion, ...]:
    """Return whom a decision leaves out.

    Args:
        past: What has failed, and what the policy has decided.
        time: When it was decided, in Unix seconds.
    """
    decision, generation = past.decision, past.report.generation
    if decision.verdict is not Verdict.EXCLUDE:
        return ()
    long = decision.cool_down
    until = None if long is None else time + max(0.0, long)
    return tuple(
        Exclusion(
            node=node,
            reason=f"{decision.reason}{_what_failed(past, node)}",
            until=until,
            generation=generation,
        )
        for node in decision.exclude
    )


def _what_failed(past: PastFailure, node: str) -> str:
    """Return what a node did: a policy tells what follows, and perhaps not of what."""
    its = [failure for failure in past.report.failures if failure.node == node]
    message = root_cause(its).message if its else ""
    return f" ({message.splitlines()[0]})" if message else ""


def joined(
    before: Iterable[Exclusion], more: Iterable[Exclusion], time: float
) -> tuple[Exclusion, ...]:
    """Return all exclusions that last at a time; of one node the last is the longest.

    A shorter one that came before is kept: the longer one may be taken back.
    """
    found = [exclusion for exclusion in before if exclusion.lasts(time)]
    for exclusion in more:
        others = (_end(other) for other in found if other.node == exclusion.node)
        if exclusion.lasts(time) and _end(exclusion) > max(others, default=time):
            found.append(exclusion)
    return tuple(found)


def next_end(exclusions: Iterable[Exclusion], time: float) -> float | None:
    """Return when the next of them ends, `None` if none does."""
    ends = (e.until for e in exclusions if e.until is not None and e.lasts(time))
    return min(ends, default=None)


def _end(exclusion: Exclusion) -> float:
    return math.inf if exclusion.until is None else exclusion.until
