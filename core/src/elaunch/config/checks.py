"""What a `LaunchConfig` must be: each rule, and what a user reads who breaks it."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, SupportsIndex

from elaunch.binding import NumaBinding, mode_of
from elaunch.environ import THREADS, check_env
from elaunch.errors import UsageError
from elaunch.output import OutputSettings
from elaunch.signals import stop_signal
from elaunch.spawner import StartMethod
from elaunch.text import quoted, suggestion


if TYPE_CHECKING:
    from elaunch.config.launch_config import LaunchConfig


LOG_BACKUPS = 3
"""How many full files are kept if nobody says."""

SHUTDOWN_TIMEOUT = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"

DEFAULT_SHUTDOWN_TIMEOUT = 30.0
"""Seconds between the signal to stop and SIGKILL if nobody says."""

VARIABLES: Mapping[str, str] = {
    SHUTDOWN_TIMEOUT: (
        "seconds between the signal to stop and SIGKILL; `--shutdown-timeout` wins"
    ),
}
"""What a configuration reads of its environment -> meaning."""


def _check(rule: str, *, ok: bool) -> None:
    if not ok:
        raise UsageError(rule)


def seconds_to_stop(given: float | None) -> float:
    """Return how long workers have to stop: as given, or as the environment says.

    Raises:
        UsageError: If the environment says something else than seconds.
    """
    if given is not None:
        return given
    text = os.environ.get(SHUTDOWN_TIMEOUT, "")
    if not text:
        return DEFAULT_SHUTDOWN_TIMEOUT
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    _check(
        f"{SHUTDOWN_TIMEOUT} must be a number of seconds, not negative, not {text!r}; "
        f"correct it, or unset it",
        ok=seconds >= 0 and math.isfinite(seconds),
    )
    return seconds


def rows(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return rows of a table as given: one, several or none."""
    return (given,) if isinstance(given, str) else tuple(given or ())


def check(config: "LaunchConfig") -> None:
    """Check a configuration.

    Raises:
        UsageError: If a value is out of range, or two contradict each other.
    """
    _check_nodes(config)
    _check_rendezvous(config)
    _check_times(config)
    _check_start(config)
    _check_workers(config)
    _check_health(config)
    _check_rows(config)
    _check_control(config)
    _check_logs_specs(config)
    _check_output(config, config.output_settings)  # which validates the rest


def _check_nodes(config: "LaunchConfig") -> None:
    for name in ("min_nodes", "max_nodes", "nproc_per_node", "max_restarts"):
        value = getattr(config, name)
        _check(
            f"{name} must be a whole number, not {value!r}",
            ok=isinstance(value, SupportsIndex),
        )
    _check(
        f"nnodes must be N or MIN:MAX with 1 <= MIN <= MAX, not {_nnodes(config)!r}",
        ok=1 <= config.min_nodes <= config.max_nodes,
    )
    _check(
        f"nproc_per_node must be at least 1, not {config.nproc_per_node}",
        ok=config.nproc_per_node >= 1,
    )
    _check(
        f"max_restarts must not be negative, not {config.max_restarts}",
        ok=config.max_restarts >= 0,
    )
    _check(
        f"node_rank must be from 0 to {config.max_nodes - 1}, not {config.node_rank}",
        ok=config.node_rank is None or 0 <= config.node_rank < config.max_nodes,
    )


def _nnodes(config: "LaunchConfig") -> str:
    return f"{config.min_nodes}:{config.max_nodes}"


def _check_rendezvous(config: "LaunchConfig") -> None:
    if config.max_nodes > 1:
        nnodes = _nnodes(config)
        if config.min_nodes == config.max_nodes:
            nnodes = str(config.max_nodes)
        _check(
            f"nodes of a job of {nnodes} nodes need a place to meet: "
            f"give all of them the same --rdzv-endpoint host:port",
            ok=bool(config.rdzv_endpoint),
        )
        _check(
            f"nodes of a job of {nnodes} nodes need a common name: "
            f"give all of them the same run_id",
            ok=bool(config.run_id),
        )
    _check(
        f"rdzv_timeout must be greater than 0, or -1 for the backend's own, not "
        f"{config.rdzv_timeout}",
        ok=config.rdzv_timeout > 0 or config.rdzv_timeout == -1,
    )
    _check("event_log_handler must not be empty", ok=bool(config.event_log_handler))


