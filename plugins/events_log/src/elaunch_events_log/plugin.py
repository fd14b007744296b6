"""What this distribution provides; imports nothing heavy."""

from collections.abc import Iterable
from typing import Any

import attrs

from elaunch.api import EventRecorder, EventRecorderProvider, RecorderParameters
from elaunch.hookspecs import hookimpl


@attrs.frozen
class JsonlOptions:
    """Options of the recorder ``jsonl``.

    Attributes:
        path: File to append to; ``{run_id}`` in it stands for the job's id.
    """

    path: str = attrs.field(
        default="elaunch-events.jsonl", validator=attrs.validators.min_len(1)
    )


def _null(_parameters: RecorderParameters, _options: Any) -> EventRecorder:
    from elaunch_events_log.null import NullRecorder

    return NullRecorder()


def _console(_parameters: RecorderParameters, _options: Any) -> EventRecorder:
    from elaunch_events_log.console import ConsoleRecorder

    return ConsoleRecorder()


def _jsonl(parameters: RecorderParameters, options: Any) -> EventRecorder:
    from elaunch_events_log.jsonl import open_jsonl

    return open_jsonl(options.path, parameters.run_id)


@hookimpl
def elaunch_register_event_recorders() -> Iterable[EventRecorderProvider]:
    """Declare the recorders ``null``, ``console`` and ``jsonl``."""
    return (
        EventRecorderProvider("null", "keeps nothing", _null),
        EventRecorderProvider("console", "one readable line each on stderr", _console),
        EventRecorderProvider("jsonl", "JSON lines in a file", _jsonl, JsonlOptions),
    )
