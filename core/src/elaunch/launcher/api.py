"""What programs call: a function or a command, launched as an elastic job."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from elaunch import standard_streams
from elaunch.agent.messages import Result
from elaunch.config import LaunchConfig
from elaunch.errors import UsageError
from elaunch.events import EventRecorder
from elaunch.launcher.launch import Launch
from elaunch.launcher.loop import run_to_end
from elaunch.launcher.ports import Ports
from elaunch.launcher.settled import settled
from elaunch.plugins import Plugins, load_plugins
from elaunch.workers import CommandEntry, FunctionEntry, ScriptEntry, WorkerEntry


__all__ = ["LaunchConfig", "elastic_launch", "launch_agent"]


class _HealthCheckServer(Protocol):
    """What answers who asks how the program is, from before the launch on."""

    def stop(self) -> None:
        """End it."""


class elastic_launch:  # noqa: N801 - the name that users of torchelastic know
    """Launch a function or a command as an elastic job; call it with the arguments.

    >>> from elaunch import LaunchConfig, elastic_launch
    >>> config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2)
    >>> elastic_launch(config, pow)(2, 5)
    {0: 32, 1: 32}

    Args:
        config: How to launch.
        entrypoint: A function, called in each worker, or the path of a program, or
            what workers run as one value.
        health_check_server: A server of the program's own, which has started it; it is
            stopped when the agent has ended.
        recorders: Event recorders beside those that the configuration names.
    """

    def __init__(
        self,
        config: LaunchConfig,
        entrypoint: "Entrypoint",
        health_check_server: _HealthCheckServer | None = None,
        *,
        recorders: Sequence[EventRecorder] = (),
    ) -> None:
        self._config = config
        self._entrypoint = entrypoint
        self._health_check_server = health_check_server
        self._recorders = recorders

    def __call__(self, *args: Any) -> dict[int, Any]:
        """Run the job and return what this node's workers returned, by global rank.

        Raises:
            ChildFailedError: If workers failed and the restart budget is spent.
            Preempted: If this process got SIGTERM, or workers ended for a preemption.
            SignalException: If this process was told to stop by another signal.
            ElaunchError: If the job could not be formed or was lost.
        """
        return launch_agent(
            self._config,
            self._entrypoint,
            args,
            self._health_check_server,
            recorders=self._recorders,
        )


Entrypoint = Callable[..., Any] | str | WorkerEntry
"""What can be launched: a function, the path of a program, or either as one value."""


def make_entry(entrypoint: Entrypoint | None, args: Sequence[Any] = ()) -> WorkerEntry:
    """Return what workers run, from a function or a program and its arguments.

    Reports call it as torchelastic does: a function by its name, an interpreter by what
    it runs, any other program by its path.

    Raises:
        UsageError: If there is nothing to run, or an entry gets arguments beside those
            that it has.
    """
    if isinstance(entrypoint, CommandEntry | ScriptEntry | FunctionEntry):
        if args:
            raise UsageError(
                f"{entrypoint.name!r} is an entry with arguments of its own; give "
                f"{list(args)!r} to it"
            )
        return entrypoint
    if isinstance(entrypoint, str) and entrypoint:
        words = tuple(str(arg) for arg in args)
        return CommandEntry((entrypoint, *words), name=_program_name(entrypoint, words))
    if not callable(entrypoint):
        raise UsageError(
            f"an entrypoint is a function or the path of a program, not {entrypoint!r}"
        )
    name = getattr(entrypoint, "__name__", repr(entrypoint))
    return FunctionEntry(entrypoint, tuple(args), name=name)


def _program_name(program: str, words: Sequence[str]) -> str:
    if program != sys.executable:
        return program
    return next((word for word in words if not word.startswith("-")), program)


def launch_agent(
    config: LaunchConfig,
    entrypoint: Entrypoint | None,
    args: Sequence[Any] = (),
    health_check_server: _HealthCheckServer | None = None,
    *,
    recorders: Sequence[EventRecorder] = (),
) -> dict[int, Any]:
    """Run one agent to its end; blocks.

    In the main thread the agent handles SIGINT, SIGTERM, SIGHUP and SIGQUIT meanwhile.
    Inside a running event loop it runs in a thread of its own.

    Args:
        config: How to launch.
        entrypoint: A function, called in each worker, or the path of a program, or
            what workers run as one value.
        args: Arguments of the function or the program.
        health_check_server: As for `elastic_launch`.
        recorders: Event recorders beside those that the configuration names.

    Returns:
        What this node's workers returned, by global rank; `None` for programs.

    Raises:
        ElaunchError: As for `elastic_launch`.
    """
    try:
        return _unwrap(run_agent(config, make_entry(entrypoint, args), recorders))
    finally:
        if health_check_server:
            health_check_server.stop()


def run_agent(
    config: LaunchConfig,
    entry: WorkerEntry,
    recorders: Sequence[EventRecorder] = (),
    new_ports: Callable[[LaunchConfig, Plugins], Ports] = Ports,
) -> Result:
    """Run one agent to its end and return how that was; blocks.

    Args:
        config: How to launch.
        entry: What the workers run.
        recorders: Event recorders beside those that the configuration names.
        new_ports: Returns what builds the ports that a settled configuration names.

    Raises:
        ElaunchError: If what is asked for can't be done.
    """
    if sys.platform == "win32":
        raise UsageError(
            "elaunch runs on Linux and macOS; on Windows, use it inside WSL"
        )
    standard_streams.open_closed()
    plugins = load_plugins(config.block_plugins)
    config = settled(config)
    config.environment_settings.check_devices(os.environ, config.nproc_per_node)
    ports = new_ports(config, plugins)
    spawner = ports.spawner()
    spawner.prepare(entry)
    launch = Launch(config, entry, ports, spawner, recorders)
    return run_to_end(launch.run, config.agent_signals)


def _unwrap(result: Result) -> dict[int, Any]:
    if result.error:
        raise result.error
    return dict(result.values)
