"""What this distribution provides; imports nothing heavy."""

from collections.abc import Iterable
from typing import Any

from elaunch.api import (
    LogLayout,
    LogLayoutParameters,
    LogLayoutProvider,
    Monitor,
    MonitorParameters,
    MonitorProvider,
    Spawner,
    SpawnerParameters,
    SpawnerProvider,
)
from elaunch.hookspecs import hookimpl


PROCESS_INTERVAL = 5.0
"""Seconds between two looks of the monitor ``process`` at least, if nobody asks."""

_OPTIONS = "elaunch_spawn_local.options"


def _local(parameters: SpawnerParameters, _options: Any) -> Spawner:
    from elaunch_spawn_local.local import LocalSpawner

    return LocalSpawner(
        parameters.run_id,
        parameters.start,
        parameters.binding,
        parameters.stacks,
        parameters.notice_signal,
        parameters.output,
        parameters.log_layout,
        parameters.output_feed,
    )


def _process(parameters: MonitorParameters, options: Any) -> Monitor:
    from elaunch_spawn_local.process_monitor import ProcessMonitor

    return ProcessMonitor(
        interval=options.interval or max(PROCESS_INTERVAL, parameters.interval),
        max_rss=options.max_rss,
        max_zombies=options.max_zombies,
        max_stuck=options.max_stuck,
    )


def _default_layout(parameters: LogLayoutParameters, _options: Any) -> LogLayout:
    from elaunch_spawn_local.output.layout import DefaultLayout

    return DefaultLayout(parameters)


def _logs_specs(parameters: LogLayoutParameters, options: Any) -> LogLayout:
    from elaunch_spawn_local.output.logs_specs import create

    return create(options.name, parameters)


@hookimpl
def elaunch_register_spawners() -> Iterable[SpawnerProvider]:
    """Declare the spawner ``local``."""
    return (SpawnerProvider("local", "worker processes on this host", _local),)


@hookimpl
def elaunch_register_monitors() -> Iterable[MonitorProvider]:
    """Declare the monitor ``process``."""
    summary = "workers that are stopped, stuck, too big, or keep zombies"
    return (
        MonitorProvider(
            "process",
            summary,
            _process,
            f"{_OPTIONS}:ProcessMonitorOptions",
        ),
    )


@hookimpl
def elaunch_register_log_layouts() -> Iterable[LogLayoutProvider]:
    """Declare the log layouts ``default`` and ``logs-specs``."""
    default = "RUN/GENERATION/RANK/{stdout,stderr}.log"
    theirs = "a plugin for torchelastic, by its name"
    return (
        LogLayoutProvider("default", default, _default_layout),
        LogLayoutProvider(
            "logs-specs",
            theirs,
            _logs_specs,
            f"{_OPTIONS}:LogsSpecsOptions",
        ),
    )
