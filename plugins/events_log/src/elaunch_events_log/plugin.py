"""What this distribution provides; imports nothing heavy."""

from collections.abc import Iterable
from typing import Any

from elaunch.api import (
    Command,
    CommandParameters,
    CommandProvider,
    EventRecorder,
    EventRecorderProvider,
    NoOptions,
    RecorderParameters,
)
from elaunch.hookspecs import hookimpl


_OPTIONS = "elaunch_events_log.options"


def _null(_parameters: RecorderParameters, _options: Any) -> EventRecorder:
    from elaunch_events_log.null import NullRecorder

    return NullRecorder()


def _console(_parameters: RecorderParameters, options: Any) -> EventRecorder:
    from elaunch_events_log.console import ConsoleRecorder
    from elaunch_events_log.formats import FORMATS

    return ConsoleRecorder(FORMATS[options.format]())


def _jsonl(parameters: RecorderParameters, options: Any) -> EventRecorder:
    from elaunch_events_log.jsonl import open_jsonl

    return open_jsonl(options, parameters)


def _logging(parameters: RecorderParameters, options: Any) -> EventRecorder:
    from elaunch_events_log.loggers import open_logging

    return open_logging(options, parameters)


def _torchelastic(parameters: RecorderParameters, options: Any) -> EventRecorder:
    from elaunch_events_log.loggers import open_torchelastic

    return open_torchelastic(options, parameters)


def _create_command(params: CommandParameters, _options: NoOptions) -> Command:
    from elaunch_events_log.command import EventsCommand

    return EventsCommand(params.prog)


@hookimpl
def elaunch_register_event_recorders() -> Iterable[EventRecorderProvider]:
    """Declare the recorders."""
    return (
        EventRecorderProvider("null", "keeps nothing", _null),
        EventRecorderProvider(
            "console",
            "one readable line each on stderr",
            _console,
            f"{_OPTIONS}:ConsoleOptions",
        ),
        EventRecorderProvider(
            "jsonl", "JSON lines in a file", _jsonl, f"{_OPTIONS}:JsonlOptions"
        ),
        EventRecorderProvider(
            "logging",
            "records of a standard logger",
            _logging,
            f"{_OPTIONS}:LoggingOptions",
        ),
        EventRecorderProvider(
            "torchelastic",
            "what torchelastic records, where it does",
            _torchelastic,
            f"{_OPTIONS}:TorchelasticOptions",
        ),
    )


@hookimpl
def elaunch_register_commands() -> Iterable[CommandProvider]:
    """Declare ``elaunch events``."""
    return (
        CommandProvider(
            name="events",
            summary="tell the story of a run from the events of all its nodes",
            create=_create_command,
        ),
    )
