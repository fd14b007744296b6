"""The running workers of one node in one generation."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from elaunch.api import Notice, OnStop, StopSchedule, StopStep, WorkerExit
from elaunch_spawn_local import foreground, strays
from elaunch_spawn_local.ends import Seen, end_of
from elaunch_spawn_local.foreground import STDIN
from elaunch_spawn_local.fork_server.client import ForkServer, ServerLost
from elaunch_spawn_local.fork_server.descendants import HAS_PROC
from elaunch_spawn_local.notices import Notices
from elaunch_spawn_local.oom import OutOfMemory
from elaunch_spawn_local.output.output import NewOutput, Output
from elaunch_spawn_local.output.pump import LINGER
from elaunch_spawn_local.processes import state
from elaunch_spawn_local.worker import Worker


logger = logging.getLogger(__name__)

KILL_LIMIT = 5.0
"""Seconds that the kernel gets to carry out a SIGKILL."""

LATE, LATE_PART = 5.0, 0.2
"""Seconds, and part of the grace if that is less, that are left for the signal of who
looks for notices, and was expected to see one and to end by itself.
"""

CONSOLE_LIMIT = 30.0
"""Seconds that a console gets at the end to take the last output."""

STOPPED_LIMIT = 5.0
"""Likewise if the workers were stopped, and it takes nothing at all meanwhile."""

HURRIED_LIMIT = 2.0
"""Likewise if somebody is in a hurry: who stopped them twice, or can't wait for us."""


