"""What the core itself provides, declared like any plugin's."""

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

from elaunch.api import (
    BootstrapParameters,
    BootstrapProvider,
    BudgetOptions,
    BudgetPolicy,
    MetricHandler,
    MetricHandlerParameters,
    MetricHandlerProvider,
    Monitor,
    MonitorParameters,
    MonitorProvider,
    NoOptions,
    PolicyParameters,
    PreflightProvider,
    Provider,
    RendezvousOptions,
    RendezvousParameters,
    RendezvousProvider,
    RestartPolicy,
    RestartPolicyProvider,
    Scheduler,
    SchedulerParameters,
    SchedulerProvider,
    Store,
    StoreRendezvous,
    UsageError,
)
from elaunch.bootstraps import JaxBootstrap, NoBootstrap, PortBootstrap
from elaunch.hookspecs import hookimpl
from elaunch.metrics import ConsoleMetricHandler, NullMetricHandler
from elaunch.preflights.providers import PREFLIGHTS


if TYPE_CHECKING:
    from elaunch.monitors.options import (
        DeadlineOptions,
        HeartbeatOptions,
        OutputOptions,
        StragglerOptions,
    )
    from elaunch.monitors.section_options import SectionsOptions
    from elaunch.watchdog import TimerOptions


_MONITOR_OPTIONS = "elaunch.monitors.options"


@attrs.frozen(kw_only=True)
class FileOptions(RendezvousOptions):
    """Options of the rendezvous ``file``, beside those that every rendezvous has.

    Attributes:
        poll_interval: Seconds between two looks at the directory.
    """

    poll_interval: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))

    @property
    def sees_connections(self) -> bool:
        """Nobody is connected to a directory."""
        return False


def _create_file(params: RendezvousParameters, options: FileOptions) -> StoreRendezvous:
    # A name alone could be a host: meant for another backend, or filled in.
    if "/" not in params.endpoint:
        raise UsageError(
            f"backend 'file' meets in a directory that all nodes see, written with "
            f"a '/', for example --rdzv-endpoint ./meet, not {params.endpoint!r}"
        )

    async def open_store() -> Store:
        from elaunch.api import FileStore

        return await FileStore.connect(
            params.endpoint, poll_interval=options.poll_interval
        )

    return StoreRendezvous(open_store, params, options)


def _create_port(params: BootstrapParameters, _: NoOptions) -> PortBootstrap:
    return PortBootstrap(params.address)


def _create_jax(params: BootstrapParameters, _: NoOptions) -> JaxBootstrap:
    return JaxBootstrap(params.address)


def _create_none(_: BootstrapParameters, __: NoOptions) -> NoBootstrap:
    return NoBootstrap()


def _create_null(_: MetricHandlerParameters, __: NoOptions) -> MetricHandler:
    return NullMetricHandler()


def _create_console(_: MetricHandlerParameters, __: NoOptions) -> MetricHandler:
    return ConsoleMetricHandler()


def _create_default(params: PolicyParameters, options: BudgetOptions) -> RestartPolicy:
    return BudgetPolicy(params.max_restarts, options, params.on_failure)


def _create_mpi(_: SchedulerParameters, __: NoOptions) -> Scheduler:
    from elaunch.schedulers.mpi import Mpi

    return Mpi()


def _create_slurm(_: SchedulerParameters, __: NoOptions) -> Scheduler:
    from elaunch.schedulers.slurm import Slurm

    return Slurm()


def _create_pbs(_: SchedulerParameters, __: NoOptions) -> Scheduler:
    from elaunch.schedulers.pbs import Pbs

    return Pbs()


def _create_kubernetes(params: SchedulerParameters, _: NoOptions) -> Scheduler:
    from elaunch.schedulers.kubernetes import Kubernetes

    return Kubernetes(params.host)


