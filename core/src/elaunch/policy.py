"""The restart-policy port: what a job does after a failure."""

import enum
from collections.abc import Sequence
from typing import Protocol

import attrs

from elaunch.failures import ProcessFailure
from elaunch.provider import Provider
from elaunch.vitals import ToldFinding


MAX_FAILURES = 32
"""Most failures of one generation that are told and kept: what is sent stays bounded.
"""


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

    def trimmed(self) -> "FailureReport":
        """Return what a history and an event keep of it: its size is bounded.

        It has the first `MAX_FAILURES` failures, without what only people read.
        """
        kept = sorted(self.failures, key=lambda failure: failure.timestamp)
        failures = tuple(failure.trimmed() for failure in kept[:MAX_FAILURES])
        return attrs.evolve(self, failures=failures)


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
        on_failure: What follows from which failure, as rows of ``--on-failure``, which
            `elaunch.failure_table.FailureTable` reads.
    """

    max_restarts: int
    on_failure: tuple[str, ...] = ()


RestartPolicyProvider = Provider[PolicyParameters, RestartPolicy]
