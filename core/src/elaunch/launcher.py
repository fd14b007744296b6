"""The launcher: the only place where names become objects."""

import asyncio
import concurrent.futures
import logging
import os
import re
import secrets
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import attrs

from elaunch import standard_streams
from elaunch.addresses import advertised_address, given_address
from elaunch.agent.agent import Agent
from elaunch.agent.messages import Result
from elaunch.agent.notices import Notices
from elaunch.agent.recording import Recording
from elaunch.bootstrap import Bootstrap, BootstrapParameters
from elaunch.config import LaunchConfig
from elaunch.errors import ChildFailedError, ElaunchError, UsageError
from elaunch.events import Event, EventName, EventRecorder, RecorderParameters
from elaunch.failure_file import (
    file_beside_logs,
    tell_outer_launcher,
    temporary_file,
    write_failure,
)
from elaunch.interfaces import interface_addresses
from elaunch.log_layout import LogLayout, LogLayoutParameters, run_name
from elaunch.monitor import Monitor, MonitorParameters
from elaunch.options import parse_spec
from elaunch.plugins import Plugins, load_plugins
from elaunch.policy import PolicyParameters
from elaunch.rendezvous import (
    JobSettings,
    NodeFacts,
    RendezvousHandler,
    RendezvousParameters,
)
from elaunch.signals import notice_signal, stop_signal
from elaunch.slots import given_slot
from elaunch.spawner import Spawner, SpawnerParameters
from elaunch.workers import CommandEntry, FunctionEntry, WorkerEntry


logger = logging.getLogger(__name__)

_RUN_ID = re.compile(r"[^/\x00-\x1f]{1,200}")


def get_rdzv_handler(
    params: RendezvousParameters, *, plugins: Plugins | None = None
) -> RendezvousHandler:
    """Return the rendezvous handler that a plugin provides for these parameters.

    Args:
        params: Backend, endpoint, run id, and so on.
        plugins: Where to look it up; by default everything that is installed.

    Raises:
        UnknownBackend: If no plugin provides it; tells how to get it.
        PluginError: If the plugin that provides it can't be used.
        UsageError: If an option in ``params.config`` is unknown or wrong.
    """
    found = plugins or load_plugins()
    return found.rendezvous.create(params.backend, params, params.config)


class elastic_launch:  # noqa: N801 - the name that users of torchelastic know
    """Launch a function or a command as an elastic job; call it with the arguments.

    >>> from elaunch import LaunchConfig, elastic_launch
    >>> config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2)
    >>> elastic_launch(config, pow)(2, 5)
    {0: 32, 1: 32}

    Args:
        config: How to launch.
        entrypoint: A function, called in each worker, or the path of a program.
        recorders: Event recorders beside those that the configuration names.
    """

    def __init__(
        self,
        config: LaunchConfig,
        entrypoint: Callable[..., Any] | str,
        *,
        recorders: Sequence[EventRecorder] = (),
    ) -> None:
        self._config = config
        self._entrypoint = entrypoint
        self._recorders = recorders

    def __call__(self, *args: Any) -> dict[int, Any]:
        """Run the job and return what this node's workers returned, by global rank.

        Raises:
            ChildFailedError: If workers failed and the restart budget is spent.
            Preempted: If this process got SIGTERM, or workers ended for a preemption.
            SignalException: If this process was told to stop by another signal.
            ElaunchError: If the job could not be formed or was lost.
        """
        entry = make_entry(self._entrypoint, args)
        return launch_agent(self._config, entry, recorders=self._recorders)


def make_entry(
    entrypoint: Callable[..., Any] | str, args: Sequence[Any]
) -> WorkerEntry:
    """Return what workers run, from a function or a program and its arguments."""
    if isinstance(entrypoint, str):
        argv = (entrypoint, *(str(arg) for arg in args))
        return CommandEntry(argv, name=entrypoint)
    name = getattr(entrypoint, "__qualname__", repr(entrypoint))
    return FunctionEntry(entrypoint, tuple(args), name=name)


