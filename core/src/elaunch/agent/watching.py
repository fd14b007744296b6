"""Monitors of a running group: what they find, and that their faults stay theirs."""

import contextlib
import time
from collections.abc import Callable, Sequence

from elaunch.agent.messages import Found
from elaunch.events import EventName, Record
from elaunch.monitor import Monitor
from elaunch.spawner import WorkerGroup


async def watch(
    monitor: Monitor,
    group: WorkerGroup,
    base_rank: int,
    record: Record,
    found: Callable[[Found], None],
) -> None:
    """Tell what a monitor finds, until it is cancelled or the monitor fails.

    Args:
        monitor: Who watches.
        group: Whom.
        base_rank: Global rank of the group's first worker.
        record: Told of each finding.
        found: Given each finding.
    """
    async with contextlib.aclosing(monitor.watch(group.pids)) as findings:
        try:
            async for finding in findings:
                record(
                    EventName.MONITOR_FINDING,
                    rank=base_rank + finding.local_rank,
                    local_rank=finding.local_rank,
                    severity=finding.severity.value,
                    reason=finding.reason,
                    **dict(finding.evidence),
                )
                pid = group.pids.get(finding.local_rank, 0)
                found(Found(finding, pid, time.time()))
        except Exception as error:  # noqa: BLE001 - a monitor's fault is not the job's
            _tell_fault(f"monitor {monitor!r} failed and is disabled", error, record)


def variables(monitors: Sequence[Monitor], record: Record) -> dict[str, str]:
    """Return what workers get of their monitors; of one that fails, nothing."""
    told: dict[str, str] = {}
    for monitor in monitors:
        try:
            told |= monitor.environment()
        except Exception as error:  # noqa: BLE001 - a monitor's fault is not the job's
            _tell_fault(f"monitor {monitor!r} has nothing for workers", error, record)
    return told


def _tell_fault(what: str, error: Exception, record: Record) -> None:
    record(EventName.MONITOR_FINDING, severity="info", reason=f"{what}: {error!r}")
