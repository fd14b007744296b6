"""How one event reads: as JSON, as torchelastic's JSON, or as a line for people."""

import datetime as dt
import json
from collections.abc import Callable, Iterable

from elaunch.api import Event


Format = Callable[[Event], Iterable[str]]
"""Returns the lines of one event, without newlines."""


def document(event: Event) -> dict[str, object]:
    """Return an event as what JSON knows."""
    return {
        "schema": event.schema,
        "name": str(event.name),
        "source": str(event.source),
        "timestamp": event.timestamp,
        "run_id": event.run_id,
        "host": event.host,
        "agent": event.agent,
        "sequence": event.sequence,
        "generation": event.generation,
        "metadata": dict(event.metadata),
    }


def as_json(event: Event) -> Iterable[str]:
    """Return the whole event as one JSON object."""
    return (json.dumps(document(event)),)


def as_text(event: Event) -> Iterable[str]:
    """Return an event as one line: local time, source, name, facts."""
    when = dt.datetime.fromtimestamp(event.timestamp, dt.UTC).astimezone()
    clock = when.isoformat(sep=" ", timespec="milliseconds")
    return (f"{clock} {event.source.lower()} {event.name}{shown(event)}",)


def shown(event: Event) -> str:
    """Return the facts of an event, each with a space before it."""
    return "".join(f" {key}={_value(val)}" for key, val in event.facts.items())


def _value(value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and " " not in value
    # JSON otherwise: it keeps a text with newlines in one line.
    return str(value) if plain and value else json.dumps(value)


def torchelastic() -> Format:
    """Return what turns the events of one agent into torchelastic's JSON."""
    from elaunch.api import Translation

    translation = Translation()
    return lambda event: [twin.serialize() for twin in translation.statuses(event)]


FORMATS: dict[str, Callable[[], Format]] = {
    "json": lambda: as_json,
    "text": lambda: as_text,
    "torchelastic": torchelastic,
}
"""Every format by its name; each recorder has one of its own."""
