"""What a restart policy decided, as an event with all that it knew, and back."""

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from elaunch.encodable import all_encodable
from elaunch.events import EventName, Record
from elaunch.policy import Decision, FailureReport, History, Verdict


@attrs.frozen(kw_only=True)
class Asked:
    """Which policy was asked; of a field that is `None` nobody knows.

    Attributes:
        policy: Its name with its options.
        max_restarts: Restarts that failures may cost the job.
        on_failure: What follows from which failure, row by row.
    """

    policy: str | None = None
    max_restarts: int | None = None
    on_failure: tuple[str, ...] = ()


def decided(
    record: Record,
    report: FailureReport,
    history: History,
    decision: Decision,
    asked: Asked | None = None,
) -> None:
    """Record what a policy decided, and what it knew.

    Args:
        record: Told of it.
        report: What it was asked about.
        history: What it was told of the past: events of their own, named here by
            generation.
        decision: What it decided.
        asked: Which policy it was.
    """
    asked = asked or Asked()
    record(
        EventName.POLICY_DECIDED,
        generation=report.generation,
        restarts=report.restarts,
        verdict=decision.verdict.value,
        reason=decision.reason,
        delay=decision.delay,
        exclude=list(decision.exclude),
        cool_down=decision.cool_down,
        history=[past.report.generation for past in history],
        report=_text(report.trimmed()),
        policy=asked.policy,
        max_restarts=asked.max_restarts,
        on_failure=list(asked.on_failure),
    )


@attrs.frozen
class Decided:
    """One decision, as it was recorded.

    Attributes:
        report: What the policy was asked about.
        decision: What it decided.
        history: Generations whose failures it was told of.
        asked: Which policy it was.
    """

    report: FailureReport
    decision: Decision
    history: tuple[int, ...]
    asked: Asked


def read(metadata: Mapping[str, Any]) -> Decided:
    """Read the facts of an event that `decided` recorded.

    Raises:
        ValueError: If they are none; says what is wrong.
    """
    try:
        report = msgspec.json.decode(str(metadata["report"]), type=FailureReport)
        decision = Decision(
            verdict=Verdict(metadata["verdict"]),
            reason=str(metadata["reason"]),
            delay=float(metadata["delay"]),
            exclude=tuple(map(str, metadata["exclude"])),
            cool_down=_optional(metadata["cool_down"]),
        )
        history = tuple(map(int, metadata["history"]))
        most = metadata["max_restarts"]
        asked = Asked(
            policy=metadata["policy"],
            max_restarts=None if most is None else int(most),
            on_failure=tuple(map(str, metadata["on_failure"])),
        )
    except KeyError as error:
        raise ValueError(f"it has no fact {error}") from error
    except (TypeError, OverflowError, msgspec.DecodeError) as error:
        raise ValueError(str(error)) from error
    if not report.failures:
        raise ValueError("its report has no failure")
    return Decided(report, decision, history, asked)


def _text(report: FailureReport) -> str:
    """Return a report as JSON, whatever a failure in it says."""
    try:
        return msgspec.json.encode(report).decode()
    except UnicodeEncodeError:
        plain = all_encodable(msgspec.to_builtins(report))
        return msgspec.json.encode(plain).decode()


def _optional(seconds: Any) -> float | None:
    return None if seconds is None else float(seconds)