def _check_times(config: "LaunchConfig") -> None:
    _check(
        f"monitor_interval must be greater than 0, not {config.monitor_interval}",
        ok=config.monitor_interval > 0,
    )
    _check(
        f"shutdown_timeout must not be negative, not {config.shutdown_timeout}",
        ok=config.shutdown_timeout >= 0,
    )
    _check(
        f"exit_barrier_timeout must not be negative, not {config.exit_barrier_timeout}",
        ok=(config.exit_barrier_timeout or 0) >= 0,
    )
    _check(
        f"dump_stacks must be from 0 to shutdown_timeout, which is "
        f"{config.shutdown_timeout:g}, not {config.dump_stacks:g}",
        ok=0 <= config.dump_stacks <= config.shutdown_timeout,
    )
    _check(
        f"notice_signal and stop_signal must differ, both are {config.stop_signal!r}",
        ok=config.agent_signals.notice != stop_signal(config.stop_signal),
    )


def _check_health(config: "LaunchConfig") -> None:
    if not config.health_check:
        return
    from elaunch.health import parse_place

    try:
        parse_place(config.health_check)
    except ValueError as error:
        raise UsageError(f"health_check: {error}") from error


def _check_rows(config: "LaunchConfig") -> None:
    if config.on_failure:  # few jobs have any
        from elaunch.failure_table import FailureTable

        FailureTable.parse(config.on_failure)


def _check_control(config: "LaunchConfig") -> None:
    if config.control in ("unix", "none"):
        return
    from elaunch.health import parse_place

    try:
        parse_place(config.control)
    except ValueError as error:
        raise UsageError(f"control is unix, none or a place: {error}") from error


def _check_start(config: "LaunchConfig") -> None:
    methods = tuple(method.value for method in StartMethod)
    _check(
        f"start_method must be one of {', '.join(methods)}, not "
        f"{config.start_method!r}",
        ok=config.start_method in methods,
    )
    for name in ("preload", "preload_anyway"):
        _check(
            f"{name} is for the start method 'warm', not for "
            f"{config.start_method!r}: give --start-method warm with it",
            ok=not getattr(config, name)
            or config.start_method in ("warm", "forkserver"),
        )


def _check_workers(config: "LaunchConfig") -> None:
    modes = [mode.value for mode in NumaBinding]
    options = mode_of(config.numa_options)
    for name, binding in (
        ("numa_binding", config.numa_binding),
        ("affinity_mode of numa_options", options),
    ):
        if binding is not None and binding not in modes:
            raise UsageError(
                f"{name} must be one of {quoted(modes)}, not {binding!r}"
                f"{suggestion(str(binding), modes)}"
            )
    _check(
        f"numa_binding is {config.numa_binding!r} and numa_options say {options!r}; "
        f"leave out one of them",
        ok=not config.numa_binding or options in (None, config.numa_binding),
    )
    _check(
        f"threads must be at least 1, not {config.threads}",
        ok=config.threads is None or config.threads >= 1,
    )
    check_env(config.env)
    _check(
        f"env and threads both set {THREADS!r}; leave out one of them",
        ok=config.threads is None or THREADS not in config.env,
    )
    _check(
        "device_variables are for virtual_local_rank; give --virtual-local-rank, "
        "or leave out --device-variable",
        ok=config.virtual_local_rank or not config.device_variables,
    )


def _check_logs_specs(config: "LaunchConfig") -> None:
    specs = config.logs_specs
    if not specs:
        return
    _check(
        f"logs_specs {specs!r} replaces log_layout {config.log_layout!r}; "
        f"leave out one of them",
        ok=config.log_layout == "default",
    )
    if isinstance(specs, str):
        return
    _check(
        f"logs_specs is a plugin's name or an object with a method 'reify', not "
        f"{specs!r}",
        ok=callable(getattr(specs, "reify", None)),
    )
    for name in ("log_dir", "redirects", "tee", "local_ranks_filter"):
        _check(
            f"logs_specs {specs!r} has its own {name}; give it to that object, not to "
            f"the configuration",
            ok=not getattr(config, name),
        )


def _check_output(config: "LaunchConfig", settings: OutputSettings) -> None:
    count = config.nproc_per_node
    for name, last in settings.last_local_ranks().items():
        _check(
            f"{name} names local rank {last}, and this node has {count} "
            f"{'worker' if count == 1 else 'workers'} (nproc_per_node), local "
            f"ranks from 0 to {count - 1}",
            ok=last < count,
        )
    files = settings.keeps_files or config.logs_specs or config.log_layout != "default"
    for name, default in (
        ("log_max_bytes", 0),
        ("log_backups", LOG_BACKUPS),
        ("log_retention", 0),
    ):
        _check(
            f"{name} is for files, and no output goes to any; give --log-dir with it",
            ok=bool(files) or getattr(config, name) == default,
        )
    _check(
        "log_backups are full files, and none is ever full; give --log-max-bytes, "
        "or leave out --log-backups",
        ok=bool(config.log_max_bytes) or config.log_backups == LOG_BACKUPS,
    )
