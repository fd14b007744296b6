"""The same as `elaunch.elastic.multiprocessing`."""

from elaunch.elastic.multiprocessing import (
    DefaultLogsSpecs,
    LogsDest,
    LogsSpecs,
    PContext,
    ProcessFailure,
    RunProcsResult,
    SignalException,
    Std,
    start_processes,
    to_map,
)


__all__ = [
    "DefaultLogsSpecs",
    "LogsDest",
    "LogsSpecs",
    "PContext",
    "ProcessFailure",
    "RunProcsResult",
    "SignalException",
    "Std",
    "start_processes",
    "to_map",
]
