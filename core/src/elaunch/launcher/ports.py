"""From the names in a configuration to the ports that an agent is given."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs

from elaunch.bootstrap import Bootstrap, BootstrapParameters
from elaunch.channel.sockets import Channel
from elaunch.config import LaunchConfig
from elaunch.events import EventRecorder, Record, RecorderParameters
from elaunch.feed import Feed
from elaunch.launcher.switches import always_on, switched_on
from elaunch.log_layout import LogLayout, LogLayoutParameters, run_name
from elaunch.monitor import MonitorParameters, NamedMonitor
from elaunch.options import parse_spec
from elaunch.plugins import Plugins, load_plugins
from elaunch.policy import PolicyParameters, RestartPolicy
from elaunch.preflight import NamedPreflight, PreflightOptions, PreflightParameters
from elaunch.rendezvous import (
    JobSettings,
    NodeFacts,
    RendezvousHandler,
    RendezvousParameters,
)
from elaunch.spawner import Spawner, SpawnerParameters, StackSettings
from elaunch.vitals import Pace
from elaunch.worker_message import OutputBlock, WorkerMessage


Spec: TypeAlias = tuple[str, Mapping[str, str]]
"""Name and options of a backend."""


def get_rdzv_handler(
    params: RendezvousParameters, *, plugins: Plugins | None = None
) -> RendezvousHandler:
    """Return the rendezvous handler that a plugin provides for these parameters.

    A name that no plugin of elaunch provides may be that of a plugin for torchelastic
    (`elaunch.blocking`), or of a creator that the program has registered.

    Args:
        params: Backend, endpoint, run id, and so on.
        plugins: Where to look it up; by default everything that is installed.

    Raises:
        UnknownBackend: If no plugin provides it; tells how to get it.
        PluginError: If the plugin that provides it can't be used.
        UsageError: If an option in ``params.config`` is unknown or wrong.
    """
    found = plugins or load_plugins()
    if params.backend not in found.rendezvous:
        from elaunch.blocking import registry  # which is seldom needed

        if registry.known(params.backend):
            return registry.adapted(params)
    return found.rendezvous.create(params.backend, params, params.config)


@attrs.frozen
class Ports:
    """Builds each port that a settled configuration names.

    Attributes:
        config: The configuration.
        plugins: Where names are looked up.
        messages: What workers tell.
        output: What they write.
        paces: How long steps take on this node.
    """

    config: LaunchConfig
    plugins: Plugins
    messages: Feed[WorkerMessage] = attrs.field(factory=Feed, init=False)
    output: Feed[OutputBlock] = attrs.field(factory=Feed, init=False)
    paces: Feed[Pace] = attrs.field(factory=Feed, init=False)

    def spawner(self) -> Spawner:
        """Return who starts the workers."""
        config = self.config
        params = SpawnerParameters(
            run_id=config.run_id,
            start=config.start_settings,
            binding=config.binding_settings,
            stacks=self._stack_settings(),
            notice_signal=config.agent_signals.notice,
            output=config.output_settings,
            log_layout=self._log_layout(),
            output_feed=self.output,
        )
        return self.plugins.spawners.build(config.spawner, "--spawner", params)

    def handler(self, node: NodeFacts, record: Record) -> RendezvousHandler:
        """Return this node's side of the rendezvous."""
        config = self.config
        params = RendezvousParameters(
            backend=config.rdzv_backend,
            endpoint=config.rdzv_endpoint,
            run_id=config.run_id,
            min_nodes=config.min_nodes,
            max_nodes=config.max_nodes,
            local_addr=config.local_addr,
            config=config.rendezvous_options,
            node=node,
            settings=JobSettings(
                min_nodes=config.min_nodes,
                max_nodes=config.max_nodes,
                max_restarts=config.max_restarts,
                restart_policy=config.restart_policy,
                on_failure=config.on_failure,
                shutdown_timeout=config.shutdown_timeout,
            ),
            policy=self.policy(),
            interval=config.monitor_interval,
            record=record,
        )
        return get_rdzv_handler(params, plugins=self.plugins)

    def policy(self) -> RestartPolicy:
        """Return who decides what follows from a failure."""
        config = self.config
        params = PolicyParameters(config.max_restarts, config.on_failure)
        return self.plugins.policies.build(
            config.restart_policy, "--restart-policy", params
        )

    def bootstrap(self, node: NodeFacts) -> Bootstrap:
        """Return what the workers need to find each other."""
        name, options = self.bootstrap_spec
        params = BootstrapParameters(self.config.run_id, node.address)
        return self.plugins.bootstraps.create(name, params, options)

    def channel(self) -> Channel:
        """Return what hears the workers."""
        return Channel(self.messages)

    def monitors(
        self, record: Record, job_pace: Callable[[], Pace | None]
    ) -> list[NamedMonitor]:
        """Return who watches the workers.

        Args:
            record: Told of what they do.
            job_pace: Returns how long steps take in the whole job, if that is known.
        """
        config, monitors = self.config, self.plugins.monitors
        params = MonitorParameters(
            config.run_id,
            config.monitor_interval,
            record,
            messages=self.messages,
            output=self.output,
            paces=self.paces,
            job_pace=job_pace,
        )
        return [
            NamedMonitor(
                parse_spec(spec, "--monitor")[0],
                monitors.build(spec, "--monitor", params),
            )
            for spec in self.monitor_specs
        ]

    def preflights(self, record: Record) -> list[NamedPreflight]:
        """Return what this node must pass to take a place."""
        config, preflights = self.config, self.plugins.preflights
        params = PreflightParameters(
            run_id=config.run_id,
            backend=config.rdzv_backend,
            endpoint=config.rdzv_endpoint,
            log_dir="" if config.log_dir == os.devnull else config.log_dir,
            record=record,
        )
        found = []
        for spec in config.preflights:
            preflight = preflights.build(spec, "--preflight", params)
            name, _ = parse_spec(spec, "--preflight")
            options: object = getattr(preflight, "options", None)
            if not isinstance(options, PreflightOptions):
                why = f"preflight {name!r} must have 'options', a PreflightOptions"
                raise preflights.failed(name, f"{why}, not {options!r}")
            found.append(NamedPreflight(name, preflight, options))
        return found

    def recorders(self, agent: str) -> list[EventRecorder]:
        """Return who keeps the events of an agent, given its id."""
        params = RecorderParameters(self.config.run_id, agent)
        return [
            self.plugins.recorders.build(spec, "--event-recorder", params)
            for spec in self.config.all_event_recorders
        ]

    def _stack_settings(self) -> StackSettings:
        settings, named = self.config.stack_settings, self.config.monitors
        # Who asked for a monitor wants to know where a worker hangs.
        watched = bool(named or switched_on(named, os.environ))
        return attrs.evolve(settings, prepare=settings.prepare or watched)

    def _log_layout(self) -> LogLayout | None:
        config, layouts = self.config, self.plugins.log_layouts
        params = LogLayoutParameters(
            run_id=run_name(config.run_id, config.rdzv_endpoint),
            output=config.output_settings,
        )
        found = self.layout_spec
        if found is None:
            return None
        if config.logs_specs and not isinstance(config.logs_specs, str):
            params = attrs.evolve(params, specs=config.logs_specs)
        name, options = found
        return layouts.create(name, params, options)

    @property
    def bootstrap_spec(self) -> Spec:
        """Name and options of the bootstrap."""
        name, options = parse_spec(self.config.bootstrap, "--bootstrap")
        if name == "auto":
            name = "c10d" if "c10d" in self.plugins.bootstraps else "port"
        return name, options

    @property
    def monitor_specs(self) -> Sequence[str]:
        """Monitors as they are named, with those that are added to them."""
        named = self.config.monitors
        return (*named, *switched_on(named, os.environ), *always_on(named))

    @property
    def layout_spec(self) -> Spec | None:
        """Name and options of the log layout; `None` if the spawner does without."""
        specs, layout = self.config.logs_specs, self.config.log_layout
        if specs:
            return "logs-specs", {"name": specs} if isinstance(specs, str) else {}
        if layout == "default" and "default" not in self.plugins.log_layouts:
            return None
        return parse_spec(layout, "--log-layout")
