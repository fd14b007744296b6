"""What programs call: a function or a command, launched as an elastic job."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from elaunch import standard_streams
from elaunch.agent.messages import Result
from elaunch.config import LaunchConfig
from elaunch.errors import UsageError
from elaunch.events import EventRecorder
from elaunch.launcher.launch import Launch
from elaunch.launcher.loop import run_to_end
from elaunch.launcher.ports import Ports
from elaunch.launcher.settled import settled
from elaunch.plugins import load_plugins
from elaunch.workers import CommandEntry, FunctionEntry, WorkerEntry


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
    config = settled(config)
    config.environment_settings.check_devices(os.environ, config.nproc_per_node)
    ports = Ports(config, plugins)
    spawner = ports.spawner()
    spawner.prepare(entry)
    launch = Launch(config, entry, ports, spawner, recorders)
    return _unwrap(run_to_end(launch.run, config.agent_signals))


def _unwrap(result: Result) -> dict[int, Any]:
    if result.error:
        raise result.error
    return dict(result.values)
