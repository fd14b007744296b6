"""What each check is declared with. Light: every command imports this."""

from typing import TYPE_CHECKING

from elaunch.api import (
    Preflight,
    PreflightParameters,
    PreflightProvider,
    UsageError,
)


if TYPE_CHECKING:
    from elaunch.preflights.options import (
        ClockOptions,
        CommandOptions,
        DiskOptions,
        EndpointOptions,
        MemoryOptions,
    )


_OPTIONS = "elaunch.preflights.options"


def _create_disk(params: PreflightParameters, options: "DiskOptions") -> Preflight:
    from elaunch.preflights.disk import Disk

    return Disk(options, params.log_dir)


def _create_memory(_: PreflightParameters, options: "MemoryOptions") -> Preflight:
    from elaunch.preflights.memory import Memory

    return Memory(options)


def _create_clock(_: PreflightParameters, options: "ClockOptions") -> Preflight:
    from elaunch.preflights.clock import Clock

    return Clock(options)


def _create_endpoint(
    params: PreflightParameters, options: "EndpointOptions"
) -> Preflight:
    from elaunch.preflights.endpoint import Endpoint, targets

    where = options.address or params.endpoint
    try:
        targets(where)
    except ValueError as error:
        raise UsageError(
            f"preflight 'endpoint' can't tell what to reach: {error}; name it, for "
            f"example --preflight endpoint:address=host:2379"
        ) from None
    return Endpoint(options, where)


def _create_command(
    params: PreflightParameters, options: "CommandOptions"
) -> Preflight:
    from elaunch.preflights.command import Command

    if not options.run:
        raise UsageError(
            "preflight 'command' needs a command, for example "
            "--preflight 'command:run=./check_gpus.sh --quick'"
        )
    return Command(options, params)


PREFLIGHTS = (
    PreflightProvider(
        "disk",
        "room in a directory that can be written to",
        _create_disk,
        f"{_OPTIONS}:DiskOptions",
    ),
    PreflightProvider(
        "memory",
        "memory, on the host and within limits",
        _create_memory,
        f"{_OPTIONS}:MemoryOptions",
    ),
    PreflightProvider(
        "clock",
        "how wrong the clock of the node can be",
        _create_clock,
        f"{_OPTIONS}:ClockOptions",
    ),
    PreflightProvider(
        "endpoint",
        "whether the place where nodes meet is reached",
        _create_endpoint,
        f"{_OPTIONS}:EndpointOptions",
    ),
    PreflightProvider(
        "command",
        "a command of the user: fit if it ends with 0",
        _create_command,
        f"{_OPTIONS}:CommandOptions",
    ),
)
