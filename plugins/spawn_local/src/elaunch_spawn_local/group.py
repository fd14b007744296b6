"""The running workers of one node in one generation."""

import asyncio
import contextlib
import functools
import io
import logging
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import attrs

from elaunch.api import OnStop, StopSchedule, StopStep, WorkerExit, WorkerSpec
from elaunch_spawn_local import tree
from elaunch_spawn_local.child import Child
from elaunch_spawn_local.error_file import Told, read_error_file
from elaunch_spawn_local.exit_watcher import ExitWatcher
from elaunch_spawn_local.function_call import Value, read_value
from elaunch_spawn_local.pump import LINGER, Pump


if TYPE_CHECKING:
    from psutil import Process


logger = logging.getLogger(__name__)

KILL_LIMIT = 5.0
"""Seconds that the kernel gets to carry out a SIGKILL."""

CONSOLE_LIMIT = 30.0
"""Seconds that a console gets at the end to take the last output."""


@attrs.define(eq=False)
class Worker:
    """One worker that was started.

    Attributes:
        spec: What was asked for.
        child: Its leading process.
        error_file: Where it may leave its error.
        result: Where its function's value will be; `None` for a command.
        gone: Set when the leading process was reaped.
        read: Set when its output was read to the end.
    """

    spec: WorkerSpec
    child: Child
    error_file: Path
    result: Path | None
    gone: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    read: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    @property
    def rank(self) -> int:
        """Its local rank."""
        return self.spec.ranks.local_rank