@hookimpl
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare ``file``."""
    return (
        Provider(
            "file", "nodes meet in a directory that all see", _create_file, FileOptions
        ),
    )


@hookimpl
def elaunch_register_bootstraps() -> Iterable[BootstrapProvider]:
    """Declare ``port``, ``jax`` and ``none``."""
    return (
        Provider(
            "port", "a free port on the first node, for rank 0 to open", _create_port
        ),
        Provider(
            "jax", "a free port likewise, for JAX's coordinator in rank 0", _create_jax
        ),
        Provider("none", "nothing: workers need not find each other", _create_none),
    )


def _create_timer(params: MonitorParameters, options: "TimerOptions") -> Monitor:
    from elaunch.timer.pipe import is_read
    from elaunch.watchdog import TIMER_FILE, Watchdog

    told = os.environ.get(TIMER_FILE, "")
    # A launcher around this one may have told its workers of its own.
    path = options.path or ("" if is_read(told) else told)
    watchdog = Watchdog(params.record, path)
    if path:
        watchdog.environment()  # where it can't be made, nothing is started
    return watchdog


def _create_output(params: MonitorParameters, options: "OutputOptions") -> Monitor:
    from elaunch.monitors.output import Output

    return Output(params, options)


def _create_heartbeat(
    params: MonitorParameters, options: "HeartbeatOptions"
) -> Monitor:
    from elaunch.monitors.heartbeat import Heartbeat

    return Heartbeat(params, options)


def _create_sections(params: MonitorParameters, options: "SectionsOptions") -> Monitor:
    from elaunch.monitors.sections import Sections

    return Sections(params, options)


def _create_straggler(
    params: MonitorParameters, options: "StragglerOptions"
) -> Monitor:
    from elaunch.monitors.straggler import Straggler

    return Straggler(params, options)


def _create_deadline(_: MonitorParameters, options: "DeadlineOptions") -> Monitor:
    from elaunch.monitors.deadline import Deadline

    if not options.job and not options.generation:
        raise UsageError(
            "monitor 'deadline' has no limit; write for example "
            "--monitor deadline:job=3600, or generation=3600"
        )
    return Deadline(options)


@hookimpl
def elaunch_register_monitors() -> Iterable[MonitorProvider]:
    """Declare ``timer`` and those of what workers say of themselves."""
    return (
        Provider(
            "timer",
            "kills workers whose timers (elaunch.timer, torch's too) expire",
            _create_timer,
            "elaunch.watchdog:TimerOptions",
        ),
        Provider(
            "heartbeat",
            "finds workers that say nothing any more",
            _create_heartbeat,
            f"{_MONITOR_OPTIONS}:HeartbeatOptions",
        ),
        Provider(
            "sections",
            "finds sections of workers' code that take too long; always there",
            _create_sections,
            "elaunch.monitors.section_options:SectionsOptions",
        ),
        Provider(
            "output",
            "workers that write nothing, or not what they should",
            _create_output,
            f"{_MONITOR_OPTIONS}:OutputOptions",
        ),
        Provider(
            "straggler",
            "reports how long steps take, and names who is always slow",
            _create_straggler,
            f"{_MONITOR_OPTIONS}:StragglerOptions",
        ),
        Provider(
            "deadline",
            "limits the time of the job, or of a generation",
            _create_deadline,
            f"{_MONITOR_OPTIONS}:DeadlineOptions",
        ),
    )


@hookimpl
def elaunch_register_restart_policies() -> Iterable[RestartPolicyProvider]:
    """Declare ``default``."""
    summary = "restart while --max-restarts and budgets of its own last"
    return (Provider("default", summary, _create_default, BudgetOptions),)


@hookimpl
def elaunch_register_metric_handlers() -> Iterable[MetricHandlerProvider]:
    """Declare ``null`` and ``console``."""
    return (
        Provider("null", "keeps nothing", _create_null),
        Provider("console", "one line each on stdout", _create_console),
    )


@hookimpl
def elaunch_register_schedulers() -> Iterable[SchedulerProvider]:
    """Declare those that come with elaunch, the nearest to a process first.

    ``mpirun`` starts processes within a job of Slurm or PBS, whose variables they have,
    too.
    """
    return (
        SchedulerProvider(
            "mpi",
            "processes that mpirun or mpiexec started, one to a node",
            _create_mpi,
            markers=("OMPI_COMM_WORLD_RANK", "PMI_RANK", "MV2_COMM_WORLD_RANK"),
        ),
        SchedulerProvider(
            "slurm",
            "tasks that srun started, one to a node",
            _create_slurm,
            markers=("SLURM_JOB_ID",),
        ),
        SchedulerProvider(
            "pbs",
            "tasks that pbsdsh started, one to a node",
            _create_pbs,
            markers=("PBS_JOBID",),
        ),
        SchedulerProvider(
            "kubernetes",
            "pods of Indexed Jobs, JobSets and PyTorchJobs",
            _create_kubernetes,
            markers=("JOB_COMPLETION_INDEX", "KUBERNETES_SERVICE_HOST"),
        ),
    )


@hookimpl
def elaunch_register_preflights() -> Iterable[PreflightProvider]:
    """Declare ``disk``, ``memory``, ``clock``, ``endpoint`` and ``command``."""
    return PREFLIGHTS
