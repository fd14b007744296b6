"""Groups of processes on this host, their output, and how they end."""

import importlib
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from elaunch.elastic.multiprocessing.errors import ProcessFailure
    from elaunch.elastic.multiprocessing.logs_specs import (
        DefaultLogsSpecs,
        LogsDest,
        LogsSpecs,
        to_map,
    )
    from elaunch.elastic.multiprocessing.processes import (
        PContext,
        RunProcsResult,
        start_processes,
    )
    from elaunch.errors import SignalException
    from elaunch.output import Std

_HOMES = {
    "DefaultLogsSpecs": "elaunch.elastic.multiprocessing.logs_specs",
    "LogsDest": "elaunch.elastic.multiprocessing.logs_specs",
    "LogsSpecs": "elaunch.elastic.multiprocessing.logs_specs",
    "PContext": "elaunch.elastic.multiprocessing.processes",
    "ProcessFailure": "elaunch.elastic.multiprocessing.errors",
    "RunProcsResult": "elaunch.elastic.multiprocessing.processes",
    "SignalException": "elaunch.errors",
    "Std": "elaunch.output",
    "start_processes": "elaunch.elastic.multiprocessing.processes",
    "to_map": "elaunch.elastic.multiprocessing.logs_specs",
}
"""Where each name lives: a worker imports `record` from here, and none of these."""

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


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
