"""One event as it stands in a file: whoever wrote that, it is not to be trusted."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import attrs


LINE_LIMIT = 16 * 1024 * 1024
"""Bytes of a line; what is longer is no event."""


@attrs.frozen(kw_only=True)
class Entry:
    """One event of a file.

    Attributes:
        line: The line as it was, if it was to be kept.
        name: What happened.
        source: Who it is about.
        time: Unix time in seconds, by the clock of its host.
        run_id: Id of the job.
        host: Host that recorded it.
        agent: Id of its agent; may be empty.
        sequence: Number among the events of that agent.
        generation: The last generation that the agent was a member of.
        facts: The metadata, without what repeats it for torchelastic.
    """

    line: str = attrs.field(repr=False)
    name: str
    source: str
    time: float
    run_id: str
    host: str
    agent: str
    sequence: int
    generation: int
    facts: Mapping[str, Any]

    def number(self, key: str) -> float | None:
        """Return a fact that is a number."""
        value = self.facts.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        return value if abs(value) < _MOST else None

    def whole(self, key: str) -> int | None:
        """Return a fact that is a whole number."""
        value = self.facts.get(key)
        return value if type(value) is int and abs(value) < _MOST else None

    def text(self, key: str) -> str:
        """Return a fact that is a text, or nothing."""
        value = self.facts.get(key)
        return value if isinstance(value, str) else ""

    def texts(self, key: str) -> list[str]:
        """Return those of a list of facts that are texts."""
        value = self.facts.get(key)
        found = value if isinstance(value, list) else []
        return [each for each in found if isinstance(each, str)]

    def numbers(self, key: str) -> list[int]:
        """Return those of a list of facts that are whole numbers."""
        value = self.facts.get(key)
        found = value if isinstance(value, list) else []
        return [each for each in found if type(each) is int]


def parse(line: str, *, keep: bool = True) -> Entry | None:
    """Return the event in a line, if that is one.

    Args:
        line: The line.
        keep: Whether the event keeps it.
    """
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    time, facts = found.get("timestamp"), found.get("metadata")
    if not isinstance(time, int | float) or not 0 <= time < LAST_TIME:
        return None
    if not isinstance(facts, dict) or "run_id" not in found:
        return None
    return Entry(
        line=line if keep else "",
        name=sys.intern(found["name"]),
        source=_text(found, "source"),
        time=float(time),
        run_id=_text(found, "run_id"),
        host=_text(found, "host"),
        agent=_text(found, "agent"),
        sequence=_whole(found, "sequence"),
        generation=_whole(found, "generation"),
        facts=_told(found["name"], facts),
    )


_REPEATED = frozenset(
    (
        *("run_id", "global_rank", "worker_id", "role", "hostname", "state"),
        *("total_run_time", "rdzv_backend", "raw_error", "metadata"),
        "agent_restarts",
    )
)
"""What an event says only for torchelastic."""


_FOR_REPLAY = frozenset({"report"})
"""What a decision says only for ``elaunch replay``; it is long."""


def _told(name: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    # Of many events each key and name is kept once: that is most of what they take.
    repeated = _REPEATED if "state" in facts else frozenset()
    if name == "policy.decided":
        repeated = _FOR_REPLAY
    return {
        sys.intern(key): value
        for key, value in facts.items()
        if key not in repeated
        and (value is not None or key != "duration_ms" or not repeated)
    }


_MOST = 2.0**53
"""Numbers from here on are no facts; infinity and what is no number neither."""

LAST_TIME = 2.0**36
"""Seconds of the last time that is believed: in the year 4147."""


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    return sys.intern(value) if isinstance(value, str) else ""


def _whole(found: dict[str, Any], key: str) -> int:
    value = found.get(key, 0)
    return value if type(value) is int and value >= 0 else 0
