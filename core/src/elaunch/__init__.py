"""The elastic launcher for distributed Python jobs.

>>> from elaunch import LaunchConfig, elastic_launch
>>> config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2)
>>> elastic_launch(config, pow)(2, 5)
{0: 32, 1: 32}
"""

import importlib
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from elaunch.config import LaunchConfig
    from elaunch.elastic.agent.server import RunResult, WorkerSpec, WorkerState
    from elaunch.elastic.multiprocessing import (
        DefaultLogsSpecs,
        LogsSpecs,
        start_processes,
    )
    from elaunch.elastic.rendezvous import RendezvousInfo
    from elaunch.errors import (
        ChildFailedError,
        DuplicateBackend,
        ElaunchError,
        HandedBack,
        InvalidProvider,
        InvalidTransition,
        NodeDrained,
        NodeNotAdmitted,
        PluginError,
        PluginFailed,
        Preempted,
        QuorumLost,
        RendezvousClosed,
        RendezvousCorrupt,
        RendezvousError,
        RendezvousGracefulExit,
        RendezvousTimeout,
        RendezvousUnreachable,
        SignalException,
        SpawnError,
        UnknownBackend,
        UsageError,
        WorkersLeft,
    )
    from elaunch.failures import ProcessFailure
    from elaunch.launcher import elastic_launch, get_rdzv_handler, launch_agent
    from elaunch.output import Std
    from elaunch.plugins import load_plugins
    from elaunch.rendezvous import (
        Membership,
        RendezvousHandler,
        RendezvousParameters,
    )
    from elaunch.worker import is_torchelastic_launched, record

_HOMES = {
    "LaunchConfig": "elaunch.config",
    "RunResult": "elaunch.elastic.agent.server",
    "WorkerSpec": "elaunch.elastic.agent.server",
    "WorkerState": "elaunch.elastic.agent.server",
    "DefaultLogsSpecs": "elaunch.elastic.multiprocessing",
    "LogsSpecs": "elaunch.elastic.multiprocessing",
    "start_processes": "elaunch.elastic.multiprocessing",
    "RendezvousInfo": "elaunch.elastic.rendezvous",
    "EtcdServer": "elaunch.elastic.rendezvous.etcd_server",
    "ChildFailedError": "elaunch.errors",
    "DuplicateBackend": "elaunch.errors",
    "ElaunchError": "elaunch.errors",
    "HandedBack": "elaunch.errors",
    "InvalidProvider": "elaunch.errors",
    "InvalidTransition": "elaunch.errors",
    "NodeDrained": "elaunch.errors",
    "NodeNotAdmitted": "elaunch.errors",
    "PluginError": "elaunch.errors",
    "PluginFailed": "elaunch.errors",
    "Preempted": "elaunch.errors",
    "QuorumLost": "elaunch.errors",
    "RendezvousClosed": "elaunch.errors",
    "RendezvousCorrupt": "elaunch.errors",
    "RendezvousError": "elaunch.errors",
    "RendezvousGracefulExit": "elaunch.errors",
    "RendezvousTimeout": "elaunch.errors",
    "RendezvousUnreachable": "elaunch.errors",
    "SignalException": "elaunch.errors",
    "SpawnError": "elaunch.errors",
    "UnknownBackend": "elaunch.errors",
    "UsageError": "elaunch.errors",
    "WorkersLeft": "elaunch.errors",
    "ProcessFailure": "elaunch.failures",
    "elastic_launch": "elaunch.launcher",
    "get_rdzv_handler": "elaunch.launcher",
    "launch_agent": "elaunch.launcher",
    "Std": "elaunch.output",
    "load_plugins": "elaunch.plugins",
    "Membership": "elaunch.rendezvous",
    "RendezvousHandler": "elaunch.rendezvous",
    "RendezvousParameters": "elaunch.rendezvous",
    "is_torchelastic_launched": "elaunch.worker",
    "record": "elaunch.worker",
}
"""Where each public name lives: it is imported when it is first used.

`EtcdServer` needs a plugin, so ``from elaunch import *`` leaves it out.
"""

__all__ = [
    "ChildFailedError",
    "DefaultLogsSpecs",
    "DuplicateBackend",
    "ElaunchError",
    "HandedBack",
    "InvalidProvider",
    "InvalidTransition",
    "LaunchConfig",
    "LogsSpecs",
    "Membership",
    "NodeDrained",
    "NodeNotAdmitted",
    "PluginError",
    "PluginFailed",
    "Preempted",
    "ProcessFailure",
    "QuorumLost",
    "RendezvousClosed",
    "RendezvousCorrupt",
    "RendezvousError",
    "RendezvousGracefulExit",
    "RendezvousHandler",
    "RendezvousInfo",
    "RendezvousParameters",
    "RendezvousTimeout",
    "RendezvousUnreachable",
    "RunResult",
    "SignalException",
    "SpawnError",
    "Std",
    "UnknownBackend",
    "UsageError",
    "WorkerSpec",
    "WorkerState",
    "WorkersLeft",
    "elastic_launch",
    "get_rdzv_handler",
    "is_torchelastic_launched",
    "launch_agent",
    "load_plugins",
    "record",
    "start_processes",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("elaunch")
    if name not in _HOMES:
        raise AttributeError(f"module 'elaunch' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
