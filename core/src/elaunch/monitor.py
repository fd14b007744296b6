"""The monitor port: somebody who watches a running group and says what he finds."""

import enum
from collections.abc import AsyncGenerator, Mapping
from typing import Protocol

import attrs

from elaunch.events import Record, discard
from elaunch.provider import Provider


class Severity(enum.StrEnum):
    """How bad a finding is. Only ``UNHEALTHY`` counts as a failure of the group."""

    INFO = "info"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@attrs.frozen(kw_only=True)
class Finding:
    """What a monitor found.

    Attributes:
        local_rank: The worker it is about.
        severity: How bad it is.
        reason: What was found, in one line.
        evidence: Facts behind it.
    """

    local_rank: int
    severity: Severity
    reason: str
    evidence: Mapping[str, str] = attrs.field(factory=dict)


class Monitor(Protocol):
    """Watches one group at a time. One that raises is disabled and the job goes on."""

    def environment(self) -> Mapping[str, str]:
        """Return variables that its workers get; asked before each start.

        None of those that elaunch sets to each worker's own value.
        """

    def watch(self, pids: Mapping[int, int]) -> AsyncGenerator[Finding, None]:
        """Yield findings about workers until the generator is closed.

        Args:
            pids: Process id by local rank.
        """


@attrs.frozen
class MonitorParameters:
    """What every monitor is built with.

    Attributes:
        run_id: Id of the job.
        interval: Seconds between two looks at what tells nothing by itself, where the
            monitor has no interval of its own.
        record: Told of what the monitor does itself.
    """

    run_id: str
    interval: float = 0.1
    record: Record = discard


MonitorProvider = Provider[MonitorParameters, Monitor]
