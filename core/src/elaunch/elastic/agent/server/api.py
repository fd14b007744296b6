"""What an agent runs and how that ended, under torchelastic's names."""

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from elaunch.errors import UsageError
from elaunch.failures import ProcessFailure


class WorkerState(enum.StrEnum):
    """Where the workers of a node stand."""

    UNKNOWN = "UNKNOWN"
    INIT = "INIT"
    HEALTHY = "HEALTHY"
    UNHEALTHY = "UNHEALTHY"
    STOPPED = "STOPPED"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"

    @staticmethod
    def is_running(state: "WorkerState") -> bool:
        """Return whether workers in this state are alive."""
        return state in {WorkerState.HEALTHY, WorkerState.UNHEALTHY}


@attrs.frozen
class RunResult:
    """How the workers of a node ended.

    Attributes:
        state: Where they stand.
        return_values: What they returned, by global rank.
        failures: The failures of the whole job, by global rank.
    """

    state: WorkerState
    return_values: Mapping[int, Any] = attrs.field(factory=dict)
    failures: Mapping[int, ProcessFailure] = attrs.field(factory=dict)

    def is_failed(self) -> bool:
        """Return whether workers failed."""
        return self.state is WorkerState.FAILED


@attrs.frozen
class WorkerSpec:
    """What an agent runs.

    Attributes:
        role: Role of the workers.
        local_world_size: Workers of this node.
        rdzv_handler: How nodes meet: what has the methods of
            `elaunch.elastic.rendezvous.RendezvousHandler`.
        fn: Old name of ``entrypoint``.
        entrypoint: A function, called in each worker, or the path of a program.
        args: Its arguments.
        max_restarts: Restarts that failures may cost the job.
        monitor_interval: Seconds between two looks at what tells nothing by itself.
        master_port: Port of the workers' store, with ``master_addr``.
        master_addr: Where the workers' store is, for worker rank 0 to open; `None` for
            one that an agent opens.
        local_addr: Address this node advertises; `None` for its host name.
        event_log_handler: As `elaunch.LaunchConfig.event_log_handler`.
        numa_options: How workers are bound to CPUs.
        duplicate_stdout_filters: Lines with one of these texts are also written to a
            file of their own.
        duplicate_stderr_filters: Likewise for stderr.
        virtual_local_rank: Whether each worker is local rank 0 and sees one device.

    Raises:
        UsageError: If a value is out of range, or there is nothing to run.
    """

    role: str
    local_world_size: int
    rdzv_handler: Any
    fn: Callable[..., Any] | None = None
    entrypoint: Callable[..., Any] | str | None = None
    args: tuple[Any, ...] = attrs.field(default=(), converter=tuple)
    max_restarts: int = 3
    monitor_interval: float = 0.1
    master_port: int | None = None
    master_addr: str | None = None
    local_addr: str | None = None
    event_log_handler: str = "null"
    numa_options: Any = None
    duplicate_stdout_filters: Sequence[str] | None = None
    duplicate_stderr_filters: Sequence[str] | None = None
    virtual_local_rank: bool = False

    def __attrs_post_init__(self) -> None:
        if self.local_world_size < 1:
            raise UsageError(
                f"local_world_size must be at least 1, not {self.local_world_size}"
            )
        if not self.monitor_interval > 0:
            raise UsageError(
                f"monitor_interval must be greater than 0, not {self.monitor_interval}"
            )
        if bool(self.fn) == bool(self.entrypoint):
            raise UsageError("a worker spec has one entrypoint; give it as entrypoint")
        if bool(self.master_addr) != bool(self.master_port):
            raise UsageError(
                f"master_addr {self.master_addr!r} and master_port "
                f"{self.master_port!r} go together; give both, or none"
            )

    def get_entrypoint_name(self) -> str:
        """Return what events call it."""
        entry = self.entrypoint or self.fn
        if isinstance(entry, str):
            return entry.rpartition("/")[2]
        return str(getattr(entry, "__qualname__", repr(entry)))
