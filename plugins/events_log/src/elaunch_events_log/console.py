"""The recorder `console`."""

import datetime as dt
import json
import sys

import attrs

from elaunch.api import Event
from elaunch_events_log.closing import Closing


@attrs.define(eq=False)
class ConsoleRecorder(Closing):
    """Writes one readable line for each event to stderr."""

    def record(self, event: Event) -> None:
        """Write an event.

        Raises:
            ValueError: If the recorder is closed, or stderr is.
            OSError: If stderr can't be written to.
        """
        self.check_open()
        # One write with its newline, so that lines of others don't get between.
        sys.stderr.write(f"{render(event)}\n")
        sys.stderr.flush()


def render(event: Event) -> str:
    """Return an event as one line: local time, source, name, facts."""
    when = dt.datetime.fromtimestamp(event.timestamp, dt.UTC).astimezone()
    clock = when.isoformat(sep=" ", timespec="milliseconds")
    facts = "".join(f" {key}={_shown(v)}" for key, v in event.metadata.items())
    return f"{clock} {event.source.lower()} {event.name}{facts}"


def _shown(value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and " " not in value
    # JSON otherwise: it keeps a text with newlines in one line.
    return str(value) if plain and value else json.dumps(value)
