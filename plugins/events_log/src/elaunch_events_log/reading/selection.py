"""Which events somebody wants to see."""

import datetime as dt
import fnmatch
import re
import time
from collections.abc import Sequence

import attrs

from elaunch_events_log.reading.entry import Entry


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@attrs.frozen(kw_only=True)
class Selection:
    """What an event must be like; what is empty does not matter.

    Attributes:
        ranks: Global ranks it is about.
        hosts: Host or agent that recorded it.
        names: Patterns of its name.
        source: Who it is about.
        generations: Generations in which it happened.
        runs: Ids of jobs.
        since: Unix time before which nothing matters.
        until: Unix time after which nothing matters.
    """

    ranks: frozenset[int] = frozenset()
    hosts: frozenset[str] = frozenset()
    names: Sequence[str] = ()
    source: str = ""
    generations: frozenset[int] = frozenset()
    runs: frozenset[str] = frozenset()
    since: float | None = None
    until: float | None = None

    def __bool__(self) -> bool:
        return self != Selection()

    def wants(self, entry: Entry) -> bool:
        """Whether an event is wanted."""
        return (
            (not self.ranks or not self.ranks.isdisjoint(_ranks(entry)))
            and (not self.hosts or not self.hosts.isdisjoint((entry.host, entry.agent)))
            and (
                not self.names
                or any(fnmatch.fnmatchcase(entry.name, each) for each in self.names)
            )
            and (not self.source or entry.source == self.source)
            and (not self.generations or entry.generation in self.generations)
            and (not self.runs or entry.run_id in self.runs)
            and (self.since is None or entry.time >= self.since)
            and (self.until is None or entry.time <= self.until)
        )


def _ranks(entry: Entry) -> Sequence[int | None]:
    return (entry.whole("rank"), *entry.numbers("ranks"))


def numbers(text: str) -> frozenset[int]:
    """Read ``0-3,5``.

    Raises:
        ValueError: If it is something else.
    """
    found: set[int] = set()
    for part in text.split(","):
        shape = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        first, last = int(shape[1]) if shape else 0, 0
        if shape:
            last = int(shape[2] or shape[1])
        if not shape or not first <= last < first + 1_000_000:
            raise ValueError(f"numbers are written like '0-3,5', not {text!r}")
        found.update(range(first, last + 1))
    return frozenset(found)


def moment(text: str) -> float:
    """Read a time: Unix seconds, ISO 8601 (local unless it says more), or ``10m`` ago.

    Raises:
        ValueError: If it is something else.
    """
    ago = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text)
    if ago:
        return time.time() - float(ago[1]) * _UNITS[ago[2]]
    if re.fullmatch(r"\d{1,11}(\.\d{1,9})?", text):
        return float(text)
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise ValueError(
            f"a time is written like '2026-01-31T12:00', as Unix seconds, or like "
            f"'10m' (ago: s, m, h or d), not {text!r}"
        ) from None