@attrs.define(eq=False, repr=False)
class LocalGroup:
    """Workers that are processes of this host; see `elaunch.api.WorkerGroup`.

    Args:
        server: The parent of the workers.
        directory: The group's own directory; removed by `close`.
        mark: Beginning of an environment variable that only this group's workers and
            their descendants have.
        notices: Tells workers what they should know.
        memory: Tells who was killed for lack of memory.
        new_output: Builds what takes the workers' output, given whom to tell of ends.

    Attributes:
        stack_directory: Where stacks are written down, by generation; an empty path
            for nowhere.
    """

    _server: ForkServer
    _directory: Path
    _mark: bytes
    _notices: Notices
    _memory: OutOfMemory
    _new_output: NewOutput
    _loop: asyncio.AbstractEventLoop = attrs.field(
        factory=asyncio.get_running_loop, init=False
    )
    output: Output = attrs.field(init=False)
    stack_directory: Path = attrs.field(factory=Path, init=False)
    _workers: dict[int, Worker] = attrs.field(factory=dict, init=False)
    _carried: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _exits: asyncio.Queue[WorkerExit] = attrs.field(factory=asyncio.Queue, init=False)
    _tellers: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _stops: int = attrs.field(default=0, init=False)
    _no_grace: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _hurried: bool = attrs.field(default=False, init=False)
    _on_step: OnStop | None = attrs.field(default=None, init=False)
    _killed: set[int] = attrs.field(factory=set, init=False)
    _given_up: bool = attrs.field(default=False, init=False)
    _closing: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)
    closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.output = self._new_output(
            lambda rank: self._from_thread(self._workers[rank].read.set),
            lambda: self._from_thread(self._carried.set),
        )
        self._server.listen(self)

    def adopt(self, worker: Worker) -> None:
        """Take a worker over that is about to be started."""
        self._workers[worker.rank] = worker

    def begin(self) -> None:
        """Start to carry output, now that all workers are here.

        Raises:
            RuntimeError: If the system gives no thread for it.
        """
        self.output.begin()

    @property
    def pids(self) -> Mapping[int, int]:
        """Process id by local rank, of every worker that was started."""
        return {rank: worker.pid for rank, worker in self._workers.items()}

    async def next_exit(self) -> WorkerExit:
        """Wait for the next worker to end; each is told once."""
        return await self._exits.get()

    async def notify(self, notice: Notice) -> Sequence[int]:
        """Tell every worker of a notice; none ends of it."""
        return await self._notices.tell(notice, self._notice_files())

    async def dump_stacks(self, seconds: float) -> dict[int, str]:
        """Write down where the live workers are; nobody ends of it."""
        from elaunch_spawn_local.stacks import Target, write_stacks

        targets = [
            Target(worker.rank, worker.spec.ranks.rank, worker.pid, worker.stack_file)
            for worker in self._live()
        ]
        if not targets or not self.stack_directory.name:
            return {}
        names = next(iter(self._workers.values())).spec.names
        directory = self.stack_directory / names.get("generation", "0")
        try:
            return await write_stacks(targets, directory, seconds)
        except OSError as error:
            logger.warning("can't write stacks to %r: %s", str(directory), error)
            return {}

    async def stop(self, schedule: StopSchedule, on_step: OnStop) -> None:
        """Stop every worker and everything they started; return when all are gone.

        What can't be killed within `KILL_LIMIT` seconds is told as the last step, and
        a worker among them as a failed one.
        """
        if self._stops:
            self._no_grace.set()
        else:
            self._no_grace.clear()
        self._hurried = self._hurried or self._stopped
        self._stopped = self._stopped or bool(self._live())
        self._stops += 1
        self._on_step = on_step
        end = self._loop.time() + schedule.grace
        try:
            if not self._no_grace.is_set() and schedule.stacks:
                await self._dump(min(schedule.stacks, schedule.grace), on_step)
            if not self._no_grace.is_set():
                await self._ask(schedule, end, on_step)
            await self._kill()
        finally:
            self._stops -= 1

    async def close(self) -> None:
        """Release pipes and files. Kills what still runs. Twice is fine."""
        async with self._closing:
            if self.closed:
                return
            if not self.output.begun:  # the start failed: nobody waits for output
                self._carried.set()
                for worker in self._workers.values():
                    worker.read.set()
            if not self._given_up:
                await self._kill()
            for worker in self._live():  # undying ones must not keep the output waiting
                self.output.worker_ended(worker.rank)
            if self._tellers:
                await asyncio.wait(self._tellers)
            await self._close_output()
            self._server.listen(None)
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
            self.closed = True

    async def _close_output(self) -> None:
        begin = self._loop.time()
        try:
            while not self._carried.is_set():
                taken, now = self.output.taken, self._loop.time()
                limit = begin + (HURRIED_LIMIT if self._hurried else CONSOLE_LIMIT)
                if self._stopped:
                    limit = min(limit, now + STOPPED_LIMIT)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(limit):
                        await self._carried.wait()
                late = self._loop.time() >= begin + CONSOLE_LIMIT
                if self._hurried or late or self.output.taken == taken:
                    break
        except asyncio.CancelledError:
            self._hurried = True
            raise
        if self._carried.is_set():
            self.output.close()
            return
        self.output.give_up()
        logger.error(
            "the console took no output for %.1f s; the last lines are lost",
            self._loop.time() - begin,
        )

    def _notice_files(self) -> dict[int, Path]:
        return {worker.pid: worker.notice_file for worker in self._live()}

    def _live(self) -> list[Worker]:
        return [worker for worker in self._workers.values() if worker.live]

    def _from_thread(self, then: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody listens
            self._loop.call_soon_threadsafe(then)

    # -- what the fork server tells: see `fork_server.client.Listener` -------------

    def started(self, rank: int, pid: int) -> None:
        """Note that a worker runs."""
        worker = self._workers[rank]
        worker.pid, worker.began = pid, self._loop.time()

    def exited(self, rank: int, status: int) -> None:
        """Note the end of a worker, and tell it when its output was read."""
        self._ended(self._workers[rank], status)

    def killed(self, pids: Sequence[int]) -> None:
        """Pass on whom a sweep killed."""
        self._killed.update(pids)
        if self._on_step:
            self._on_step(StopStep.KILL, signal.SIGKILL, pids)

    def lost(self, reason: str) -> None:
        """Take all workers for dead: the kernel kills them when their parent ends."""
        logger.info("the fork server is lost: %s", reason)
        why = "the fork server that ran the workers was killed or has failed"
        for worker in self._live():
            self._ended(worker, signal.SIGKILL, why=why)

    def _ended(
        self, worker: Worker, status: int, *, why: str = "", undying: str = ""
    ) -> None:
        if not worker.live:  # it was given up before
            return
        worker.status = status
        worker.gone.set()
        if worker.has_terminal:
            foreground.take_back(STDIN, worker.pid)
        self.output.worker_ended(worker.rank)
        if not self._live():
            self._no_grace.set()
        seen = Seen(
            time=time.time(),
            uptime=self._loop.time() - worker.began,
            stderr_tail=(),
            killed=worker.pid in self._killed,
            why=why,
            undying=undying,
        )
        teller = self._loop.create_task(self._tell(worker, seen))
        self._tellers.add(teller)
        teller.add_done_callback(self._tellers.discard)

    async def _tell(self, worker: Worker, seen: Seen) -> None:
        # The margin is for a console that blocks: the end is told all the same.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER + 0.5):
                await worker.read.wait()
        ended = await asyncio.to_thread(self._end_of, worker, seen)
        self._exits.put_nowait(ended)

    def _end_of(self, worker: Worker, seen: Seen) -> WorkerExit:
        """Read what a worker left; blocks."""
        seen = attrs.evolve(
            seen,
            error_file=self.output.keep_error_file(worker.rank, worker.error_file),
            stderr_tail=self.output.stderr_tail(worker.rank),
            log_paths=self.output.log_paths(worker.rank),
        )
        return end_of(worker, seen, self._memory)

    # -- stopping -----------------------------------------------------------------

    async def _dump(self, seconds: float, on_step: OnStop) -> None:
        """Write down where the workers are, unless somebody is in a hurry."""
        pids = [worker.pid for worker in self._live()]
        dump = asyncio.ensure_future(self.dump_stacks(seconds))
        hurry = asyncio.ensure_future(self._no_grace.wait())
        try:
            await asyncio.wait((dump, hurry), return_when=asyncio.FIRST_COMPLETED)
            files = dump.result() if dump.done() else {}
        finally:
            dump.cancel()
            hurry.cancel()
        if files:
            on_step(StopStep.STACKS, 0, pids, [*files.values()])

    async def _ask(self, schedule: StopSchedule, end: float, on_step: OnStop) -> None:
        live = self._live()
        if not live:
            return
        if schedule.notice:
            signum, pids = await self._notices.warn(
                schedule.notice, self._notice_files()
            )
            on_step(StopStep.NOTICE, signum, pids)
            live = self._live()
        patient = await self._notices.patient(schedule.notice, live)
        self._signal([w for w in live if w not in patient], schedule.signum, on_step)
        if patient:
            await self._wait_for_end(end - min(LATE, schedule.grace * LATE_PART))
            self._signal([w for w in patient if w.live], schedule.signum, on_step)
        await self._wait_for_end(end)

    def _signal(self, workers: Sequence[Worker], signum: int, on_step: OnStop) -> None:
        if not workers or self._no_grace.is_set():
            return
        for worker in workers:
            self._server.signal(worker.rank, signum)
            self._server.signal(worker.rank, signal.SIGCONT)  # a stopped one must hear
        on_step(StopStep.SIGNAL, signum, [worker.pid for worker in workers])

    async def _wait_for_end(self, when: float) -> None:
        """Wait until no worker lives, at most until then; a hurry cuts it short."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(when):
                await self._no_grace.wait()

    async def _kill(self) -> None:
        """Kill the workers that still live, and all that any of them started."""
        left: list[int] = []
        complete = HAS_PROC
        try:
            left += await self._server.sweep(KILL_LIMIT)
        except ServerLost:
            complete = False
        if not complete:
            left += await self._kill_strays()
        if left:
            await self._give_up(left)

    async def _give_up(self, left: Sequence[int]) -> None:
        """Tell of processes that are still there long after SIGKILL."""
        self._given_up = True
        held = {pid: await asyncio.to_thread(state, pid) for pid in left}
        for pid, how in held.items():
            logger.error(
                "process %d is still there %.1f s after SIGKILL (state %s); the kernel "
                "holds it, look for a hanging file system or device",
                pid,
                KILL_LIMIT,
                how or "unknown",
            )
        for worker in self._live():
            if worker.pid in held:
                how = f"the kernel holds it (state {held[worker.pid] or 'unknown'})"
                self._ended(worker, signal.SIGKILL, undying=how)
        if self._on_step:
            self._on_step(StopStep.LEFT, signal.SIGKILL, left)

    async def _kill_strays(self) -> Sequence[int]:
        """Kill those whom nothing but their environment tells to be of this group."""
        end = self._loop.time() + KILL_LIMIT
        while True:
            # Again, until a look finds nobody: they may go on to start others.
            found = await asyncio.to_thread(strays.marked, self._mark, {os.getpid()})
            left = max(0.0, end - self._loop.time())
            if not found or not left:
                return sorted(process.pid for process in found)
            await asyncio.to_thread(strays.kill, found)
            self.killed(sorted(process.pid for process in found))
            await asyncio.to_thread(strays.wait_gone, found, left)