@attrs.define(eq=False)
class LocalGroup:
    """Workers that are processes of this host; see `elaunch.api.WorkerGroup`.

    Args:
        directory: The group's own directory; removed by `close`.
        mark: Beginning of an environment variable that only this group's workers and
            their descendants have.
        watcher: Tells of exits; the group owns it.
    """

    _directory: Path
    _mark: bytes
    _watcher: ExitWatcher
    _loop: asyncio.AbstractEventLoop = attrs.field(
        factory=asyncio.get_running_loop, init=False
    )
    _workers: dict[int, Worker] = attrs.field(factory=dict, init=False)
    _pump: Pump = attrs.field(init=False)
    _pumped: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _exits: asyncio.Queue[WorkerExit] = attrs.field(factory=asyncio.Queue, init=False)
    _tellers: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _stops: int = attrs.field(default=0, init=False)
    _no_grace: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _killed: set[int] = attrs.field(factory=set, init=False)
    _closing: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)
    closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._pump = Pump(
            on_end=lambda rank: self._from_pump(self._workers[rank].read.set),
            on_done=lambda: self._from_pump(self._pumped.set),
        )

    def adopt(self, worker: Worker) -> None:
        """Take over a worker that was just started; call before `begin`.

        Raises:
            OSError: If its end can't be watched; then it stays the caller's.
        """
        ended = functools.partial(self._on_exit, worker)
        self._watcher.watch(worker.child.pid, ended)
        self._workers[worker.rank] = worker
        self._pump.add(
            worker.rank,
            cast("io.FileIO", worker.child.stdout),
            cast("io.FileIO", worker.child.stderr),
            worker.spec.label,
        )

    def begin(self) -> None:
        """Start to carry output, now that all workers are here.

        Raises:
            RuntimeError: If the system gives no thread for it.
        """
        self._pump.start()

    @property
    def pids(self) -> Mapping[int, int]:
        """Process id by local rank, of every worker that was started."""
        return {rank: worker.child.pid for rank, worker in self._workers.items()}

    async def next_exit(self) -> WorkerExit:
        """Wait for the next worker to end; each is told once."""
        return await self._exits.get()

    async def stop(self, schedule: StopSchedule, on_step: OnStop) -> None:
        """Stop every worker and everything they started; return when all are gone.

        What can't be killed within `KILL_LIMIT` seconds is logged as an error.
        """
        if self._stops:
            self._no_grace.set()
        else:
            self._no_grace.clear()
        self._stops += 1
        try:
            family = await self._look()
            if not self._no_grace.is_set():
                await self._ask(schedule, on_step)
            await self._kill(family, on_step)
        finally:
            self._stops -= 1

    async def close(self) -> None:
        """Release pipes and files. Kills what still runs. Twice is fine."""
        async with self._closing:
            if self.closed:
                return
            if not self._pump.started:  # the start failed: nobody waits for output
                self._pumped.set()
                for worker in self._workers.values():
                    worker.read.set()
            await self._kill(await self._look(), _unheard)
            for worker in self._live():  # undying ones must not keep the pump waiting
                self._pump.worker_ended(worker.rank)
            if self._tellers:
                await asyncio.wait(self._tellers)
            await self._close_pump()
            self._watcher.close()
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
            self.closed = True

    async def _close_pump(self) -> None:
        try:
            async with asyncio.timeout(CONSOLE_LIMIT):
                await self._pumped.wait()
        except TimeoutError:
            logger.error(  # noqa: TRY400 - the place of the time-out says nothing
                "the console took no output for %.1f s; the last lines are lost",
                CONSOLE_LIMIT,
            )
        else:
            self._pump.close()

    def _live(self) -> list[Worker]:
        return [w for w in self._workers.values() if not w.gone.is_set()]

    def _from_pump(self, then: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody listens
            self._loop.call_soon_threadsafe(then)

    # -- ends ---------------------------------------------------------------------

    def _on_exit(self, worker: Worker) -> None:
        seen = time.time()
        # Before it is reaped: so far the group's id can't belong to anybody else.
        worker.child.signal_group(signal.SIGKILL)
        worker.child.popen.wait()  # returns at once: it has ended
        self._pump.worker_ended(worker.rank)
        worker.gone.set()
        if not self._live():
            self._no_grace.set()
        teller = self._loop.create_task(self._tell(worker, seen))
        self._tellers.add(teller)
        teller.add_done_callback(self._tellers.discard)

    async def _tell(self, worker: Worker, seen: float) -> None:
        # The margin is for a console that blocks: the end is told all the same.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER + 0.5):
                await worker.read.wait()
        exitcode = worker.child.popen.returncode
        told, returned = await asyncio.to_thread(_facts, worker, exitcode)
        self._exits.put_nowait(
            WorkerExit(
                ranks=worker.spec.ranks,
                pid=worker.child.pid,
                exitcode=exitcode,
                timestamp=seen,
                value=returned.value,
                message=returned.error or told.message,
                location=told.location,
                traceback=told.traceback,
                stderr_tail=self._pump.stderr_tail(worker.rank),
                failed=exitcode != 0 or returned.error != "",
            )
        )

    # -- stopping -----------------------------------------------------------------

    async def _look(self) -> "set[Process]":
        """Find who descends from the workers, while their parents still lead there."""
        leaders = [worker.child.pid for worker in self._live()]
        if not leaders:
            return set()
        return await asyncio.to_thread(tree.descendants, leaders)

    async def _ask(self, schedule: StopSchedule, on_step: OnStop) -> None:
        live = self._live()
        if not live:
            return
        for worker in live:
            worker.child.signal_group(schedule.signum)
            worker.child.signal_group(signal.SIGCONT)  # a stopped one must hear it
        on_step(StopStep.SIGNAL, schedule.signum, [w.child.pid for w in live])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(schedule.grace):
                await self._no_grace.wait()

    async def _kill(self, family: "set[Process]", on_step: OnStop) -> None:
        """Kill the workers that still live, and all that any of them started."""
        deadline = self._loop.time() + KILL_LIMIT
        while True:
            strays = await asyncio.to_thread(self._strays, family)
            live = self._live()
            if not live and not strays:
                return
            if self._loop.time() >= deadline:
                break
            for worker in live:
                worker.child.signal_group(signal.SIGKILL)
            await asyncio.to_thread(tree.kill, strays)
            self._tell_kill(live, strays, on_step)
            await self._wait_gone(live, strays, deadline)
        for pid in [w.child.pid for w in live] + [p.pid for p in strays]:
            logger.error(
                "process %d is still there %.1f s after SIGKILL; the kernel holds it, "
                "look for a hanging file system or device",
                pid,
                KILL_LIMIT,
            )

    def _strays(self, family: "set[Process]") -> "set[Process]":
        leaders = {w.child.pid for w in self._workers.values() if not w.gone.is_set()}
        return tree.alive(family) | tree.marked(self._mark, leaders)

    def _tell_kill(
        self, live: Sequence[Worker], strays: "set[Process]", on_step: OnStop
    ) -> None:
        pids = {w.child.pid for w in live} | {p.pid for p in strays}
        news = sorted(pids - self._killed)
        self._killed |= pids
        if news:
            on_step(StopStep.KILL, signal.SIGKILL, news)

    async def _wait_gone(
        self, live: Sequence[Worker], strays: "set[Process]", deadline: float
    ) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                for worker in live:
                    await worker.gone.wait()
        left = max(0.0, deadline - self._loop.time())
        await asyncio.to_thread(tree.wait_gone, strays, left)


def _facts(worker: Worker, exitcode: int) -> tuple[Told, Value]:
    """Read what the worker left in files; blocks."""
    if exitcode != 0:
        return read_error_file(worker.error_file), Value()
    return Told(), read_value(worker.result) if worker.result else Value()


def _unheard(step: StopStep, signum: int, pids: Sequence[int]) -> None:
    """Tell nobody of a step: there is no listener when a group is closed."""
