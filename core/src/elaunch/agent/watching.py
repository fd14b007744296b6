"""Monitors of a running group: what they find, and that their faults stay theirs."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from elaunch.agent.messages import Found
from elaunch.events import EventName, Record
from elaunch.monitor import NamedMonitor, WatchedGroup


async def watch(
    named: NamedMonitor,
    group: WatchedGroup,
    record: Record,
    found: Callable[[Found], None],
) -> None:
    """Tell what a monitor finds, until it is cancelled or the monitor fails.

    Args:
        named: Who watches.
        group: Whom.
        record: Told of each finding.
        found: Given each finding.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()  # the workers have just been started
    async with contextlib.aclosing(named.monitor.watch(group)) as findings:
        try:
            async for finding in findings:
                local = finding.local_rank
                rank = None if local is None else group.rank(local)
                record(
                    EventName.MONITOR_FINDING,
                    monitor=named.name,
                    rank=rank,
                    local_rank=local,
                    severity=finding.severity.value,
                    reason=finding.reason,
                    **dict(finding.evidence),
                )
                pid = 0 if local is None else group.pids.get(local, 0)
                found(
                    Found(
                        finding=finding,
                        monitor=named.name,
                        pid=pid,
                        timestamp=time.time(),
                        uptime=loop.time() - began,
                    )
                )
        except Exception as error:  # noqa: BLE001 - a monitor's fault is not the job's
            what = f"monitor {named.name!r} failed and is disabled"
            _tell_fault(named.name, what, error, record)


def variables(monitors: Sequence[NamedMonitor], record: Record) -> dict[str, str]:
    """Return what workers get of their monitors; of one that fails, nothing."""
    told: dict[str, str] = {}
    for named in monitors:
        try:
            told |= named.monitor.environment()
        except Exception as error:  # noqa: BLE001 - a monitor's fault is not the job's
            what = f"monitor {named.name!r} has nothing for workers"
            _tell_fault(named.name, what, error, record)
    return told


def _tell_fault(monitor: str, what: str, error: Exception, record: Record) -> None:
    record(
        EventName.MONITOR_FINDING,
        monitor=monitor,
        severity="info",
        reason=f"{what}: {error!r}",
    )