def launch_agent(
    config: LaunchConfig, entry: WorkerEntry, *, recorders: Sequence[EventRecorder] = ()
) -> dict[int, Any]:
    """Run one agent to its end; blocks.

    In the main thread the agent handles SIGINT, SIGTERM, SIGHUP and SIGQUIT meanwhile.
    Inside a running event loop it runs in a thread of its own.

    Args:
        config: How to launch.
        entry: What the workers run.
        recorders: Event recorders beside those that the configuration names.

    Raises:
        ElaunchError: As for `elastic_launch`.
    """
    if sys.platform == "win32":
        raise UsageError(
            "elaunch runs on Linux and macOS; on Windows, use it inside WSL"
        )
    standard_streams.open_closed()
    plugins = load_plugins(config.block_plugins)
    config = _settled(config)
    config.environment_settings.check_devices(os.environ, config.nproc_per_node)
    params = SpawnerParameters(
        run_id=config.run_id,
        start=config.start_settings,
        binding=config.binding_settings,
        stacks=config.stack_settings,
        notice_signal=notice_signal(config.notice_signal),
        output=config.output_settings,
        log_layout=_log_layout(config, plugins),
    )
    spawner = plugins.spawners.build(config.spawner, "--spawner", params)
    spawner.prepare(entry)
    launch = _Launch(config, entry, plugins, spawner, recorders)
    if not _loop_is_running():
        return _unwrap(asyncio.run(launch.run()))
    with concurrent.futures.ThreadPoolExecutor(1, "elaunch-agent") as thread:
        return _unwrap(thread.submit(asyncio.run, launch.run()).result())


def _log_layout(config: LaunchConfig, plugins: Plugins) -> LogLayout | None:
    layouts = plugins.log_layouts
    params = LogLayoutParameters(
        run_id=run_name(config.run_id, config.rdzv_endpoint),
        output=config.output_settings,
    )
    if config.logs_specs:
        return layouts.create("logs-specs", params, {"name": config.logs_specs})
    if config.log_layout == "default" and "default" not in layouts:
        return None  # another spawner may do without
    return layouts.build(config.log_layout, "--log-layout", params)


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _settled(config: LaunchConfig) -> LaunchConfig:
    """Fill in what a job of one node may leave open."""
    run_id = config.run_id or secrets.token_hex(8)
    if not _RUN_ID.fullmatch(run_id):
        raise UsageError(
            f"the run id must be 1 to 200 characters without '/', not {run_id!r}"
        )
    endpoint = config.rdzv_endpoint or "localhost:0"
    report = config.failure_file
    if not report and config.log_dir not in ("", os.devnull):
        report = file_beside_logs(config.log_dir, run_name(run_id, endpoint))
    return config.evolve(
        run_id=run_id,
        rdzv_endpoint=endpoint,
        failure_file=report or temporary_file(),
    )


def _unwrap(result: Result) -> dict[int, Any]:
    if result.error:
        raise result.error
    return dict(result.values)


@attrs.define(eq=False)
class _Stacks:
    """A recorder that keeps the files of the last stacks that were written down."""

    files: Sequence[str] = ()

    def record(self, event: Event) -> None:
        if event.name == EventName.GROUP_STOPPING and "files" in event.metadata:
            self.files = cast("Sequence[str]", event.metadata["files"])

    def close(self) -> None:
        """Nothing is held."""


