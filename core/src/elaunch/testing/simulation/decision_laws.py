"""The laws of decisions: what failures cost, and what comes of what a policy says."""

from collections.abc import Callable, Iterable

import attrs

from elaunch.api import FailureReport, History, Keyspace, PastFailure
from elaunch.membership.records import JobPhase, JobRecord, Keys, decode
from elaunch.membership.steps import ASKING
from elaunch.testing.simulation.hold_laws import grows


_ROUNDING = 1e-6
"""Seconds by which sums of times may differ from what they stand for."""

_LEGAL = frozenset(
    {
        (JobPhase.FORMING, JobPhase.SEALED, 0),
        (JobPhase.SEALED, JobPhase.FORMING, 1),
        (JobPhase.FORMING, JobPhase.FORMING, 0),
        (JobPhase.FORMING, JobPhase.CLOSED, 0),
        (JobPhase.SEALED, JobPhase.CLOSED, 0),
    }
)


@attrs.define(eq=False)
class DecisionLaws:
    """Watches what is decided in one run.

    Attributes:
        require: Told of each law whether it holds, and what is wrong if not.
        keys: Keys of the job.
        scale_interval: Seconds in which the job may form anew once for joiners.
    """

    require: Callable[[bool, str], None]
    keys: Keys
    scale_interval: float = 0.0
    _not_before: float = attrs.field(default=0.0, init=False)
    _grown_at: float | None = attrs.field(default=None, init=False)

    def begins(self) -> None:
        """Note that another job begins, in another store or with the same id."""
        self._not_before, self._grown_at = 0.0, None

    def transition(
        self, before: JobRecord, job: JobRecord, failures: int, now: float
    ) -> None:
        """One generation after the other, and only failures cost restarts.

        Args:
            before: The state before.
            job: The state.
            failures: How many failures have happened so far.
            now: When.
        """
        step = (before.phase, job.phase, job.generation - before.generation)
        self.require(
            step in _LEGAL,
            f"the job went from {before.phase} {before.generation} "
            f"to {job.phase} {job.generation}",
        )
        spent = job.restarts - before.restarts
        failed = "failed:" in job.reason and not job.reason.endswith(ASKING)
        forming = job.phase is JobPhase.FORMING
        refunded = step[:2] == (JobPhase.FORMING, JobPhase.FORMING) and not failed
        self.require(
            spent == (1 if forming and failed else -1 if refunded else 0),
            f"{spent} restarts were spent on: {job.reason}",
        )
        self.require(
            (job.failed > before.failed) == (spent > 0),
            f"generation {job.failed} was counted as a failure twice: {job.reason}",
        )
        self.require(
            job.restarts <= min(failures, job.settings.max_restarts),
            f"{job.restarts} restarts are spent, {failures} failures happened and "
            f"{job.settings.max_restarts} restarts are allowed",
        )
        self.require(
            before.progress is None
            or (job.progress is not None and job.progress >= before.progress),
            f"progress went from {before.progress} to {job.progress}",
        )
        if forming:
            self._not_before = now + job.delay if spent > 0 else 0.0
            self._grows(before, job, now)

    def _grows(self, before: JobRecord, job: JobRecord, now: float) -> None:
        if not grows(before, job):
            return
        last = self._grown_at
        self.require(
            last is None or now >= last + self.scale_interval - _ROUNDING,
            f"the job forms anew for joiners at {now}, and did so at {last}",
        )
        self._grown_at = now

    def written(self, job: JobRecord, keyspace: Keyspace) -> None:
        """Whoever decides next finds all failures that cost something, in order."""
        found = {
            entry.key: decode(PastFailure, entry.key, entry.value)
            for entry in keyspace.list(self.keys.history).entries
        }
        counted = [self.keys.past_failure(number) for number in range(job.restarts)]
        missing = [key for key in counted if key not in found]
        self.require(not missing, f"the history has no {missing}")
        if not missing:
            self._check_history([found[key] for key in counted], job.generation + 1)

    def asked(self, report: FailureReport, history: History) -> None:
        """A policy knows the whole history, and no more; each failure names a node."""
        self.require(
            len(history) == report.restarts,
            f"{report.restarts} restarts are spent, the policy is told of {history}",
        )
        self._check_history(history, report.generation)
        self.require(
            all(failure.node for failure in report.failures),
            f"a failure of generation {report.generation} names no node",
        )
        markers = [past.report.progress or 0.0 for past in history]
        markers.append(report.progress or 0.0)
        self.require(markers == sorted(markers), f"progress went back: {markers}")

    def _check_history(self, history: History, generation: int) -> None:
        numbers = [past.report.generation for past in history]
        self.require(
            numbers == sorted(set(numbers)) and all(n < generation for n in numbers),
            f"generations {numbers} failed before {generation}",
        )

    def sealed(self, job: JobRecord, members: Iterable[str], now: float) -> None:
        """Nobody is a member who is left out, and no back-off is cut short."""
        for node_id in members:
            host = node_id.rpartition("-")[0]
            exclusion = job.exclusion_of(node_id, host, now)
            self.require(
                exclusion is None,
                f"{node_id} is in generation {job.generation}: {exclusion}",
            )
        self.require(
            now >= self._not_before - _ROUNDING,
            f"generation {job.generation} begins at {now}, not before "
            f"{self._not_before} was decided",
        )
