"""The recorder `console`."""

import sys

import attrs

from elaunch.api import Event
from elaunch_events_log.closing import Closing
from elaunch_events_log.formats import FORMATS, Format


@attrs.define(eq=False)
class ConsoleRecorder(Closing):
    """Writes one line for each event to stderr.

    Attributes:
        format: How an event reads.
    """

    format: Format = attrs.field(factory=FORMATS["text"])

    def record(self, event: Event) -> None:
        """Write an event.

        Raises:
            ValueError: If the recorder is closed, or stderr is.
            OSError: If stderr can't be written to.
        """
        self.check_open()
        for line in self.format(event):
            # One write with its newline, so that lines of others don't get between.
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
