"""Simulated workers: a spawner whose workers end when the simulation says so."""

import asyncio
import itertools
import random
import signal
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import attrs

from elaunch.api import (
    Notice,
    OnStop,
    StopSchedule,
    StopStep,
    WorkerEntry,
    WorkerExit,
    WorkerSpec,
)


_PIDS: Iterator[int] = itertools.count(1000)


@attrs.define(kw_only=True)
class Habits:
    """How one node and its workers behave.

    Attributes:
        start_time: Seconds it takes to open a meeting point for them, and to start
            them.
        stop_time: Seconds they take to end after the first signal.
        dump_time: Seconds it takes to write their stacks down.
        fault: What happens instead of a start, if anything.
        crashes: How many of the next groups crash as soon as they run.
        finishing: Whether they end well by themselves.
        unfit: Whether the node is not fit to run any.
        check_time: Seconds that it takes to find out whether it is.
    """

    start_time: float = 0.01
    stop_time: float = 0.05
    dump_time: float = 0.1
    fault: Exception | None = None
    crashes: int = 0
    finishing: bool = False
    unfit: bool = False
    check_time: float = 0.0


@attrs.define(eq=False)
class SimulatedGroup:
    """The running workers of one node in one generation.

    Attributes:
        specs: What was started.
        habits: How they behave.
        pids: Process id by local rank.
        on_end: Called when none is alive any more.
        on_notice: Called when they are told of something, before they are stopped.
    """

    specs: Sequence[WorkerSpec]
    habits: Habits
    on_end: Callable[["SimulatedGroup"], None]
    on_notice: Callable[["SimulatedGroup", Notice], None]
    pids: Mapping[int, int] = attrs.field(init=False)
    _alive: dict[int, WorkerSpec] = attrs.field(init=False)
    _began: float = attrs.field(init=False)
    _exits: asyncio.Queue[WorkerExit] = attrs.field(factory=asyncio.Queue, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._alive = {spec.ranks.local_rank: spec for spec in self.specs}
        self._began = asyncio.get_running_loop().time()
        self.pids = {local_rank: next(_PIDS) for local_rank in self._alive}

    @property
    def alive(self) -> bool:
        """Whether any worker is."""
        return bool(self._alive)

    @property
    def environment(self) -> Mapping[str, str]:
        """The variables of the first worker."""
        return self.specs[0].environment

    @property
    def endpoint(self) -> str:
        """Where it meets the others of its generation."""
        environment = self.environment
        return f"{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}"

    @property
    def generation(self) -> int:
        """The generation that it belongs to."""
        return int(self.environment["ELAUNCH_GENERATION"])

    def exit(self, exitcode: int, local_rank: int | None = None) -> None:
        """End one worker, or all."""
        for rank in tuple(self._alive) if local_rank is None else (local_rank,):
            spec = self._alive.pop(rank, None)
            if spec:
                now = asyncio.get_running_loop().time()
                ended = WorkerExit(
                    ranks=spec.ranks,
                    pid=self.pids[rank],
                    exitcode=exitcode,
                    timestamp=now,
                    uptime=now - self._began,
                )
                self._exits.put_nowait(ended)
        self._changed.set()
        if not self._alive:
            self.on_end(self)

    def vanish(self) -> None:
        """Die with the node."""
        self._alive.clear()
        self.on_end(self)

    async def next_exit(self) -> WorkerExit:
        """Wait for the next worker to end."""
        return await self._exits.get()

    async def notify(self, notice: Notice) -> Sequence[int]:
        """Tell who watches; no worker minds."""
        if self._alive:
            self.on_notice(self, notice)
        return tuple(self.pids[rank] for rank in self._alive)

    async def dump_stacks(self, seconds: float) -> Mapping[int, str]:
        """Name a file for each worker that lives; it takes some time."""
        await asyncio.sleep(min(self.habits.dump_time, seconds))
        return {
            rank: f"stacks/{self.generation}/rank-{spec.ranks.rank}.txt"
            for rank, spec in self._alive.items()
        }

    async def stop(self, schedule: StopSchedule, on_step: OnStop) -> None:
        """Stop every worker by the schedule."""
        again, self._stopping = self._stopping, True
        pids = tuple(self.pids[rank] for rank in self._alive)
        if not self._alive:
            return
        if not again and schedule.grace > 0:
            if schedule.stacks:
                files = await self.dump_stacks(schedule.stacks)
                on_step(StopStep.STACKS, 0, pids, [*files.values()])
            if schedule.notice:
                on_step(StopStep.NOTICE, 0, pids)
            on_step(StopStep.SIGNAL, schedule.signum, pids)
            patience = min(self.habits.stop_time, schedule.grace)
            stubborn = self.habits.stop_time > schedule.grace
            if not await self._ended_within(patience) and not stubborn:
                self.exit(-schedule.signum)
        if self._alive:
            on_step(StopStep.KILL, signal.SIGKILL, pids)
            self.exit(-signal.SIGKILL)

    async def close(self) -> None:
        """Kill what still runs. Twice is fine."""
        self.exit(-signal.SIGKILL)

    async def _ended_within(self, seconds: float) -> bool:
        """Wait for a kill from elsewhere; tell whether one came."""
        try:
            async with asyncio.timeout(seconds):
                while self._alive:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True


@attrs.define(eq=False)
class SimulatedSpawner:
    """Starts groups of simulated workers.

    Attributes:
        habits: How they behave.
        random: Draws what varies.
        on_start: Told of each group that runs.
        on_end: Told when none of its workers is alive.
        on_notice: Told of each notice to a group.
    """

    habits: Habits
    random: random.Random
    on_start: Callable[[SimulatedGroup], None]
    on_end: Callable[[SimulatedGroup], None]
    on_notice: Callable[[SimulatedGroup, Notice], None]

    def prepare(self, entry: WorkerEntry) -> None:
        """There is nothing to get ready."""

    async def start(
        self,
        entry: WorkerEntry,  # noqa: ARG002 - the port's signature
        workers: Sequence[WorkerSpec],
    ) -> SimulatedGroup:
        """Start all workers or none."""
        await asyncio.sleep(self.habits.start_time * self.random.uniform(0.5, 1.5))
        if self.habits.fault:
            raise self.habits.fault
        group = SimulatedGroup(workers, self.habits, self.on_end, self.on_notice)
        self.on_start(group)
        loop = asyncio.get_running_loop()
        if self.habits.crashes:
            self.habits.crashes -= 1
            loop.call_later(self.random.uniform(0, 0.05), group.exit, 1, 0)
        elif self.habits.finishing:
            loop.call_later(self.random.uniform(0, 0.5), group.exit, 0)
        return group

    async def close(self) -> None:
        """Do nothing: groups are closed by who started them."""


@attrs.define(eq=False)
class SimulatedBootstrap:
    """Opens a new meeting point for each generation.

    Attributes:
        host: Host of the node.
        ports: Gives port numbers, each once in a simulation.
        habits: How long it takes.
        on_close: Told of the meeting point that is closed.
        endpoint: What is open, or empty.
    """

    host: str
    ports: Iterator[int]
    habits: Habits
    on_close: Callable[[str], None]
    endpoint: str = ""

    @property
    def is_open(self) -> bool:
        """Whether there is a meeting point."""
        return bool(self.endpoint)

    async def open(
        self,
        generation: int,  # noqa: ARG002 - the port's signature
        peers: Collection[str],  # noqa: ARG002 - the port's signature
    ) -> Mapping[str, str]:
        """Open another port."""
        await self.close()
        await asyncio.sleep(self.habits.start_time)
        port = str(next(self.ports))
        self.endpoint = f"{self.host}:{port}"
        return {"address": self.host, "port": port}

    def environment(self, info: Mapping[str, str]) -> Mapping[str, str]:
        """Return what the workers are told."""
        return {"MASTER_ADDR": info["address"], "MASTER_PORT": info["port"]}

    async def close(self) -> None:
        """Tell who watches; there is no socket."""
        endpoint, self.endpoint = self.endpoint, ""
        if endpoint:
            self.on_close(endpoint)
