"""Decisions from files of events."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from elaunch.decisions import Decided, read
from elaunch.events import EventName


_MARK = EventName.POLICY_DECIDED.value.encode()
_LINE_LIMIT = 16 * 1024 * 1024


@attrs.frozen(kw_only=True)
class RecordedDecision:
    """A decision, and who recorded it.

    Attributes:
        run_id: Id of the job.
        agent: Id of the agent that recorded it.
        sequence: Number among the events of that agent.
        timestamp: When, in Unix seconds of its host.
        decided: What it says.
    """

    run_id: str
    agent: str
    sequence: int
    timestamp: float
    decided: Decided

    @property
    def generation(self) -> int:
        """The generation that failed."""
        return self.decided.report.generation


def read_decisions(
    lines: Iterable[bytes], complain: Callable[[int, str], None]
) -> list[RecordedDecision]:
    """Return the decisions among events, one event a line, in the order of the lines.

    Args:
        lines: The lines.
        complain: Told the number of a line that is no event, and why.
    """
    found = []
    for number, line in enumerate(lines, 1):
        if _MARK not in line:  # as nearly all
            continue
        if len(line) > _LINE_LIMIT:
            complain(number, f"it has more than {_LINE_LIMIT} bytes")
            continue
        try:
            event = json.loads(line)
            if isinstance(event, dict) and event.get("name") == _MARK.decode():
                found.append(_decision(event))
        except (ValueError, RecursionError) as error:
            complain(number, str(error))
    return found


def _decision(event: dict[str, Any]) -> RecordedDecision:
    try:
        return RecordedDecision(
            run_id=str(event["run_id"]),
            agent=str(event["agent"]),
            sequence=int(event["sequence"]),
            timestamp=float(event["timestamp"]),
            decided=read(event["metadata"]),
        )
    except KeyError as error:
        raise ValueError(f"it has no field {error}") from error
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
