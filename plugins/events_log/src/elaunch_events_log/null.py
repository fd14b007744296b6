"""The recorder `null`."""

import attrs

from elaunch.api import Event
from elaunch_events_log.closing import Closing


@attrs.define(eq=False)
class NullRecorder(Closing):
    """Keeps nothing."""

    def record(self, event: Event) -> None:  # noqa: ARG002 - the port's signature
        """Accept an event.

        Raises:
            ValueError: If the recorder is closed.
        """
        self.check_open()
