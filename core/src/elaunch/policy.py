"""The restart-policy port: what a job does after a failure."""

import enum
from collections.abc import Sequence
from typing import Protocol

import attrs

from elaunch.failures import ProcessFailure
from elaunch.provider import Provider
from elaunch.vitals import ToldFinding


class Verdict(enum.StrEnum):
    """What to do after a failure."""

    RESTART = "restart"
    """Form the next generation."""
    FAIL = "fail"
    """End the job."""
    EXCLUDE = "exclude"
    """Form the next generation without some nodes."""
    HAND_BACK = "hand back"
    """End the job, and tell the scheduler that it is its turn (exit code 93)."""


@attrs.frozen
class Decision:
    """What a policy decides.

    Attributes:
        verdict: What to do.
        reason: Why, in one line that users and events are told.
        delay: Seconds before the next generation begins: back-off.
        exclude: Nodes that are left out, by `ProcessFailure.node`; for ``EXCLUDE``.
        cool_down: Seconds for which they are; `None` for good.
    """

    verdict: Verdict
    reason: str
    delay: float = 0.0
    exclude: tuple[str, ...] = ()
    cool_down: float | None = None


@attrs.frozen(kw_only=True)
class FailureReport:
    """What the coordinator knows when it asks.

    Attributes:
        generation: The generation that failed.
        restarts: Restarts the job has spent so far.
        failures: The failures reported so far, at least one.
        time: When it asks, in Unix seconds of its host.
        progress: The farthest marker that any worker of the job has told so far
            (`elaunch.worker.progress`); `None` for none.
        findings: What monitors of all nodes found last.
        group_size: Nodes in the generation that failed; 0 if nobody knows.
        min_nodes: Fewest nodes a generation may have.
        spares: Nodes that wait for a place, and could take one.
    """

    generation: int
    restarts: int
    failures: tuple[ProcessFailure, ...]
    time: float = 0.0
    progress: float | None = None
    findings: tuple[ToldFinding, ...] = ()
    group_size: int = 0
    min_nodes: int = 1
    spares: int = 0


@attrs.frozen
class PastFailure:
    """A failure that was decided on."""

    report: FailureReport
    decision: Decision


History = Sequence[PastFailure]
"""The failures of a job so far, one for each generation that failed, in order."""


class RestartPolicy(Protocol):
    """Decides for the whole job. Pure: the same arguments give the same decision."""

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        """Say what to do after this failure.

        Args:
            report: What has happened.
            history: What happened before it, and what was decided then.
        """


@attrs.frozen
class PolicyParameters:
    """What every restart policy is built with.

    Attributes:
        max_restarts: Restarts that failures may cost the job; memberships are free.
    """

    max_restarts: int


RestartPolicyProvider = Provider[PolicyParameters, RestartPolicy]


@attrs.frozen
class BudgetPolicy:
    """Restart while the job's budget lasts, whatever failed."""

    max_restarts: int

    def on_failure(self, report: FailureReport, _: History) -> Decision:
        """Restart while fewer than ``max_restarts`` restarts are spent."""
        if report.restarts < self.max_restarts:
            return Decision(
                Verdict.RESTART, f"restart {report.restarts + 1} of {self.max_restarts}"
            )
        spent = f"all {self.max_restarts} restarts are spent"
        return Decision(
            Verdict.FAIL, spent if self.max_restarts else "no restarts are allowed"
        )
