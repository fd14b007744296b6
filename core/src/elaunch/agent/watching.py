"""Monitors of a running group: what they find, and that their faults stay theirs."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from elaunch.agent.messages import Found
from elaunch.events import EventName, Record
from elaunch.monitor import Finding, NamedMonitor, Severity, WatchedGroup


async def watch(
    named: NamedMonitor,
    group: WatchedGroup,
    record: Record,
    found: Callable[[Found], None],
    dump: Callable[[int | None], Awaitable[tuple[str, ...]]],
) -> None:
    """Tell what a monitor finds, until it is cancelled or the monitor fails.

    Where its group is to be stopped for a hang, stacks are written down before that is
    told, and before the monitor goes on: it may be about to kill.

    Args:
        named: Who watches.
        group: Whom.
        record: Told of each finding.
        found: Given each finding.
        dump: Writes the stacks of the group down, given the worker of the finding;
            returns the files.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()  # the workers have just been started
    try:
        async with contextlib.aclosing(named.monitor.watch(group)) as findings:
            async for finding in findings:
                timestamp = time.time()
                local = finding.local_rank
                stacks = await dump(local) if _is_fatal_hang(finding) else ()
                told: dict[str, Any] = {
                    "monitor": named.name,
                    "rank": None if local is None else group.rank(local),
                    "local_rank": local,
                    "severity": finding.severity.value,
                    "reason": finding.reason,
                    **({"stacks": list(stacks)} if stacks else {}),
                }
                record(EventName.MONITOR_FINDING, **{**finding.evidence, **told})
                pid = 0 if local is None else group.pids.get(local, 0)
                found(
                    Found(
                        finding=finding,
                        monitor=named.name,
                        pid=pid,
                        timestamp=timestamp,
                        uptime=loop.time() - began,
                        stacks=stacks,
                    )
                )
    except Exception as error:  # noqa: BLE001 - a monitor's fault is not the job's
        what = f"monitor {named.name!r} failed and is disabled"
        _tell_fault(named.name, what, error, record)


def _is_fatal_hang(finding: Finding) -> bool:
    return finding.hang and finding.severity is Severity.UNHEALTHY


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
