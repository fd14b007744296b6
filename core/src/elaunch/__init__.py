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
    from elaunch.errors import (
        ChildFailedError,
        DuplicateBackend,
        ElaunchError,
        InvalidProvider,
        InvalidTransition,
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
    from elaunch.plugins import load_plugins
    from elaunch.rendezvous import (
        Membership,
        RendezvousHandler,
        RendezvousParameters,
    )
    from elaunch.worker import record

_HOMES = {
    "LaunchConfig": "elaunch.config",
    "ChildFailedError": "elaunch.errors",
    "DuplicateBackend": "elaunch.errors",
    "ElaunchError": "elaunch.errors",
    "InvalidProvider": "elaunch.errors",
    "InvalidTransition": "elaunch.errors",
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
    "load_plugins": "elaunch.plugins",
    "Membership": "elaunch.rendezvous",
    "RendezvousHandler": "elaunch.rendezvous",
    "RendezvousParameters": "elaunch.rendezvous",
    "record": "elaunch.worker",
}
"""Where each public name lives: it is imported when it is first used."""

__all__ = [
    "ChildFailedError",
    "DuplicateBackend",
    "ElaunchError",
    "InvalidProvider",
    "InvalidTransition",
    "LaunchConfig",
    "Membership",
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
    "RendezvousParameters",
    "RendezvousTimeout",
    "RendezvousUnreachable",
    "SignalException",
    "SpawnError",
    "UnknownBackend",
    "UsageError",
    "WorkersLeft",
    "elastic_launch",
    "get_rdzv_handler",
    "launch_agent",
    "load_plugins",
    "record",
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
