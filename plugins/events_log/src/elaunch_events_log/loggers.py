"""The recorders `logging` and `torchelastic`: any handler of the site keeps events."""

import logging
from collections import deque
from collections.abc import Callable

import attrs

from elaunch.api import Event, RecorderParameters, Translation, torchelastic_logger
from elaunch_events_log.background import BackgroundRecorder
from elaunch_events_log.formats import FORMATS, Format, document
from elaunch_events_log.options import LoggingOptions, TorchelasticOptions


@attrs.define(eq=False)
class LoggerSink:
    """Hands events to a logger.

    Attributes:
        name: What messages call it.
        log: Logs one event.
        written: How many were logged.
    """

    name: str
    log: Callable[[Event], None]
    written: int = attrs.field(default=0, init=False)
    _events: deque[Event] = attrs.field(factory=deque, init=False)

    def put(self, event: Event) -> None:
        """Take an event."""
        self._events.append(event)

    def flush(self) -> None:
        """Log what was put."""
        while self._events:
            self.log(self._events.popleft())
            self.written += 1

    def close(self) -> None:
        """The handlers are not ours."""


def open_logging(
    options: LoggingOptions, _params: RecorderParameters
) -> BackgroundRecorder:
    """Return a recorder that hands each event to a logger.

    A record has the whole event, as `docs/events.md` has it, in its ``event``.
    """
    to_lines: Format = FORMATS[options.format]()
    logger = logging.getLogger(options.logger)
    level = getattr(logging, options.level.upper())

    def log(event: Event) -> None:
        for line in to_lines(event):
            logger.log(level, "%s", line, extra={"event": document(event)})

    sink = LoggerSink(f"the logger {options.logger!r}", log)
    return BackgroundRecorder(sink, limit=options.queue)


def open_torchelastic(
    options: TorchelasticOptions, _params: RecorderParameters
) -> BackgroundRecorder:
    """Return a recorder that records what torchelastic would, where it would.

    Raises:
        UsageError: If there is no such destination.
    """
    translation = Translation()
    statuses = torchelastic_logger(options.destination)
    rendezvous = torchelastic_logger("dynamic_rendezvous")

    def log(event: Event) -> None:
        for status in translation.statuses(event):
            statuses.info(status.serialize())
        if told := translation.rendezvous(event):
            rendezvous.info(told.serialize())

    sink = LoggerSink(f"the destination {options.destination!r}", log)
    return BackgroundRecorder(sink, limit=options.queue)
