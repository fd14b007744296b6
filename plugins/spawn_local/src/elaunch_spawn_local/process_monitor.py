"""The monitor `process`: workers that are stopped, stuck, too big, or keep zombies."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping

import attrs
import psutil

from elaunch.api import Finding, Severity, WatchedGroup
from elaunch_spawn_local.oom import readable
from elaunch_spawn_local.processes import descendants


@attrs.frozen(kw_only=True)
class Look:
    """What one look at one worker showed.

    Attributes:
        pid: Its leading process.
        status: psutil's word for the state of that process.
        memory: Bytes that it and the processes below it hold; what they share counts
            once.
        processes: How many live processes these are.
        zombies: How many processes below it have ended and were not waited for.
        time: When it was, in seconds of a clock that nobody sets.
    """

    pid: int
    status: str
    memory: int = 0
    processes: int = 1
    zombies: int = 0
    time: float = 0.0


@attrs.frozen
class Condition:
    """Something that is wrong with a worker.

    Attributes:
        severity: How bad it is.
        reason: What it is, in one line.
        over: What to say when it is so no more.
        hang: Whether the worker stands still.
    """

    severity: Severity
    reason: str
    over: str
    hang: bool = False


@attrs.define(eq=False)
class Watched:
    """One worker under watch: turns looks into findings, one for each change.

    Args:
        rank: Its local rank.
        max_rss: Bytes of memory above which it is unhealthy; 0 for no limit.
        max_zombies: Zombies above which it is degraded.
        max_stuck: Seconds in an uninterruptible system call after which it is
            unhealthy; 0 for no limit.
    """

    _rank: int
    _max_rss: int
    _max_zombies: int
    _max_stuck: float = 0.0
    _stuck_since: float | None = attrs.field(default=None, init=False)
    _last: str = attrs.field(default=psutil.STATUS_RUNNING, init=False)
    _shown: dict[str, Condition] = attrs.field(factory=dict, init=False)

    def findings(self, look: Look) -> list[Finding]:
        """Return what is new since the last look."""
        now = self._conditions(look)
        self._last = look.status
        # One of the same reason is told once; its numbers may change.
        over = [self._shown.pop(key) for key in [*self._shown] if key not in now]
        news = [now[key] for key in now if key not in self._shown]
        self._shown |= now
        return [
            *(self._finding(Severity.INFO, each.over, look) for each in over),
            *(
                self._finding(each.severity, each.reason, look, hang=each.hang)
                for each in news
            ),
        ]

    def _conditions(self, look: Look) -> dict[str, Condition]:
        found = {}
        if state := self._state(look):
            named = f"process {look.pid}"
            found[state] = Condition(
                Severity.DEGRADED, f"{named} {state}", f"{named} no longer {state}"
            )
        if 0 < self._max_stuck <= (stuck := self._stuck_for(look)):
            found["stuck"] = Condition(
                Severity.UNHEALTHY,
                f"process {look.pid} is stuck in an uninterruptible system call for "
                f"{stuck:.1f} s, over max_stuck {self._max_stuck:g} s",
                f"process {look.pid} is no longer over max_stuck",
                hang=True,
            )
        if 0 < self._max_rss < look.memory:
            limit = f"max_rss {readable(self._max_rss)}"
            who = (
                f"process {look.pid} uses"
                if look.processes == 1
                else f"process {look.pid} and {look.processes - 1} below it use"
            )
            found["memory"] = Condition(
                Severity.UNHEALTHY,
                f"{who} {readable(look.memory)} of memory, over {limit}",
                f"process {look.pid} is no longer over {limit}",
            )
        if look.zombies > self._max_zombies:
            below = f"processes below process {look.pid}"
            found["zombies"] = Condition(
                Severity.DEGRADED,
                f"{look.zombies} {below} have ended and nobody waits for them",
                f"no more than {self._max_zombies} {below} wait to be waited for",
            )
        return found

    def _stuck_for(self, look: Look) -> float:
        if look.status != psutil.STATUS_DISK_SLEEP:
            self._stuck_since = None
            return 0.0
        if self._stuck_since is None:
            self._stuck_since = look.time
        return look.time - self._stuck_since

    def _state(self, look: Look) -> str:
        if look.status in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
            return "is stopped by a signal or a debugger"
        # Once is ordinary: a read from a disk, an end that was not told yet.
        if look.status != self._last:
            return ""
        if look.status == psutil.STATUS_DISK_SLEEP:
            return "is stuck in an uninterruptible system call"
        if look.status == psutil.STATUS_ZOMBIE:
            return "has lost its main thread, and other threads keep it from ending"
        return ""

    def _finding(
        self, severity: Severity, reason: str, look: Look, *, hang: bool = False
    ) -> Finding:
        return Finding(
            local_rank=self._rank,
            severity=severity,
            reason=reason,
            evidence={
                "pid": str(look.pid),
                "status": look.status,
                "memory": readable(look.memory),
                "processes": str(look.processes),
                "zombies": str(look.zombies),
            },
            hang=hang,
        )


@attrs.frozen
class ProcessMonitor:
    """Looks at each worker and the processes below it again and again; see `Monitor`.

    The end of a worker is no finding: the spawner tells of it at once.

    Attributes:
        interval: Seconds between two looks.
        max_rss: Bytes of memory above which a worker is unhealthy; 0 for no limit.
        max_zombies: Zombies of a worker above which it is degraded.
        max_stuck: Seconds in an uninterruptible system call after which a worker is
            unhealthy; 0 for no limit.
    """

    interval: float
    max_rss: int
    max_zombies: int = 100
    max_stuck: float = 0.0

    def environment(self) -> Mapping[str, str]:
        """Workers need know nothing of it."""
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield findings until the generator is closed.

        Args:
            group: Whom to watch.
        """
        watched = {
            rank: Watched(rank, self.max_rss, self.max_zombies, self.max_stuck)
            for rank in group.pids
        }
        processes = await asyncio.to_thread(_open, group.pids)
        while True:
            looks = await asyncio.to_thread(_look_at_all, processes, self.max_rss)
            for rank, seen in looks.items():
                for finding in watched[rank].findings(seen):
                    yield finding
            await asyncio.sleep(self._pause)

    @property
    def _pause(self) -> float:
        # Two looks within the time, so that it is noticed soon after.
        return min(self.interval, self.max_stuck / 2 or self.interval)


