"""Options of the monitor `process` and of the log layout `logs-specs`."""

import attrs


@attrs.frozen
class ProcessMonitorOptions:
    """Options of the monitor ``process``.

    Attributes:
        interval: Seconds between two looks at the workers; `None` for 5, or for the
            interval of all monitors (``--monitor-interval``) if that is longer.
        max_rss: Bytes of memory above which a worker, with the processes below it, is
            unhealthy; 0 for no limit.
        max_zombies: Processes that ended below a worker and that nobody waits for,
            above which it is degraded.
        max_stuck: Seconds in an uninterruptible system call after which a worker is
            unhealthy; 0 for no limit.
    """

    interval: float | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.gt(0))
    )
    max_rss: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    max_zombies: int = attrs.field(default=100, validator=attrs.validators.ge(0))
    max_stuck: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))


@attrs.frozen
class LogsSpecsOptions:
    """Options of the log layout ``logs-specs``.

    Attributes:
        name: Name of an entry point in the group ``torchrun.logs_specs``.
    """

    name: str = ""
