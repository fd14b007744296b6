"""The monitor port: somebody who watches a running group and says what he finds."""

import enum
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Protocol

import attrs

from elaunch.events import Record, discard
from elaunch.failures import Request
from elaunch.feed import Feed
from elaunch.provider import Provider
from elaunch.vitals import Pace
from elaunch.worker_message import OutputBlock, WorkerMessage


class Severity(enum.StrEnum):
    """How bad a finding is. Only ``UNHEALTHY`` counts as a failure of the group."""

    INFO = "info"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@attrs.frozen(kw_only=True)
class Finding:
    """What a monitor found.

    Attributes:
        local_rank: The worker it is about; `None` for the node as a whole.
        severity: How bad it is.
        reason: What was found, in one line.
        evidence: Facts behind it, beside what the event has of every finding.
        hang: Whether the worker may stand still: before its group is stopped because of
            that, the stacks of all its workers are written down.
        request: What to do beyond a restart, if a restart alone is no help.
    """

    local_rank: int | None
    severity: Severity
    reason: str
    evidence: Mapping[str, str] = attrs.field(factory=dict)
    hang: bool = False
    request: Request | None = None


@attrs.frozen(kw_only=True)
class WatchedGroup:
    """The workers of one node in one generation, as monitors get them.

    Attributes:
        pids: Process id by local rank.
        base_rank: Global rank of the first of them.
        generation: Number of the generation.
    """

    pids: Mapping[int, int]
    base_rank: int = 0
    generation: int = 0

    def rank(self, local_rank: int) -> int:
        """Return a worker's global rank."""
        return self.base_rank + local_rank


class Monitor(Protocol):
    """Watches one group at a time.

    One that raises is disabled and the job goes on; so is, for good, one that goes on
    when its group is gone and it is cancelled.
    """

    def environment(self) -> Mapping[str, str]:
        """Return variables that its workers get; asked before each start.

        None of those that elaunch sets to each worker's own value.
        """

    def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield findings about workers until the generator is closed.

        What is found between two findings waits until the first was taken.

        Args:
            group: Whom to watch.
        """


def _unknown() -> None:
    """Return nothing: the pace of a job of which nobody tells."""


@attrs.frozen
class MonitorParameters:
    """What every monitor is built with.

    Attributes:
        run_id: Id of the job.
        interval: Seconds between two looks at what tells nothing by itself, where the
            monitor has no interval of its own.
        record: Told of what the monitor does itself.
        messages: What workers tell, told on the agent's loop; nothing of a group before
            its monitors watch it.
        output: What they write, told in a thread of the spawner; for who subscribes
            when it is created.
        paces: Where a monitor tells how long steps take on this node.
        job_pace: Returns how long they take in the whole job; `None` if that is not
            known.
    """

    run_id: str
    interval: float = 0.1
    record: Record = discard
    messages: Feed[WorkerMessage] = attrs.field(factory=Feed)
    output: Feed[OutputBlock] = attrs.field(factory=Feed)
    paces: Feed[Pace] = attrs.field(factory=Feed)
    job_pace: Callable[[], Pace | None] = _unknown


@attrs.frozen
class NamedMonitor:
    """A monitor and the name by which it was asked for."""

    name: str
    monitor: Monitor


MonitorProvider = Provider[MonitorParameters, Monitor]
