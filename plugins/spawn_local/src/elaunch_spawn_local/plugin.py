"""What this distribution provides; imports nothing heavy."""

from collections.abc import Iterable
from typing import Any

import attrs

from elaunch.api import (
    Monitor,
    MonitorParameters,
    MonitorProvider,
    Spawner,
    SpawnerParameters,
    SpawnerProvider,
)
from elaunch.hookspecs import hookimpl


@attrs.frozen
class ProcessMonitorOptions:
    """Options of the monitor ``process``.

    Attributes:
        interval: Seconds between two looks at the workers.
        max_rss: Resident bytes above which a worker is unhealthy; 0 for no limit.
    """

    interval: float = attrs.field(default=5.0, validator=attrs.validators.gt(0))
    max_rss: int = attrs.field(default=0, validator=attrs.validators.ge(0))


def _local(parameters: SpawnerParameters, _options: Any) -> Spawner:
    from elaunch_spawn_local.local import LocalSpawner

    return LocalSpawner(
        parameters.run_id, parameters.start, parameters.binding, parameters.stacks
    )


def _process(_parameters: MonitorParameters, options: Any) -> Monitor:
    from elaunch_spawn_local.process_monitor import ProcessMonitor

    return ProcessMonitor(options.interval, options.max_rss)


@hookimpl
def elaunch_register_spawners() -> Iterable[SpawnerProvider]:
    """Declare the spawner ``local``."""
    return (SpawnerProvider("local", "worker processes on this host", _local),)


@hookimpl
def elaunch_register_monitors() -> Iterable[MonitorProvider]:
    """Declare the monitor ``process``."""
    summary = "stopped, stuck and oversized worker processes"
    return (MonitorProvider("process", summary, _process, ProcessMonitorOptions),)
