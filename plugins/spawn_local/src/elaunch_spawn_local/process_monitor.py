"""The monitor `process`: workers that are stopped, stuck or too big."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import attrs
import psutil

from elaunch.api import Finding, Severity


@attrs.frozen
class Look:
    """What one look at one worker showed.

    Attributes:
        status: psutil's word for the state of the process.
        rss: Resident bytes.
    """

    status: str
    rss: int


@attrs.define(eq=False)
class Watched:
    """One worker under watch: turns looks into findings, one for each change.

    Args:
        rank: Its local rank.
        max_rss: Resident bytes above which it is unhealthy; 0 for no limit.
    """

    _rank: int
    _max_rss: int
    _last: str = attrs.field(default=psutil.STATUS_RUNNING, init=False)
    _shown: str = attrs.field(default="", init=False)
    _big: bool = attrs.field(default=False, init=False)

    def findings(self, look: Look) -> list[Finding]:
        """Return what is new since the last look."""
        found = self._state(look) + self._size(look)
        self._last = look.status
        return found

    def _state(self, look: Look) -> list[Finding]:
        condition = ""
        if look.status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            condition = "is stopped by a signal or a debugger"
        elif look.status == self._last == psutil.STATUS_DISK_SLEEP:
            # Once is ordinary; twice in a row hints at a hanging disk or device.
            condition = "is stuck in an uninterruptible system call"
        if condition == self._shown:
            return []
        ended, self._shown = self._shown, condition
        if condition:
            return [self._finding(Severity.DEGRADED, condition, look)]
        return [self._finding(Severity.INFO, f"no longer {ended}", look)]

    def _size(self, look: Look) -> list[Finding]:
        big = 0 < self._max_rss < look.rss
        if big == self._big:
            return []
        self._big = big
        if big:
            reason = f"uses {look.rss} bytes of memory, over max_rss {self._max_rss}"
            return [self._finding(Severity.UNHEALTHY, reason, look)]
        reason = f"no longer over max_rss {self._max_rss}"
        return [self._finding(Severity.INFO, reason, look)]

    def _finding(self, severity: Severity, condition: str, look: Look) -> Finding:
        return Finding(
            local_rank=self._rank,
            severity=severity,
            reason=condition,
            evidence={"status": look.status, "rss": str(look.rss)},
        )


@attrs.frozen
class ProcessMonitor:
    """Looks at each worker's leading process again and again; see `Monitor`.

    The end of a worker is no finding: the spawner tells of it at once.

    Attributes:
        interval: Seconds between two looks.
        max_rss: Resident bytes above which a worker is unhealthy; 0 for no limit.
    """

    interval: float
    max_rss: int

    async def watch(self, pids: Mapping[int, int]) -> AsyncGenerator[Finding, None]:
        """Yield findings until the generator is closed.

        Args:
            pids: Process id by local rank.
        """
        watched = {rank: Watched(rank, self.max_rss) for rank in pids}
        processes = await asyncio.to_thread(_open, pids)
        while True:
            for rank, seen in (await asyncio.to_thread(_look, processes)).items():
                for finding in watched[rank].findings(seen):
                    yield finding
            await asyncio.sleep(self.interval)


def _open(pids: Mapping[int, int]) -> dict[int, psutil.Process]:
    processes = {}
    for rank, pid in pids.items():
        try:
            processes[rank] = psutil.Process(pid)
        except psutil.Error:
            continue
    return processes


def _look(processes: Mapping[int, psutil.Process]) -> dict[int, Look]:
    looks = {}
    for rank, process in processes.items():
        try:
            if process.is_running():  # else its id is free or somebody else's
                with process.oneshot():
                    looks[rank] = Look(process.status(), process.memory_info().rss)
        except psutil.Error:
            continue
    return looks
