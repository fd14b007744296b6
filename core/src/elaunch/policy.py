"""The restart-policy port: what a job does after a failure."""

import enum
import math
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from elaunch.failures import ProcessFailure, root_cause
from elaunch.provider import Provider
from elaunch.vitals import ToldFinding


LONGEST_DELAY = 86_400.0
"""Most seconds of back-off that a policy can make a job wait."""

MAX_FAILURES = 32
"""Most failures of one generation that are told and kept: what is sent stays bounded.
"""


RAISED = "the restart policy raised "
"""How the reason begins where a policy could not decide."""


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

        It has the failures that `telling` returns, without what only people read.
        """
        failures = tuple(failure.trimmed() for failure in telling(self.failures))
        return attrs.evolve(self, failures=failures)


def telling(failures: Sequence[ProcessFailure]) -> tuple[ProcessFailure, ...]:
    """Return those of the failures of a generation that are told and kept, by time.

    `MAX_FAILURES` at most: the root cause, those of workers that ask for something, and
    of the others the first ones.
    """
    if not failures:
        return ()
    first = root_cause(failures)

    def weight(failure: ProcessFailure) -> tuple[bool, bool, float]:
        return failure is not first, failure.request is None, failure.timestamp

    kept = sorted(failures, key=weight)[:MAX_FAILURES]
    return tuple(sorted(kept, key=lambda failure: failure.timestamp))


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


def ask(policy: RestartPolicy, report: FailureReport, history: History) -> Decision:
    """Return what a policy decides; one that can't decide ends the job.

    A fault of a plugin is no reason to hide from users what their workers died of.

    Args:
        policy: The policy.
        report: What has happened.
        history: What happened before it, and what was decided then.
    """
    try:
        return _sound(policy.on_failure(report, history))
    except Exception as error:  # noqa: BLE001 - told as the reason, with its place
        return Decision(Verdict.FAIL, RAISED + _told(error))


def fault_in(reason: str) -> str:
    """Return of which error a policy could not decide, with its place; mostly none.

    Args:
        reason: That of its decision.
    """
    return reason.removeprefix(RAISED) if reason.startswith(RAISED) else ""


def _sound(decision: Any) -> Decision:
    """Return a decision that all nodes can read.

    Raises:
        TypeError: If it is none.
        ValueError: If there is no such verdict.
    """
    nodes: Any = getattr(decision, "exclude", "")
    if not isinstance(decision, Decision) or isinstance(nodes, str):
        raise TypeError(f"{decision!r} is no decision")
    delay, cool_down = float(decision.delay), decision.cool_down
    endless = cool_down is None or not math.isfinite(cool_down)
    return Decision(
        verdict=Verdict(decision.verdict),
        reason=str(decision.reason),
        delay=min(delay, LONGEST_DELAY) if delay > 0 else 0.0,
        exclude=tuple(map(str, nodes)),
        cool_down=None if endless else cool_down,
    )


def _told(error: Exception) -> str:
    """Return an error in one line, with where it was raised."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    return f"{said} ({Path(frame.f_code.co_filename).name}:{line})"


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
