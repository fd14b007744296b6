"""One agent with a rendezvous that a program has built itself."""

import socket
from collections.abc import Collection, Mapping
from typing import Any

import attrs

from elaunch.blocking.adapter import BlockingRendezvous
from elaunch.bootstrap import Bootstrap
from elaunch.config import LaunchConfig
from elaunch.elastic.agent.server.api import RunResult, WorkerSpec, WorkerState
from elaunch.elastic.rendezvous.own import OwnRendezvous
from elaunch.errors import ChildFailedError
from elaunch.events import Record
from elaunch.launcher.api import make_entry, run_agent
from elaunch.launcher.ports import Ports
from elaunch.rendezvous import (
    JobSettings,
    NodeFacts,
    RendezvousHandler,
    RendezvousParameters,
)


_ANYWHERE = "given by the program"
_MANY = 1 << 20
"""Most nodes, since only the rendezvous knows how many."""


class LocalElasticAgent:
    """Runs a worker spec on this host, with the rendezvous of the spec.

    Args:
        spec: What to run.
        logs_specs: Chooses the files of workers' output; `None` for none.
        start_method: How the processes of a function come to be.
        exit_barrier_timeout: Seconds to wait for the others when all workers have
            succeeded.
        log_line_prefix_template: What each line begins with on the console.
        shutdown_timeout: Seconds between the signal to stop and SIGKILL.
    """

    def __init__(  # noqa: PLR0913 - the signature that torchelastic's users know
        self,
        spec: WorkerSpec,
        logs_specs: Any = None,
        start_method: str = "spawn",
        exit_barrier_timeout: float = 300,
        log_line_prefix_template: str | None = None,
        *,
        shutdown_timeout: float | None = None,
    ) -> None:
        self._spec = spec
        self._config = LaunchConfig(
            **_meeting(spec),
            nproc_per_node=spec.local_world_size,
            logs_specs=logs_specs or "",
            run_id=spec.rdzv_handler.get_run_id(),
            role=spec.role,
            rdzv_backend=spec.rdzv_handler.get_backend(),
            max_restarts=spec.max_restarts,
            monitor_interval=spec.monitor_interval,
            start_method=start_method,
            log_line_prefix_template=log_line_prefix_template,
            event_log_handler=spec.event_log_handler,
            numa_options=spec.numa_options,
            duplicate_stdout_filters=spec.duplicate_stdout_filters,
            duplicate_stderr_filters=spec.duplicate_stderr_filters,
            virtual_local_rank=spec.virtual_local_rank,
            shutdown_timeout=shutdown_timeout,
            exit_barrier_timeout=exit_barrier_timeout,
        )

    def run(self) -> RunResult:
        """Run it to its end; blocks. The rendezvous is left to who built it.

        Raises:
            SignalException: If a signal ends this process.
            Preempted: If SIGTERM does, or workers have ended for a preemption.
            ElaunchError: If the nodes can't meet, or the workers can't be started.
        """
        spec = self._spec
        entry = make_entry(spec.entrypoint or spec.fn, spec.args)
        result = run_agent(
            self._config,
            entry,
            new_ports=lambda config, plugins: _Ports(config, plugins, spec),
        )
        if isinstance(result.error, ChildFailedError):
            return RunResult(WorkerState.FAILED, failures=result.error.failures)
        if result.error:
            raise result.error
        return RunResult(WorkerState.SUCCEEDED, return_values=result.values)


def _meeting(spec: WorkerSpec) -> dict[str, Any]:
    """Return the fields of a configuration that the spec's handler settles."""
    if isinstance(spec.rdzv_handler, OwnRendezvous):
        params = spec.rdzv_handler.params
        return {
            "min_nodes": params.min_nodes,
            "max_nodes": params.max_nodes,
            "rdzv_endpoint": params.endpoint,
            "rdzv_configs": params.config,
            "local_addr": spec.local_addr or params.local_addr,
        }
    return {
        "min_nodes": 1,
        "max_nodes": _MANY,
        "rdzv_endpoint": _ANYWHERE,
        "local_addr": spec.local_addr or socket.gethostname(),
    }


@attrs.frozen
class _Ports(Ports):
    """The ports of a configuration, but for those that a spec brings."""

    spec: WorkerSpec

    def handler(self, node: NodeFacts, record: Record) -> RendezvousHandler:
        if isinstance(self.spec.rdzv_handler, OwnRendezvous):
            return super().handler(node, record)
        config = self.config
        params = RendezvousParameters(
            backend=config.rdzv_backend,
            run_id=config.run_id,
            max_nodes=config.max_nodes,
            local_addr=config.local_addr,
            node=node,
            settings=JobSettings(min_nodes=1, max_nodes=config.max_nodes),
            policy=self.policy(),
            interval=config.monitor_interval,
            record=record,
        )
        return BlockingRendezvous(lambda: self.spec.rdzv_handler, params, closes=False)

    def bootstrap(self, node: NodeFacts) -> Bootstrap:
        if self.spec.master_addr and self.spec.master_port:
            return _Given(self.spec.master_addr, self.spec.master_port)
        return super().bootstrap(node)


@attrs.frozen
class _Given:
    """A place that worker rank 0 is to open; see `elaunch.api.Bootstrap`."""

    address: str
    port: int

    @property
    def is_open(self) -> bool:
        """Nothing: the store is in a worker, and ends with it."""
        return False

    async def open(
        self,
        generation: int,  # noqa: ARG002 - the port's signature
        peers: Collection[str],  # noqa: ARG002 - the port's signature
    ) -> Mapping[str, str]:
        """Tell the place."""
        return {"address": self.address, "port": str(self.port)}

    def environment(self, info: Mapping[str, str]) -> Mapping[str, str]:
        """Return the address for worker rank 0 to open."""
        return {
            "MASTER_ADDR": info["address"],
            "MASTER_PORT": info["port"],
            "TORCHELASTIC_USE_AGENT_STORE": "False",
        }

    async def close(self) -> None:
        """Nothing is open."""