def _open(pids: Mapping[int, int]) -> dict[int, psutil.Process]:
    processes = {}
    for rank, pid in pids.items():
        with contextlib.suppress(psutil.Error):
            processes[rank] = psutil.Process(pid)
    return processes


def _look_at_all(
    processes: Mapping[int, psutil.Process], limit: int
) -> dict[int, Look]:
    looks = {}
    for rank, process in processes.items():
        with contextlib.suppress(psutil.Error):
            if process.is_running():  # else its id is free or somebody else's
                looks[rank] = _look(process, limit)
    return looks


def _look(process: psutil.Process, limit: int) -> Look:
    status = process.status()
    live, zombies = [process], 0
    for pid in descendants(process.pid):
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(pid)
            if below.status() == psutil.STATUS_ZOMBIE:
                zombies += 1
            else:
                live.append(below)
    memory = sum(map(_resident, live))
    if 0 < limit < memory and len(live) > 1:
        # Pages that a fork shares were counted for each; to share them out takes time.
        memory = sum(map(_share, live))
    return Look(
        pid=process.pid,
        status=status,
        memory=memory,
        processes=len(live),
        zombies=zombies,
        time=time.monotonic(),
    )


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _share(process: psutil.Process) -> int:
    """Return its proportional share, or all that is resident if that is hidden."""
    try:
        full = process.memory_full_info()
    except psutil.Error:
        return _resident(process)
    return int(getattr(full, "pss", 0) or full.rss)
