"""The restart-policy port: what a job does after a failure."""

import enum
from typing import Protocol

import attrs

from elaunch.failures import ProcessFailure
from elaunch.provider import Provider


class Verdict(enum.StrEnum):
    """What to do after a failure."""

    RESTART = "restart"
    FAIL = "fail"


@attrs.frozen
class Decision:
    """A verdict with the reason that users and events are told."""

    verdict: Verdict
    reason: str


@attrs.frozen(kw_only=True)
class FailureReport:
    """What the coordinator knows when it asks.

    Attributes:
        generation: The generation that failed.
        restarts: Restarts the job has spent so far.
        failures: The failures reported so far, at least one.
    """

    generation: int
    restarts: int
    failures: tuple[ProcessFailure, ...]


class RestartPolicy(Protocol):
    """Decides for the whole job. Pure: the same report gives the same decision."""

    def on_failure(self, report: FailureReport) -> Decision:
        """Say what to do after this failure."""


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

    def on_failure(self, report: FailureReport) -> Decision:
        """Restart while fewer than ``max_restarts`` restarts are spent."""
        if report.restarts < self.max_restarts:
            return Decision(
                Verdict.RESTART, f"restart {report.restarts + 1} of {self.max_restarts}"
            )
        spent = f"all {self.max_restarts} restarts are spent"
        return Decision(
            Verdict.FAIL, spent if self.max_restarts else "no restarts are allowed"
        )
