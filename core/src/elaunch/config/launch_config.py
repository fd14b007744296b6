"""`LaunchConfig`: everything a launch can be told, validated, in one frozen value."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs

from elaunch.binding import BindingSettings, NumaBinding, mode_of
from elaunch.config.checks import LOG_BACKUPS, check, rows, seconds_to_stop
from elaunch.environ import EnvironmentSettings, names_only
from elaunch.output import OutputSettings, RankSet, StdOrMap, texts
from elaunch.signals import AgentSignals, agent_signals
from elaunch.spawner import StackSettings, StartMethod, StartSettings


NO_EVENT_LOG = "null"
"""The event log handler of torchelastic that keeps nothing."""

THEIR_EVENT_LOGS = ("console", "dynamic_rendezvous")
"""Its others: their events, where consumers of them look for them."""


@attrs.frozen
class LaunchConfig:
    """How to launch a job on this node.

    The fields that torchelastic has come first, in its order, with its defaults but for
    ``rdzv_backend``: its legacy ``etcd`` needs a server, `c10d` does not. Those
    of elaunch's own follow; give them by keyword.

    Attributes:
        min_nodes: Fewest nodes the job runs on.
        max_nodes: Most nodes the job runs on.
        nproc_per_node: Workers on this node.
        logs_specs: What chooses the files of workers' output: a torchelastic logs
            specs plugin by its name, or an object like one (`elaunch.LogsSpecs`,
            torch's own), which brings directory, redirects, tee and local ranks
            filter of its own; empty for ``log_layout``.
        run_id: Id of the job; nodes with the same id meet. Empty for a random one,
            which only a job of one node can use.
        role: Role of this node's workers.
        rdzv_endpoint: Where its store is. Empty for a store of this job's own, which
            only a job of one node can use.
        rdzv_backend: Name of the rendezvous backend.
        rdzv_configs: Options of the backend.
        rdzv_timeout: Seconds a node waits to become a member, as ``timeout`` in
            ``rdzv_configs``, which it replaces; -1 for what that says.
        max_restarts: Restarts that failures may cost the whole job.
        monitor_interval: Seconds between two looks at what tells nothing by itself: a
            rendezvous plugin of torchelastic, timers, and what monitors poll
            (`elaunch.api.MonitorParameters`). Workers and membership are not polled.
        start_method: How workers' processes come to be: ``spawn``, ``fork``,
            ``forkserver`` or ``warm`` (`elaunch.api.StartMethod`).
        log_line_prefix_template: What each line begins with on the console; `None`
            for the rank, and the role if it has a name, where there are several
            workers.
        metrics_cfg: Where the agent's metrics go: under ``handler`` a metric handler,
            as ``NAME[:key=value,...]``. Empty for what `elaunch.metrics.configure` was
            given.
        local_addr: Address this node advertises; `None` to find it by the route to
            the endpoint.
        event_log_handler: One more event recorder, as ``NAME[:key=value,...]``;
            ``null`` for none. ``console`` and ``dynamic_rendezvous`` are torchelastic's
            here: its events, at the place of that name.
        numa_options: Torchelastic's way to give ``numa_binding``: an object with an
            ``affinity_mode``.
        signals_to_handle: Names of the signals that end this agent in good order,
            separated by commas. Of others the system's default holds.
        duplicate_stdout_filters: Lines of stdout with one of these texts are also
            written to a file of their own.
        duplicate_stderr_filters: Likewise for stderr.
        virtual_local_rank: Whether each worker is local rank 0 and sees one device.
        shutdown_timeout: Seconds workers get between the signal to stop and SIGKILL,
            whatever the reason; by default what ``TORCH_ELASTIC_SHUTDOWN_TIMEOUT``
            says, or 30.
        node_rank: Group rank this node should get; `None` for the one that the
            environment gives (`elaunch.slots`), or any.
        failure_file: Where a job that fails leaves its report as JSON; empty for
            ``failure.json`` in the run's directory in ``log_dir``, or without one in a
            new directory under TMPDIR.
        dump_stacks: Seconds in which the stacks of this node's workers are written
            down before these are stopped because of a failure; 0 not to do it, but
            where one of them hangs. They are part of the shutdown timeout.
        stop_signal: Name of the signal to stop.
        notice_signal: Name of the signal that announces a preemption, to this agent and
            by it to the workers of every node; ``none`` for no such signal.
        exit_barrier_timeout: Seconds that this node waits for the others when its
            workers have succeeded, and then leaves with their values; `None` for as
            long as the others take.
        spawner: Spawner, as ``NAME[:key=value,...]``.
        preload: Modules that a server imports once for all workers, with the last two.
        preload_anyway: Whether to go on where that left what does not survive a fork.
        bootstrap: Bootstrap, likewise; ``auto`` is ``c10d`` where it is installed and
            ``port`` otherwise.
        restart_policy: Restart policy, likewise.
        on_failure: What follows from which failure, as rows ``WHEN=THEN``
            (`docs/policies.md`).
        monitors: Monitors, likewise.
        preflights: Checks of this node before it takes a place, likewise.
        event_recorders: Event recorders, likewise.
        log_dir: Directory for workers' output. With it alone all of it is written
            there, beside the console; see `elaunch.output.OutputSettings` for this
            and what follows.
        redirects: Streams that go to files only, as `elaunch.api.Std`, its number, or
            text like ``0:1,1:3`` by local rank.
        tee: Streams that go to files and to the console, likewise.
        local_ranks_filter: Local ranks that the console shows; `None` for all.
        ranks_filter: Global ranks that it shows, likewise.
        log_timestamps: Whether each line begins with the time.
        log_max_bytes: Bytes of a full file; 0 for no limit.
        log_backups: How many full files are kept.
        log_retention: How many generations of the run are kept; 0 for all.
        log_layout: Log layout, as ``NAME[:key=value,...]``.
        debug_rank: Global rank that gets the terminal; `None` for none.
        health_check: Where the agent tells over HTTP that it is well, as ``HOST:PORT``
            or a ``PORT`` of 127.0.0.1; empty for what the environment says
            (TORCHELASTIC_HEALTH_CHECK_PORT), or nowhere.
        control: Where the agent can be asked and told what to do, beside a UNIX socket
            in its user's directory: ``unix`` for nowhere, or ``HOST:PORT`` (see
            `docs/control.md`); ``none`` for not at all.
        block_plugins: Names of plugins that must not be loaded.
        numa_binding: How workers are bound to CPUs, a word of
            `elaunch.api.NumaBinding`; `None` leaves them unbound.
        threads: Threads of each worker's parallel libraries (`OMP_NUM_THREADS`);
            `None` for what the environment says, or this node's CPUs / its workers.
        env: Variables to add to each worker's environment; values may be templates.
        device_variables: Variables that show a worker its device then; by default
            those that are known and set, or ``CUDA_VISIBLE_DEVICES``.

    Raises:
        UsageError: If a value is out of range, or several nodes are to meet without
            an endpoint or an id.
    """

    min_nodes: int
    max_nodes: int
    nproc_per_node: int
    logs_specs: Any = ""
    run_id: str = ""
    role: str = "default_role"
    rdzv_endpoint: str = ""
    rdzv_backend: str = "c10d"
    rdzv_configs: Mapping[str, Any] = attrs.field(factory=dict)
    rdzv_timeout: float = -1
    max_restarts: int = 3
    monitor_interval: float = 0.1
    start_method: str = "spawn"
    log_line_prefix_template: str | None = None
    metrics_cfg: Mapping[str, str] = attrs.field(factory=dict)
    local_addr: str | None = None
    event_log_handler: str = "null"
    numa_options: Any = None
    signals_to_handle: str = "SIGTERM,SIGINT,SIGHUP,SIGQUIT"
    duplicate_stdout_filters: tuple[str, ...] = attrs.field(default=(), converter=texts)
    duplicate_stderr_filters: tuple[str, ...] = attrs.field(default=(), converter=texts)
    virtual_local_rank: bool = False
    shutdown_timeout: float = attrs.field(default=None, converter=seconds_to_stop)
    node_rank: int | None = None
    failure_file: str = ""
    dump_stacks: float = 0.0
    stop_signal: str = "SIGTERM"
    notice_signal: str = "SIGUSR1"
    exit_barrier_timeout: float | None = None
    spawner: str = "local"
    preload: tuple[str, ...] = ()
    preload_anyway: bool = False
    bootstrap: str = "auto"
    restart_policy: str = "default"
    on_failure: tuple[str, ...] = attrs.field(default=(), converter=rows)
    monitors: tuple[str, ...] = ()
    preflights: tuple[str, ...] = ()
    event_recorders: tuple[str, ...] = ()
    log_dir: str = ""
    redirects: "StdOrMap | str | None" = None
    tee: "StdOrMap | str | None" = None
    local_ranks_filter: "RankSet | str | Collection[int] | None" = None
    ranks_filter: "RankSet | str | Collection[int] | None" = None
    log_timestamps: bool = False
    log_max_bytes: int = 0
    log_backups: int = LOG_BACKUPS
    log_retention: int = 0
    log_layout: str = "default"
    debug_rank: int | None = None
    health_check: str = ""
    control: str = "unix"
    block_plugins: tuple[str, ...] = ()
    numa_binding: str | None = None
    threads: int | None = None
    env: Mapping[str, str] = attrs.field(factory=dict, repr=names_only)
    device_variables: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        check(self)

    @property
    def rendezvous_options(self) -> Mapping[str, Any]:
        """Options of the rendezvous backend, with the timeout in its old place."""
        if self.rdzv_timeout == -1:
            return self.rdzv_configs
        return {**self.rdzv_configs, "timeout": self.rdzv_timeout}

    @property
    def all_event_recorders(self) -> tuple[str, ...]:
        """Event recorders, with the one that torchelastic calls a handler."""
        handler = self.event_log_handler
        if handler == NO_EVENT_LOG:
            return self.event_recorders
        if handler in THEIR_EVENT_LOGS:
            handler = f"torchelastic:destination={handler}"
        return (*self.event_recorders, handler)

    @property
    def start_settings(self) -> StartSettings:
        """How workers are started, as spawners are told."""
        return StartSettings(
            method=StartMethod(self.start_method),
            preload=self.preload,
            preload_anyway=self.preload_anyway,
        )

    @property
    def output_settings(self) -> OutputSettings:
        """What becomes of workers' output.

        Raises:
            UsageError: If a value is malformed or out of range.
        """
        return OutputSettings(
            log_dir=self.log_dir,
            redirects=self.redirects,
            tee=self.tee,
            local_ranks_filter=self.local_ranks_filter,
            ranks_filter=self.ranks_filter,
            duplicate_stdout_filters=self.duplicate_stdout_filters,
            duplicate_stderr_filters=self.duplicate_stderr_filters,
            timestamps=self.log_timestamps,
            max_bytes=self.log_max_bytes,
            backups=self.log_backups,
            retention=self.log_retention,
            debug_rank=self.debug_rank,
        )

    @property
    def stack_settings(self) -> StackSettings:
        """Where workers' stacks go, as spawners are told."""
        directory = Path(self.failure_file).absolute().parent / "stacks"
        return StackSettings(prepare=bool(self.dump_stacks), directory=str(directory))

    @property
    def binding_settings(self) -> BindingSettings:
        """Which CPUs workers are bound to, as spawners are told."""
        mode = self.numa_binding or mode_of(self.numa_options)
        return BindingSettings(mode=NumaBinding(mode) if mode else None)

    @property
    def environment_settings(self) -> EnvironmentSettings:
        """What the workers' environment is to say."""
        return EnvironmentSettings(
            env=self.env,
            threads=self.threads,
            virtual_local_rank=self.virtual_local_rank,
            device_variables=self.device_variables,
        )

    @property
    def agent_signals(self) -> AgentSignals:
        """Which signals the agent handles.

        Raises:
            UsageError: If a name is wrong, or two contradict each other.
        """
        return agent_signals(self.signals_to_handle, self.notice_signal)

    def evolve(self, **changes: Any) -> "LaunchConfig":
        """Return a copy with some fields changed, validated like a new one."""
        return attrs.evolve(self, **changes)
