"""Monitors of a running group: what they find, and that their faults stay theirs."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs

from elaunch.agent.messages import Found
from elaunch.agent.tasks import Task, Tasks
from elaunch.events import EventName, Record
from elaunch.monitor import Finding, NamedMonitor, Severity, WatchedGroup


RELEASE = 2.0
"""Seconds that a monitor gets to end when its group is gone."""

ATTEMPTS = 2
"""How often it is told so: one that misses a cancellation hears of the next."""

Dump = Callable[[int | None], Awaitable[tuple[str, ...]]]
"""Writes the stacks of a group down, given the worker of a finding; returns the files.
"""


@attrs.define(eq=False)
class Watch:
    """One monitor at work.

    Attributes:
        named: The monitor.
        over: Whether what it finds counts no more.
        task: Where it is.
    """

    named: NamedMonitor
    over: bool = False
    task: Task = attrs.field(init=False)

    def cancel(self) -> None:
        """Have it end."""
        self.over = True
        self.task.cancel()


@attrs.define(eq=False, kw_only=True)
class Watchers:
    """The monitors of one group after the other.

    One that does not end with its group is left alone: nobody waits for it, nothing
    that it finds counts, and no later group has it.

    Attributes:
        monitors: The monitors.
        record: Told of each finding.
        found: Given each finding.
        tasks: Where they run.
    """

    monitors: Sequence[NamedMonitor]
    record: Record
    found: Callable[[Found], None]
    tasks: Tasks
    _watching: list[Watch] = attrs.field(factory=list, init=False)

    def variables(self) -> dict[str, str]:
        """Return what workers get of them."""
        return variables(self.monitors, self.record)

    def begin(self, group: WatchedGroup, dump: Dump) -> None:
        """Watch a group.

        Args:
            group: Whom.
            dump: Writes its stacks down.
        """
        for named in self.monitors:
            one = Watch(named)
            one.task = self.tasks.start(
                watch(one, group, self.record, self.found, dump)
            )
            self._watching.append(one)

    def stop(self) -> None:
        """Let nothing count any more, and wait for nobody yet."""
        for one in self._watching:
            one.cancel()

    async def end(self) -> None:
        """Let them go, now."""
        late, self._watching = self._watching, []
        for _ in range(ATTEMPTS):
            for one in late:
                one.cancel()
            if late:
                tasks = [one.task for one in late]
                await asyncio.wait(tasks, timeout=RELEASE / ATTEMPTS)
            late = [one for one in late if not one.task.done()]
        for one in late:
            self._leave_alone(one)

    def _leave_alone(self, one: Watch) -> None:
        self.tasks.let_go(one.task)
        self.monitors = [each for each in self.monitors if each is not one.named]
        what = f"monitor {one.named.name!r} is disabled"
        why = f"it goes on {RELEASE:g} s after it was cancelled"
        _tell(one.named.name, f"{what}: {why}", self.record)


async def watch(
    one: Watch,
    group: WatchedGroup,
    record: Record,
    found: Callable[[Found], None],
    dump: Dump,
) -> None:
    """Tell what a monitor finds, until it is cancelled or the monitor fails.

    Where its group is to be stopped for a hang, stacks are written down before that is
    told, and before the monitor goes on: it may be about to kill.

    Args:
        one: Who watches.
        group: Whom.
        record: Told of each finding.
        found: Given each finding.
        dump: Writes the stacks of the group down.
    """
    named, loop = one.named, asyncio.get_running_loop()
    began = loop.time()  # the workers have just been started
    try:
        async with contextlib.aclosing(named.monitor.watch(group)) as findings:
            async for finding in findings:
                if one.over:  # and the monitor has not noticed
                    return
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
        _tell(named.name, f"{what}: {error!r}", record)


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
            _tell(named.name, f"{what}: {error!r}", record)
    return told


def _tell(monitor: str, reason: str, record: Record) -> None:
    record(EventName.MONITOR_FINDING, monitor=monitor, severity="info", reason=reason)
