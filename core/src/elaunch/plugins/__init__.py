"""The plugins that are installed, as typed catalogues: name -> provider."""

import functools
import os
from collections.abc import Collection, Sequence
from typing import Any

import attrs

from elaunch.api import (
    Bootstrap,
    BootstrapParameters,
    Command,
    CommandParameters,
    EventRecorder,
    LogLayout,
    LogLayoutParameters,
    MetricHandler,
    MetricHandlerParameters,
    Monitor,
    MonitorParameters,
    PolicyParameters,
    Preflight,
    PreflightParameters,
    RecorderParameters,
    RendezvousHandler,
    RendezvousParameters,
    RestartPolicy,
    Scheduler,
    SchedulerParameters,
    Spawner,
    SpawnerParameters,
)
from elaunch.plugins.catalogue import Catalogue, Registered
from elaunch.plugins.loader import Plugin, Status, load


BLOCK_VARIABLE = "ELAUNCH_BLOCK_PLUGINS"
"""Environment variable with plugin names to block, separated by commas."""


@attrs.frozen
class Plugins:
    """Everything that is installed.

    Attributes:
        loaded: Each entry point and how loading it went.
    """

    loaded: Sequence[Plugin]

    @property
    def rendezvous(self) -> Catalogue[RendezvousParameters, RendezvousHandler]:
        """Rendezvous backends."""
        return self._catalogue("rendezvous")

    @property
    def spawners(self) -> Catalogue[SpawnerParameters, Spawner]:
        """Spawners."""
        return self._catalogue("spawner")

    @property
    def monitors(self) -> Catalogue[MonitorParameters, Monitor]:
        """Monitors."""
        return self._catalogue("monitor")

    @property
    def recorders(self) -> Catalogue[RecorderParameters, EventRecorder]:
        """Event recorders."""
        return self._catalogue("event recorder")

    @property
    def bootstraps(self) -> Catalogue[BootstrapParameters, Bootstrap]:
        """Worker bootstraps."""
        return self._catalogue("bootstrap")

    @property
    def policies(self) -> Catalogue[PolicyParameters, RestartPolicy]:
        """Restart policies."""
        return self._catalogue("restart policy")

    @property
    def log_layouts(self) -> Catalogue[LogLayoutParameters, LogLayout]:
        """Log layouts."""
        return self._catalogue("log layout")

    @property
    def metric_handlers(self) -> Catalogue[MetricHandlerParameters, MetricHandler]:
        """Metric handlers."""
        return self._catalogue("metric handler")

    @property
    def commands(self) -> Catalogue[CommandParameters, Command]:
        """Subcommands."""
        return self._catalogue("command")

    @property
    def schedulers(self) -> Catalogue[SchedulerParameters, Scheduler]:
        """Schedulers."""
        return self._catalogue("scheduler")

    @property
    def preflights(self) -> Catalogue[PreflightParameters, Preflight]:
        """Checks of a node."""
        return self._catalogue("preflight")

    def _catalogue(self, kind: str) -> Catalogue[Any, Any]:
        registered: dict[str, list[Registered[Any, Any]]] = {}
        for plugin in self.loaded:
            for provider in plugin.providers.get(kind, ()):
                entry = Registered(provider, plugin)
                registered.setdefault(provider.name, []).append(entry)
        return Catalogue(kind, registered, self.loaded)


def load_plugins(block: Collection[str] = ()) -> Plugins:
    """Load the plugins that are installed; once per process for the same ``block``.

    Args:
        block: Names of plugins or distributions to leave alone, beside those that
            ``ELAUNCH_BLOCK_PLUGINS`` names.
    """
    named = os.environ.get(BLOCK_VARIABLE, "").split(",")
    wanted = {name.strip() for name in (*block, *named)} - {""}
    return _load_once(frozenset(wanted))


@functools.cache
def _load_once(block: frozenset[str]) -> Plugins:
    return Plugins(load(block))


__all__ = ["Catalogue", "Plugin", "Plugins", "Registered", "Status", "load_plugins"]
