"""What a node tells its job of how it goes: in time for who decides, and not too often.

A failure of the store hurts nobody: what was not told goes with what is told next.
"""

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Protocol

import attrs

from elaunch.agent.holding import Holds
from elaunch.agent.messages import Found
from elaunch.agent.tasks import Task, Tasks, cancel
from elaunch.errors import ElaunchError
from elaunch.events import EventName, Record
from elaunch.feed import Feed
from elaunch.monitor import Severity, WatchedGroup
from elaunch.vitals import MAX_FINDINGS, Pace, ToldFinding, Vitals
from elaunch.worker_message import MessageKind, WorkerMessage


AT_ONCE = 0.1
"""Seconds between two times that it is told who holds up a scaling, or no more."""

SOON = 1.0
"""Seconds between two times that progress and findings are told."""

SELDOM = 10.0
"""Seconds between two times that only the pace is, or after the store took nothing."""

LAST_CHANCE = 1.0
"""Seconds for which a report of a failure waits, so that progress is known before."""


class Tell(Protocol):
    """Tells the job; see `elaunch.rendezvous.RendezvousHandler.tell`."""

    async def __call__(self, vitals: Vitals, *, at_once: bool = False) -> None:
        """Tell it how this node goes."""


@attrs.define(eq=False, repr=False, kw_only=True)
class Telling:
    """Tells how the workers of one group after the other go.

    Attributes:
        tell: Tells the job.
        host: Host name of the node.
        messages: What workers tell.
        paces: How long their steps take.
        record: Told of progress.
        tasks: Where it runs.
    """

    tell: Tell
    host: str
    messages: Feed[WorkerMessage]
    paces: Feed[Pace]
    record: Record
    tasks: Tasks
    _group: WatchedGroup = attrs.field(factory=lambda: WatchedGroup(pids={}))
    _progress: float | None = attrs.field(default=None, init=False)
    _told_progress: float | None = attrs.field(default=None, init=False)
    _unrecorded: WorkerMessage | None = attrs.field(default=None, init=False)
    _pace: Pace | None = attrs.field(default=None, init=False)
    _findings: tuple[ToldFinding, ...] = attrs.field(default=(), init=False)
    _holds: Holds = attrs.field(factory=Holds, init=False)
    _due: float = attrs.field(default=math.inf, init=False)
    _told_at: float = attrs.field(default=-math.inf, init=False)
    _sooner: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _work: Task | None = attrs.field(default=None, init=False)
    _ends: tuple[Callable[[], None], ...] = attrs.field(default=(), init=False)

    async def begin(self, group: WatchedGroup) -> None:
        """Tell of a group; of the one before it, progress alone still counts."""
        await self.end()
        self._group, self._pace, self._findings = group, None, ()
        self._holds.clear()
        self._due = math.inf
        self._ends = (
            self.messages.subscribe(self._take),
            self.paces.subscribe(self._take_pace),
        )
        if self._progress != self._told_progress:
            self._tell_by(SOON)
        self._work = self.tasks.start(self._tell_when_due())

    async def end(self) -> None:
        """Tell no more. Twice is fine."""
        for end in self._ends:
            end()
        work, self._work = self._work, None
        await cancel(work)
        self._record_progress()

    def found(self, found: Found) -> None:
        """Take what a monitor found, if it is worse than a piece of information."""
        finding = found.finding
        if finding.severity is Severity.INFO:
            return
        local = finding.local_rank
        told = ToldFinding(
            host=self.host,
            rank=None if local is None else self._group.rank(local),
            monitor=found.monitor,
            severity=finding.severity.value,
            reason=finding.reason,
            timestamp=found.timestamp,
        )
        self._findings = (*self._findings, told)[-MAX_FINDINGS:]
        self._tell_by(SOON)

    def ended(self, local_rank: int) -> None:
        """Note that a worker is gone: it holds up nobody."""
        if self._holds.end(local_rank):
            self._tell_by(AT_ONCE)

    async def flush(self) -> None:
        """Tell what is not told yet, since a failure is about to be."""
        work = self._work
        if work is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_CHANCE):
                # It may wait for its turn, with what was known when it began to.
                await cancel(work)
                if self._due < math.inf:
                    await self._tell(at_once=True)
        if self._work is work and work.done():
            self._work = self.tasks.start(self._tell_when_due())

    def _take(self, message: WorkerMessage) -> None:
        if message.kind is MessageKind.PROGRESS and message.marker is not None:
            self._take_progress(message, message.marker)
        elif message.kind is MessageKind.HOLD_SCALING and message.limit is not None:
            now = asyncio.get_running_loop().time()
            fresh = self._holds.begin(message.local_rank, message.limit, now)
            self._tell_by(AT_ONCE if fresh else SOON)
        elif message.kind is MessageKind.RELEASE_SCALING:
            self.ended(message.local_rank)

    def _take_progress(self, message: WorkerMessage, marker: float) -> None:
        if self._progress is None or marker > self._progress:
            self._progress, self._unrecorded = marker, message
            self._tell_by(SOON)

    def _take_pace(self, pace: Pace) -> None:
        self._pace = pace
        self._tell_by(SELDOM)

    def _tell_by(self, interval: float) -> None:
        """Have it told, so many seconds after the last time."""
        now = asyncio.get_running_loop().time()
        due = max(now, self._told_at + interval)
        if due < self._due:
            self._due = due
            self._sooner.set()

    async def _tell_when_due(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            until = min(self._due, self._holds.next_end)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if until == math.inf else until):
                    await self._sooner.wait()
            self._sooner.clear()
            if loop.time() >= min(self._due, self._holds.next_end):
                await self._tell()

    async def _tell(self, *, at_once: bool = False) -> None:
        self._record_progress()
        loop = asyncio.get_running_loop()
        self._due, self._told_at = math.inf, loop.time()
        vitals = Vitals(
            generation=self._group.generation,
            progress=self._progress,
            pace=self._pace,
            findings=self._findings,
            holds=self._holds.told(loop.time(), self._group.rank),
        )
        with contextlib.suppress(ElaunchError):
            try:
                await self.tell(vitals, at_once=at_once)
                self._told_progress = vitals.progress
            except BaseException:  # it may also have been given up
                self._tell_by(SELDOM)
                raise

    def _record_progress(self) -> None:
        """Record the farthest marker, once for all that came since the last time."""
        message, self._unrecorded = self._unrecorded, None
        if message and message.marker is not None:
            self.record(
                EventName.WORKER_PROGRESS,
                rank=self._group.rank(message.local_rank),
                local_rank=message.local_rank,
                marker=message.marker,
            )
