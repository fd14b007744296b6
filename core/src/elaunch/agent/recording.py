"""Recording: from one call to every recorder, each isolated from the others."""

import logging
from collections.abc import Sequence

import attrs

from elaunch.events import Event, EventName, EventRecorder, Source, Value


logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class Recording:
    """Tells every recorder what happens in one job.

    Attributes:
        run_id: Id of the job.
        recorders: Who is told. One that raises is told nothing more.
    """

    run_id: str
    recorders: Sequence[EventRecorder]
    _disabled: set[int] = attrs.field(factory=set, init=False)

    def __call__(self, name: EventName, /, **metadata: Value) -> None:
        """Record one event."""
        worker = name.startswith("worker.")
        event = Event(
            name=name,
            run_id=self.run_id,
            metadata=metadata,
            source=Source.WORKER if worker else Source.AGENT,
        )
        for index, recorder in enumerate(self.recorders):
            if index not in self._disabled:
                self._tell(index, recorder, event)

    def close(self) -> None:
        """Close every recorder; what they accepted is written."""
        for recorder in self.recorders:
            try:
                recorder.close()
            except Exception:  # a plugin's fault must not hide the job's outcome
                logger.exception("event recorder %r failed to close", recorder)

    def _tell(self, index: int, recorder: EventRecorder, event: Event) -> None:
        try:
            recorder.record(event)
        except Exception:  # a plugin's fault must not stop the job
            self._disabled.add(index)
            logger.exception("event recorder %r failed and is disabled", recorder)
