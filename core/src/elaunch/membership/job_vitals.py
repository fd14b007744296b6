"""How the nodes of a job go, as its coordinator has heard. Pure."""

import math
from collections.abc import Collection, Container, Iterable

import attrs

from elaunch.membership.holding import Hold
from elaunch.vitals import Pace, ToldFinding, Vitals


MAX_JOB_FINDINGS = 32
"""Most findings of all nodes that a policy is told: the latest."""


@attrs.define(eq=False, repr=False)
class JobVitals:
    """What the nodes have told.

    Attributes:
        progress: The farthest marker of any worker so far; it never goes back.
    """

    progress: float | None = None
    _told: dict[str, Vitals] = attrs.field(factory=dict, init=False)
    _heard: dict[str, float] = attrs.field(factory=dict, init=False)

    def take(self, node_id: str, vitals: Vitals, now: float) -> bool:
        """Note what a node tells; tell whether its workers hold up less, or more."""
        before = self._told.get(node_id)
        self._told[node_id], self._heard[node_id] = vitals, now
        self.progress = farthest((self.progress, vitals.progress))
        return _numbers(vitals) != (_numbers(before) if before else frozenset())

    def drop(self, node_id: str) -> None:
        """Forget a node."""
        self._told.pop(node_id, None)
        self._heard.pop(node_id, None)

    def findings(self, generation: int) -> tuple[ToldFinding, ...]:
        """Return what was found last in a generation, the latest last."""
        found = (finding for told in self._of(generation) for finding in told.findings)
        latest = sorted(found, key=lambda finding: finding.timestamp)
        return tuple(latest[-MAX_JOB_FINDINGS:])

    def pace(self, generation: int) -> Pace | None:
        """Return how long steps take in a generation, `None` if nobody tells."""
        return overall([told.pace for told in self._of(generation) if told.pace])

    def holds(self, generation: int, members: Container[str]) -> tuple[Hold, ...]:
        """Return which workers of a generation's members hold up a scaling.

        Clocks of two hosts are not compared: each counts from when it was heard of.
        """
        return tuple(
            Hold((node_id, hold.rank), hold.number, self._heard[node_id] + hold.seconds)
            for node_id, told in self._told.items()
            if told.generation == generation and node_id in members
            for hold in told.holds
        )

    def stale(self, needed: Collection[str]) -> list[str]:
        """Return the nodes whose words nobody needs any more."""
        return [node_id for node_id in self._told if node_id not in needed]

    def _of(self, generation: int) -> list[Vitals]:
        return [v for v in self._told.values() if v.generation == generation]


def _numbers(vitals: Vitals) -> frozenset[int]:
    return frozenset(hold.number for hold in vitals.holds)


def farthest(markers: Iterable[float | None]) -> float | None:
    """Return the largest marker, `None` if there is none."""
    return max((marker for marker in markers if marker is not None), default=None)


def overall(paces: Collection[Pace]) -> Pace | None:
    """Return the pace of several nodes together, `None` for none.

    The median is that of the nodes' medians, each of which counts once for each rank:
    what single ranks take is not told to the job.
    """
    if not paces:
        return None
    ranks = sum(pace.ranks for pace in paces)
    slowest = max(paces, key=lambda pace: pace.slowest)
    steps = [pace.step for pace in paces if pace.step is not None]
    return Pace(
        ranks=ranks,
        fastest=min(pace.fastest for pace in paces),
        median=_median(paces, ranks),
        slowest=slowest.slowest,
        slowest_rank=slowest.slowest_rank,
        step=max(steps, default=None),
    )


def _median(paces: Iterable[Pace], ranks: int) -> float:
    """Return the lower median: where ranks are two, the faster one."""
    passed = 0
    for pace in sorted(paces, key=lambda pace: pace.median):
        passed += pace.ranks
        if 2 * passed >= ranks:
            return pace.median
    raise AssertionError("all ranks are passed in the end")


def sound(vitals: Vitals) -> Vitals:
    """Return what can be told of a node: numbers of workers can be none, or endless."""
    progress, pace = vitals.progress, vitals.pace
    if progress is not None and not math.isfinite(progress):
        progress = None
    if pace and not all(map(math.isfinite, (pace.fastest, pace.median, pace.slowest))):
        pace = None
    return attrs.evolve(vitals, progress=progress, pace=pace)
