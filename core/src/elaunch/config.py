"""`LaunchConfig`: everything a launch can be told, validated, in one frozen value."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import attrs

from elaunch.binding import BindingSettings, NumaBinding
from elaunch.environ import THREADS, EnvironmentSettings, check_env, names_only
from elaunch.errors import UsageError, quoted, suggestion
from elaunch.output import OutputSettings, RankSet, StdOrMap
from elaunch.signals import AgentSignals, agent_signals, stop_signal
from elaunch.spawner import StackSettings, StartMethod, StartSettings


LOG_BACKUPS = 3
"""How many full files are kept if nobody says."""


def _check(rule: str, *, ok: bool) -> None:
    if not ok:
        raise UsageError(rule)


@attrs.frozen(kw_only=True)
class LaunchConfig:
    """How to launch a job on this node.

    Attributes:
        min_nodes: Fewest nodes the job runs on.
        max_nodes: Most nodes the job runs on.
        nproc_per_node: Workers on this node.
        run_id: Id of the job; nodes with the same id meet. Empty for a random one,
            which only a job of one node can use.
        role: Role of this node's workers.
        rdzv_backend: Name of the rendezvous backend.
        rdzv_endpoint: Where its store is. Empty for a store of this job's own, which
            only a job of one node can use.
        rdzv_configs: Options of the backend.
        max_restarts: Restarts that failures may cost the whole job.
        local_addr: Address this node advertises; `None` to find it by the route to
            the endpoint.
        node_rank: Group rank this node should get; `None` for the one that the
            environment gives (`elaunch.slots`), or any.
        shutdown_timeout: Seconds workers get between the signal to stop and SIGKILL,
            whatever the reason.
        failure_file: Where a job that fails leaves its report as JSON; empty for
            ``failure.json`` in the run's directory in ``log_dir``, or without one in a
            new directory under TMPDIR.
        dump_stacks: Seconds in which the stacks of this node's workers are written
            down before these are stopped because of a failure; 0 not to do it. They
            are part of the shutdown timeout.
        stop_signal: Name of the signal to stop.
        notice_signal: Name of the signal that announces a preemption, to this agent and
            by it to the workers of every node; ``none`` for no such signal.
        signals_to_handle: Names of the signals that end this agent in good order,
            separated by commas. Of others the system's default holds.
        exit_barrier_timeout: Seconds that this node waits for the others when its
            workers have succeeded, and then leaves with their values; `None` for as
            long as the others take.
        spawner: Spawner, as ``NAME[:key=value,...]``.
        start_method: How workers' processes come to be: ``spawn``, ``fork``,
            ``forkserver`` or ``warm`` (`elaunch.api.StartMethod`).
        preload: Modules that a server imports once for all workers, with the last two.
        preload_anyway: Whether to go on where that left what does not survive a fork.
        bootstrap: Bootstrap, likewise; ``auto`` is ``c10d`` where it is installed and
            ``port`` otherwise.
        restart_policy: Restart policy, likewise.
        monitors: Monitors, likewise.
        event_recorders: Event recorders, likewise.
        log_dir: Directory for workers' output. With it alone all of it is written
            there, beside the console; see `elaunch.output.OutputSettings` for this
            and what follows.
        redirects: Streams that go to files only, as `elaunch.api.Std`, its number, or
            text like ``0:1,1:3`` by local rank.
        tee: Streams that go to files and to the console, likewise.
        local_ranks_filter: Local ranks that the console shows; `None` for all.
        ranks_filter: Global ranks that it shows, likewise.
        log_line_prefix_template: What each line begins with on the console; `None`
            for the rank, and the role if it has a name, where there are several
            workers.
        duplicate_stdout_filters: Lines of stdout with one of these texts are also
            written to a file of their own.
        duplicate_stderr_filters: Likewise for stderr.
        log_timestamps: Whether each line begins with the time.
        log_max_bytes: Bytes of a full file; 0 for no limit.
        log_backups: How many full files are kept.
        log_retention: How many generations of the run are kept; 0 for all.
        log_layout: Log layout, as ``NAME[:key=value,...]``.
        logs_specs: Name of a torchelastic logs specs plugin that replaces it; empty
            for none.
        debug_rank: Global rank that gets the terminal; `None` for none.
        block_plugins: Names of plugins that must not be loaded.
        numa_binding: How workers are bound to CPUs, a word of
            `elaunch.api.NumaBinding`; `None` leaves them unbound.
        threads: Threads of each worker's parallel libraries (`OMP_NUM_THREADS`);
            `None` for what the environment says, or this node's CPUs / its workers.
        env: Variables to add to each worker's environment; values may be templates.
        virtual_local_rank: Whether each worker is local rank 0 and sees one device.
        device_variables: Variables that show a worker its device then; by default
            those that are known and set, or ``CUDA_VISIBLE_DEVICES``.

    Raises:
        UsageError: If a value is out of range, or several nodes are to meet without
            an endpoint or an id.
    """

    min_nodes: int
    max_nodes: int
    nproc_per_node: int
    run_id: str = ""
    role: str = "default"
    rdzv_backend: str = "c10d"
    rdzv_endpoint: str = ""
    rdzv_configs: Mapping[str, Any] = attrs.field(factory=dict)
    max_restarts: int = 3
    local_addr: str | None = None
    node_rank: int | None = None
    shutdown_timeout: float = 30.0
    failure_file: str = ""
    dump_stacks: float = 0.0
    stop_signal: str = "SIGTERM"
    notice_signal: str = "SIGUSR1"
    signals_to_handle: str = "SIGTERM,SIGINT,SIGHUP,SIGQUIT"
    exit_barrier_timeout: float | None = None
    spawner: str = "local"
    start_method: str = "spawn"
    preload: tuple[str, ...] = ()
    preload_anyway: bool = False
    bootstrap: str = "auto"
    restart_policy: str = "default"
    monitors: tuple[str, ...] = ()
    event_recorders: tuple[str, ...] = ()
    log_dir: str = ""
    redirects: "StdOrMap | str | None" = None
    tee: "StdOrMap | str | None" = None
    local_ranks_filter: "RankSet | str | Collection[int] | None" = None
    ranks_filter: "RankSet | str | Collection[int] | None" = None
    log_line_prefix_template: str | None = None
    duplicate_stdout_filters: tuple[str, ...] = ()
    duplicate_stderr_filters: tuple[str, ...] = ()
    log_timestamps: bool = False
    log_max_bytes: int = 0
    log_backups: int = LOG_BACKUPS
    log_retention: int = 0
    log_layout: str = "default"
    logs_specs: str = ""
    debug_rank: int | None = None
    block_plugins: tuple[str, ...] = ()
    numa_binding: str | None = None
    threads: int | None = None
    env: Mapping[str, str] = attrs.field(factory=dict, repr=names_only)
    virtual_local_rank: bool = False
    device_variables: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        nnodes = f"{self.min_nodes}:{self.max_nodes}"
        _check(
            f"nnodes must be N or MIN:MAX with 1 <= MIN <= MAX, not {nnodes!r}",
            ok=1 <= self.min_nodes <= self.max_nodes,
        )
        _check(
            f"nproc_per_node must be at least 1, not {self.nproc_per_node}",
            ok=self.nproc_per_node >= 1,
        )
        _check(
            f"max_restarts must not be negative, not {self.max_restarts}",
            ok=self.max_restarts >= 0,
        )
        _check(
            f"shutdown_timeout must not be negative, not {self.shutdown_timeout}",
            ok=self.shutdown_timeout >= 0,
        )
        _check(
            f"exit_barrier_timeout must not be negative, not "
            f"{self.exit_barrier_timeout}",
            ok=(self.exit_barrier_timeout or 0) >= 0,
        )
        _check(
            f"dump_stacks must be from 0 to shutdown_timeout, which is "
            f"{self.shutdown_timeout:g}, not {self.dump_stacks:g}",
            ok=0 <= self.dump_stacks <= self.shutdown_timeout,
        )
        _check(
            f"notice_signal and stop_signal must differ, both are {self.stop_signal!r}",
            ok=self.agent_signals.notice != stop_signal(self.stop_signal),
        )
        _check(
            f"node_rank must be from 0 to {self.max_nodes - 1}, not {self.node_rank}",
            ok=self.node_rank is None or 0 <= self.node_rank < self.max_nodes,
        )
        methods = tuple(method.value for method in StartMethod)
        _check(
            f"start_method must be one of {', '.join(methods)}, not "
            f"{self.start_method!r}",
            ok=self.start_method in methods,
        )
        _check(
            f"preload is for the start method 'warm', not for {self.start_method!r}: "
            f"give --start-method warm with it",
            ok=not self.preload or self.start_method in ("warm", "forkserver"),
        )
        _check(
            f"preload_anyway is for the start method 'warm', not for "
            f"{self.start_method!r}: give --start-method warm with it",
            ok=not self.preload_anyway or self.start_method in ("warm", "forkserver"),
        )
        self._check_workers()
        if self.max_nodes > 1:
            _check(
                f"nodes of a job of {nnodes} nodes need a place to meet: "
                f"give all of them the same --rdzv-endpoint host:port",
                ok=bool(self.rdzv_endpoint),
            )
            _check(
                f"nodes of a job of {nnodes} nodes need a common name: "
                f"give all of them the same --rdzv-id",
                ok=bool(self.run_id),
            )

        _check(
            f"logs_specs {self.logs_specs!r} replaces log_layout {self.log_layout!r}; "
            f"leave out one of them",
            ok=not self.logs_specs or self.log_layout == "default",
        )
        self._check_output()

    def _check_output(self) -> None:
        settings = self.output_settings  # which validates the rest
        count = self.nproc_per_node
        for name, last in settings.last_local_ranks().items():
            _check(
                f"{name} names local rank {last}, and this node has {count} "
                f"{'worker' if count == 1 else 'workers'} (nproc_per_node), local "
                f"ranks from 0 to {count - 1}",
                ok=last < count,
            )
        files = settings.keeps_files or self.logs_specs or self.log_layout != "default"
        for name, default in (
            ("log_max_bytes", 0),
            ("log_backups", LOG_BACKUPS),
            ("log_retention", 0),
        ):
            _check(
                f"{name} is for files, and no output goes to any; give --log-dir with "
                f"it",
                ok=bool(files) or getattr(self, name) == default,
            )
        _check(
            "log_backups are full files, and none is ever full; give --log-max-bytes, "
            "or leave out --log-backups",
            ok=bool(self.log_max_bytes) or self.log_backups == LOG_BACKUPS,
        )

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
        """Whether workers can be asked for their stacks, as spawners are told."""
        directory = Path(self.failure_file).absolute().parent / "stacks"
        return StackSettings(seconds=self.dump_stacks, directory=str(directory))

    @property
    def binding_settings(self) -> BindingSettings:
        """Which CPUs workers are bound to, as spawners are told."""
        mode = self.numa_binding
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

    def _check_workers(self) -> None:
        binding, modes = self.numa_binding, [mode.value for mode in NumaBinding]
        if binding is not None and binding not in modes:
            raise UsageError(
                f"numa_binding must be one of {quoted(modes)}, not {binding!r}"
                f"{suggestion(str(binding), modes)}"
            )
        _check(
            f"threads must be at least 1, not {self.threads}",
            ok=self.threads is None or self.threads >= 1,
        )
        check_env(self.env)
        _check(
            f"env and threads both set {THREADS!r}; leave out one of them",
            ok=self.threads is None or THREADS not in self.env,
        )
        _check(
            "device_variables are for virtual_local_rank; give --virtual-local-rank, "
            "or leave out --device-variable",
            ok=self.virtual_local_rank or not self.device_variables,
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
