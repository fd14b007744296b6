"""One event as it stands in a file: whoever wrote that, it is not to be trusted."""

import json
from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Entry:
    """One event of a file.

    Attributes:
        line: The line as it was.
        name: What happened.
        source: Who it is about.
        time: Unix time in seconds, by the clock of its host.
        run_id: Id of the job.
        host: Host that recorded it.
        agent: Id of its agent; may be empty.
        sequence: Number among the events of that agent.
        generation: The last generation that the agent was a member of.
        facts: The metadata.
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

    def numbers(self, key: str) -> list[int]:
        """Return those of a list of facts that are whole numbers."""
        value = self.facts.get(key)
        found = value if isinstance(value, list) else []
        return [each for each in found if type(each) is int]


def parse(line: str) -> Entry | None:
    """Return the event in a line, if that is one."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("name"), str):
        return None
    time, facts = found.get("timestamp"), found.get("metadata")
    if not isinstance(time, int | float) or not 0 <= time < _LAST_TIME:
        return None
    if not isinstance(facts, dict) or "run_id" not in found:
        return None
    return Entry(
        line=line,
        name=found["name"],
        source=_text(found, "source"),
        time=float(time),
        run_id=_text(found, "run_id"),
        host=_text(found, "host"),
        agent=_text(found, "agent"),
        sequence=_whole(found, "sequence"),
        generation=_whole(found, "generation"),
        facts=facts,
    )


_MOST = 2.0**53
"""Numbers from here on are no facts; infinity and what is no number neither."""

_LAST_TIME = 2.0**36
"""Seconds of the last time that is believed: in the year 4147."""


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key, "")
    return value if isinstance(value, str) else ""


def _whole(found: dict[str, Any], key: str) -> int:
    value = found.get(key, 0)
    return value if type(value) is int and value >= 0 else 0