@attrs.frozen(eq=False)
class _Launch:
    """One launch: resolves every name before anything starts."""

    config: LaunchConfig
    entry: WorkerEntry
    plugins: Plugins
    spawner: Spawner
    recorders: Sequence[EventRecorder]

    async def run(self) -> Result:
        """Build the ports, run the agent, tell the outcome, close the recorders."""
        config = self.config
        stacks = _Stacks()
        recording = Recording(
            config.run_id, (stacks, *self.recorders, *self._named_recorders())
        )
        try:
            result = await self._agent(recording, await self._node(recording))
            if isinstance(result.error, ChildFailedError):
                error = await asyncio.to_thread(self._keep, result.error, stacks.files)
                result = attrs.evolve(result, error=error)
            await self._tell(recording, result.error)
        except BaseException as error:
            await self._tell(recording, error)
            raise
        finally:
            await self.spawner.close()
            recording.close()
        return result

    async def _node(self, recording: Recording) -> NodeFacts:
        config = self.config
        slot = given_slot(os.environ, config.node_rank, config.max_nodes)
        if slot:
            logger.info("%s gives this node the group rank %d", slot.source, slot.rank)
        if config.local_addr:
            found = given_address(config.local_addr)
        else:
            found = await advertised_address(config.rdzv_endpoint, config.max_nodes)
        recording(EventName.NODE_ADDRESS, address=found.address, rule=found.rule)
        return NodeFacts(
            host=socket.gethostname(),
            address=found.address,
            # A node that is alone meets nobody, and starts at once.
            addresses=interface_addresses() if config.max_nodes > 1 else (),
            local_world_size=config.nproc_per_node,
            role=config.role,
            slot=slot.rank if slot else None,
        )

    async def _agent(self, recording: Recording, node: NodeFacts) -> Result:
        config, plugins = self.config, self.plugins
        params = RendezvousParameters(
            backend=config.rdzv_backend,
            endpoint=config.rdzv_endpoint,
            run_id=config.run_id,
            min_nodes=config.min_nodes,
            max_nodes=config.max_nodes,
            local_addr=config.local_addr,
            config=config.rdzv_configs,
            node=node,
            settings=JobSettings(
                min_nodes=config.min_nodes,
                max_nodes=config.max_nodes,
                max_restarts=config.max_restarts,
                restart_policy=config.restart_policy,
                shutdown_timeout=config.shutdown_timeout,
            ),
            policy=plugins.policies.build(
                config.restart_policy,
                "--restart-policy",
                PolicyParameters(config.max_restarts),
            ),
            record=recording,
        )
        agent = Agent(
            bootstrap=self._bootstrap(node),
            monitors=self._monitors(),
            spawner=self.spawner,
            handler=get_rdzv_handler(params, plugins=plugins),
            entry=self.entry,
            node=node,
            max_restarts=config.max_restarts,
            notices=Notices(
                host=node.host,
                stop_signal=stop_signal(config.stop_signal),
                shutdown_timeout=config.shutdown_timeout,
                dump_stacks=config.dump_stacks,
            ),
            notice_signal=notice_signal(config.notice_signal),
            line_prefix=config.log_line_prefix_template,
            record=recording,
            environment=config.environment_settings,
        )
        return await agent.run()

    def _bootstrap(self, node: NodeFacts) -> Bootstrap:
        name, options = parse_spec(self.config.bootstrap, "--bootstrap")
        if name == "auto":
            name = "c10d" if "c10d" in self.plugins.bootstraps else "port"
        params = BootstrapParameters(self.config.run_id, node.address)
        return self.plugins.bootstraps.create(name, params, options)

    def _monitors(self) -> list[Monitor]:
        params = MonitorParameters(self.config.run_id)
        return [
            self.plugins.monitors.build(spec, "--monitor", params)
            for spec in self.config.monitors
        ]

    def _named_recorders(self) -> list[EventRecorder]:
        params = RecorderParameters(self.config.run_id)
        return [
            self.plugins.recorders.build(spec, "--event-recorder", params)
            for spec in self.config.event_recorders
        ]

    def _keep(self, error: ChildFailedError, stacks: Sequence[str]) -> ChildFailedError:
        """Write the report of a failed job, and return the error that tells of it."""
        error = attrs.evolve(error, stacks=tuple(stacks))
        wanted = str(Path(self.config.failure_file).absolute())
        path = write_failure(error, self.config.run_id, wanted, temporary_file())
        return attrs.evolve(error, report=path)

    async def _tell(self, recording: Recording, error: BaseException | None) -> None:
        if error:
            await asyncio.to_thread(tell_outer_launcher, error, os.environ)
        if isinstance(error, ChildFailedError):
            rank, first = error.get_first_failure()
            recording(
                EventName.JOB_FAILED,
                rank=rank,
                host=first.host,
                exitcode=first.exitcode,
                ending=first.ending.value,
                message=first.message,
                location=first.location,
                report=error.report,
            )
        elif error is None:
            recording(EventName.JOB_SUCCEEDED)
        status = error.status if isinstance(error, ElaunchError) else int(bool(error))
        recording(
            EventName.AGENT_FINISHED, status=status, error=str(error) if error else ""
        )
