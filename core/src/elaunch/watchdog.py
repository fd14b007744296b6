"""The monitor `timer`: kills workers whose timers expire (`elaunch.timer`)."""

import asyncio
import contextlib
import logging
import shutil
import signal
import tempfile
import time
import weakref
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from elaunch.api import EventName, Finding, Record, Severity, WatchedGroup
from elaunch.timer.book import Book, Lines, Timer, killing, parsed
from elaunch.timer.pipe import PipeReader, is_read, make_pipe
from elaunch.timer.processes import holder


logger = logging.getLogger(__name__)

TIMER_FILE = "TORCHELASTIC_TIMER_FILE"
"""Variable that names the pipe: to the agent, if it is set there, and to workers."""


@attrs.frozen
class TimerOptions:
    """Options of the monitor ``timer``.

    Attributes:
        path: Where the named pipe is made; empty for the one that the environment
            names (TORCHELASTIC_TIMER_FILE), or one that is no file.
    """

    path: str = ""


@attrs.define(eq=False)
class Watchdog:
    """Watches one group's timers; see `elaunch.monitor.Monitor`.

    A timer counts if its process is a worker of this group or below one. The agent is
    never killed: the end of the worker is a failure like any other, with the timer as
    its reason.

    Attributes:
        record: Told what happens.
        path: The pipe that was asked for; empty for one that is no file.
    """

    record: Record
    path: str = ""
    _pipe: PipeReader | None = attrs.field(default=None, init=False)
    _close: Callable[[], object] = attrs.field(default=bool, init=False)

    def environment(self) -> Mapping[str, str]:
        """Make the pipe, if it is not there, and tell the workers where it is."""
        return {TIMER_FILE: self._opened().path}

    def _opened(self) -> PipeReader:
        if not self._pipe:
            self._pipe = self._made()
            # A group may never start, and then nobody watches it.
            self._close = weakref.finalize(self, self._pipe.close)
        return self._pipe

    def _made(self) -> PipeReader:
        if not self.path:
            pipe = PipeReader()
            if is_read(pipe.path):
                return pipe
            pipe.close()  # a system without /proc
        path = self.path or str(Path(self._private_directory()) / "timers")
        make_pipe(path)
        return PipeReader(path)

    def _private_directory(self) -> str:
        path = tempfile.mkdtemp(prefix="elaunch-timer-")
        weakref.finalize(self, shutil.rmtree, path, ignore_errors=True)
        return path

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield a finding for each timer that expires, and kill its holder.

        Args:
            group: Whom to watch.
        """
        pipe = self._opened()
        watch = _Watch(group.pids, self.record)
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fd, lambda: watch.take(pipe.read()))
        self.record(
            EventName.WATCHDOG_STARTED,
            watchdog_event="watchdog started",
            path=pipe.path,
        )
        try:
            while True:
                await watch.news()
                for over in watch.book.expire(loop.time()):
                    yield watch.finding(over)
                    watch.kill(over)
        finally:
            loop.remove_reader(pipe.fd)
            self._pipe = None
            self._close()
            self.record(EventName.WATCHDOG_STOPPED, watchdog_event="watchdog stopped")


class _Watch:
    """The timers of one group."""

    def __init__(self, pids: Mapping[int, int], record: Record) -> None:
        self._ranks = {pid: rank for rank, pid in pids.items()}
        self._record = record
        self._came = asyncio.Event()
        self._lines = Lines()
        self._warned = False
        self.book = Book(lambda pid: holder(pid, self._ranks))

    def take(self, data: bytes) -> None:
        """Take what workers wrote."""
        requests = [each for each in map(parsed, self._lines.feed(data)) if each]
        now = asyncio.get_running_loop().time()
        refused = self.book.take(requests, now=now, unix=time.time())
        if refused and not self._warned:
            self._warned = True
            logger.warning(
                "timer %r of process %d does not count: that is no worker, nor below "
                "one, or it has too many",
                refused[0].scope_id,
                refused[0].worker_pid,
            )
        self._came.set()

    async def news(self) -> None:
        """Wait until timers came or went, or the first expires."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self.book.next_deadline()):
                await self._came.wait()
        self._came.clear()

    def finding(self, over: Sequence[Timer]) -> Finding:
        """Record what has expired, and return what to say of it."""
        for timer in over:
            self._tell(EventName.TIMER_EXPIRED, "timer expired", timer)
        timer = killing(over) or over[0]
        worker = timer.holder.pid == timer.holder.root
        who = "its holder" if worker else f"its holder, process {timer.holder.pid}"
        signum = timer.request.signal
        fate = f"is killed by {_name(signum)}" if signum > 0 else "names no signal"
        fatal = worker and signum > 0
        return Finding(
            local_rank=self._ranks[timer.holder.root],
            severity=Severity.UNHEALTHY if fatal else Severity.DEGRADED,
            reason=f"timer {timer.request.scope_id!r} has expired; {who} {fate}",
            evidence={key: str(value) for key, value in _facts(timer)},
            hang=True,
        )

    def kill(self, over: Sequence[Timer]) -> None:
        """Kill who holds them, if one of them has a signal."""
        timer = killing(over)
        if timer and timer.holder.send(timer.request.signal):
            self._tell(EventName.TIMER_KILLED, "kill worker process", timer)

    def _tell(self, name: EventName, theirs: str, timer: Timer) -> None:
        facts = {key: str(value) for key, value in _facts(timer)}
        self._record(name, watchdog_event=theirs, **facts)


def _facts(timer: Timer) -> Iterator[tuple[str, object]]:
    yield "worker_pid", timer.holder.pid
    yield "scope_id", timer.request.scope_id
    yield "expiration_time", timer.request.expiration_time
    yield "signal", timer.request.signal


def _name(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
