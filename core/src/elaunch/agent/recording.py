"""Recording: from one call to every recorder, each isolated from the others."""

import logging
import os
import threading
import time
from collections.abc import Sequence

import attrs

from elaunch.agent.twins import Twins
from elaunch.events import Event, EventName, EventRecorder, Source, Value


logger = logging.getLogger(__name__)


def new_agent_id() -> str:
    """Return an id that no other agent has."""
    return os.urandom(4).hex()


@attrs.define(eq=False, repr=False)
class Recording:
    """Tells every recorder what happens in one job.

    Attributes:
        run_id: Id of the job.
        recorders: Who is told. One that raises is told nothing more.
        agent: Id of this agent.
        twins: Adds what torchelastic would say.
    """

    run_id: str
    recorders: Sequence[EventRecorder]
    agent: str
    twins: Twins
    _sequence: int = attrs.field(default=0, init=False)
    _generation: int = attrs.field(default=0, init=False)
    _disabled: set[int] = attrs.field(factory=set, init=False)
    # Threads of a store may record, too; a recorder that does so while it is told is
    # the same thread.
    _lock: threading.RLock = attrs.field(factory=threading.RLock, init=False)

    def __call__(self, name: EventName, /, **metadata: Value) -> None:
        """Record one event."""
        worker = name.startswith("worker.")
        with self._lock:
            if len(self._disabled) == len(self.recorders):
                return  # and none of it is made for nobody
            if name is EventName.GENERATION_JOINED:
                self._generation = int(str(metadata["generation"]))
            event = Event(
                name=name,
                run_id=self.run_id,
                metadata={
                    **metadata,
                    **self.twins.added(name, metadata, time.monotonic()),
                },
                source=Source.WORKER if worker else Source.AGENT,
                agent=self.agent,
                sequence=self._sequence,
                generation=self._generation,
            )
            self._sequence += 1
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
