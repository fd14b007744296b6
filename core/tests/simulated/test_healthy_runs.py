"""Monitors and many healthy runs: nothing is found where nothing is wrong.

And in the same runs with a fault it is found, in time, and with the right name.
"""

import asyncio
import contextlib
import math
import os
import random
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from depth import seeds

from elaunch.api import (
    Feed,
    Finding,
    MessageKind,
    Monitor,
    MonitorParameters,
    Severity,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.builtin import elaunch_register_monitors
from elaunch.monitors.waiting import LONGEST_NAP
from elaunch.options import build_options
from elaunch.testing.simulation import SimulatedLoop


SOCKET = 10
"""Datagrams that the kernel keeps for one socket."""

GONE = 2**30
"""An id that no process has."""

Found = tuple[float, Finding]

FLOOR = 300.0
"""Seconds that a learned limit has at least, by default."""


@attrs.frozen
class Habits:
    """How one run goes; drawn by its seed.

    Attributes:
        workers: How many there are.
        steps: How many steps they do.
        first: Seconds of the first step.
        step: Median of the seconds of the others.
        spread: How noisy they are: sigma of the logarithm.
        every: How many steps there are from one checkpoint to the next.
        checkpoint: Seconds of a checkpoint.
        in_section: Whether it is a section with a limit.
        together: Whether workers wait for each other in each step.
        pauses: Begin and length of the times in which the agent does not run.
        whole_host: Whether its workers do not run then, either.
    """

    workers: int
    steps: int
    first: float
    step: float
    spread: float
    every: int
    checkpoint: float
    in_section: bool
    together: bool
    pauses: tuple[tuple[float, float], ...]
    whole_host: bool

    @classmethod
    def drawn(cls, draw: random.Random) -> "Habits":
        step = math.exp(draw.uniform(math.log(0.05), math.log(60)))
        steps = draw.randint(60, 120)
        in_section = draw.random() < 0.5
        length = steps * step
        return cls(
            workers=draw.choice((1, 2, 4)),
            steps=steps,
            first=draw.uniform(0, 1500),
            step=step,
            spread=draw.uniform(0.05, 0.6),
            every=draw.randint(10, 50),
            checkpoint=draw.uniform(0, 1500 if in_section else 0.8 * FLOOR),
            in_section=in_section,
            together=draw.random() < 0.7,
            pauses=tuple(
                (draw.uniform(0, 1500 + length), draw.uniform(0.1, 3000))
                for _ in range(draw.randint(0, 3))
            ),
            whole_host=draw.random() < 0.5,
        )


class Host:
    """An agent with monitors, and the workers that it watches."""

    def __init__(self, seed: int, **habits: Any) -> None:
        self.loop = SimulatedLoop(seed)
        self.draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self.habits = attrs.evolve(Habits.drawn(self.draw), **habits)
        self.agent = self.loop.process("agent", offset=self.draw.uniform(0, 1e6))
        self.processes = self.loop.process("workers")
        self.messages: Feed[WorkerMessage] = Feed()
        self.unread = [0] * self.habits.workers
        self.away = 0.0
        """Seconds that the host did not run so far."""
        self.found: asyncio.Queue[tuple[float, Finding]] = asyncio.Queue()
        self.pids = dict.fromkeys(range(self.habits.workers), os.getpid())
        self.heard = [0.0] * self.habits.workers
        self.told: list[int | None] = [None] * self.habits.workers
        self.longest = self.habits.checkpoint
        """Seconds of the longest time that a worker was busy after its first step."""
        self.slowness: dict[int, float] = {}
        """How many times the usual time the steps of a worker take."""
        self.hangs: tuple[int, int] | None = None
        """Which worker hangs, and in which step."""

    def monitor(self, spec: str, options: Mapping[str, str]) -> Monitor:
        (provider,) = (p for p in elaunch_register_monitors() if p.name == spec)
        params = MonitorParameters("job", messages=self.messages)
        return provider.create(
            params, build_options(provider.options_class(), options, "--monitor")
        )

    # -- the workers -----------------------------------------------------------

    def say(self, rank: int, kind: MessageKind, **facts: Any) -> None:
        """Put a message into the socket; as with the kernel's, it may be full."""
        if kind is MessageKind.HEARTBEAT and self.unread[rank] >= SOCKET:
            return
        self.unread[rank] += 1
        self.loop.arrive(0, self.agent, self.read, rank, kind, facts)

    def read(self, rank: int, kind: MessageKind, facts: dict[str, Any]) -> None:
        self.unread[rank] -= 1
        self.heard[rank] = self.loop.now
        self.told[rank] = facts.get("step", self.told[rank])
        time = self.loop.time()
        message = WorkerMessage(local_rank=rank, kind=kind, time=time, **facts)
        self.messages.tell(message)

    async def work(self, seconds: float) -> None:
        """Take a time, and the longer for pauses of the host."""
        end = self.loop.now + seconds - self.away
        while (left := end + self.away - self.loop.now) > 0:  # noqa: ASYNC110 - time is all that is waited for
            await asyncio.sleep(left)

    async def worker(self, rank: int, barrier: asyncio.Barrier) -> None:
        habits = self.habits
        draw = random.Random(f"{habits} {rank}")  # noqa: S311 - as above
        for step in range(habits.steps):
            if self.hangs == (rank, step):
                return  # and its process stays
            usual = habits.step * math.exp(draw.gauss(0, habits.spread))
            usual *= self.slowness.get(rank, 1.0)
            self.longest = max(self.longest, usual + habits.checkpoint)
            await self.work(usual if step else habits.first)
            if habits.together:
                await barrier.wait()
            self.say(rank, MessageKind.HEARTBEAT, step=step, step_time=usual)
            if step and step % habits.every == 0:
                await self.save(rank)
        self.pids[rank] = GONE

    async def save(self, rank: int) -> None:
        if not self.habits.in_section:
            await self.work(self.habits.checkpoint)
            return
        limit = 1.01 * self.habits.checkpoint
        facts = {"name": "save", "token": 1}
        self.say(rank, MessageKind.SECTION, limit=limit, **facts)
        await self.work(self.habits.checkpoint)
        self.say(rank, MessageKind.SECTION_END, **facts)

    # -- the agent -------------------------------------------------------------

    async def pauses(self) -> None:
        for since, length in sorted(self.habits.pauses):
            await asyncio.sleep(max(0.0, since - self.loop.now))
            paused = [self.agent]
            if self.habits.whole_host:
                paused.append(self.processes)
            for process in paused:
                self.loop.pause(process)
            await asyncio.sleep(length)
            if self.habits.whole_host:
                self.away += length
            for process in paused:
                self.loop.resume(process)

    async def watch(self, monitor: Monitor) -> None:
        group = WatchedGroup(pids=self.pids)
        monitor.environment()
        async with contextlib.aclosing(monitor.watch(group)) as findings:
            async for finding in findings:
                self.found.put_nowait((self.loop.now, finding))

    def run(self, monitors: Mapping[str, Mapping[str, str]]) -> list[Found]:
        """Run until all is done or something is found; return what was, and when.

        Args:
            monitors: Options of each.
        """

        async def job() -> None:
            watching = [
                self.loop.spawn(self.agent, self.watch(self.monitor(name, options)))
                for name, options in monitors.items()
            ]
            barrier = asyncio.Barrier(self.habits.workers)
            pausing = asyncio.ensure_future(self.pauses())
            workers = [
                self.loop.spawn(self.processes, self.worker(rank, barrier))
                for rank in range(self.habits.workers)
            ]
            ended = asyncio.ensure_future(asyncio.wait(workers))
            found = asyncio.ensure_future(self.found.get())
            everything: list[asyncio.Future[Any]] = [found, ended, pausing]
            await asyncio.wait(
                everything[: 1 if self.hangs else 2],
                return_when=asyncio.FIRST_COMPLETED,
            )
            if found.done():
                results.append(found.result())
            everything += [*workers, *watching]
            for task in everything:
                task.cancel()
            for process in (self.agent, self.processes):
                self.loop.resume(process)
            await asyncio.wait(everything)

        results: list[Found] = []
        self.loop.run_until_complete(job())
        faults = self.loop.faults
        self.loop.close()
        assert faults == []
        return results


ALL: Mapping[str, Mapping[str, str]] = {
    "heartbeat": {},
    "sections": {},
    "straggler": {},
}


@pytest.mark.parametrize("ten", range(100))  # 1,000 runs: that is the promise
def test_healthy_runs_have_no_finding(ten: int) -> None:
    for seed in range(ten * 10, ten * 10 + 10):
        host = Host(seed)

        assert host.run(ALL) == [], (seed, host.habits)


@pytest.mark.parametrize("ten", seeds(4))
def test_one_that_hangs_in_such_a_run_is_found_in_time(ten: int) -> None:
    for seed in range(ten * 10, ten * 10 + 10):
        host = Host(seed)
        habits = host.habits
        rank = host.draw.randrange(habits.workers)
        step = host.draw.randrange(habits.steps)
        host.hangs = (rank, step)

        ((at, finding),) = host.run(ALL)
        assert finding.severity is Severity.UNHEALTHY
        assert finding.hang
        named = finding.local_rank
        assert named is not None
        if not habits.together:
            assert named == rank, seed
        last = host.told[named]
        told = "no step" if last is None else f"step {last}"
        assert told in finding.evidence["silent"], seed
        limit = float(finding.evidence["limit"].split()[0])
        assert limit <= max(1800, 5 * host.longest + 1), seed
        pauses = sum(length + 2 * LONGEST_NAP for _, length in habits.pauses)
        assert limit - 0.1 <= at - host.heard[named] <= limit + 1 + pauses, seed


@pytest.mark.parametrize("ten", seeds(2))
def test_one_that_is_slow_in_such_a_run_is_named(ten: int) -> None:
    for seed in range(ten * 10, ten * 10 + 10):
        host = Host(
            seed, workers=4, steps=400, step=1, spread=0.3, every=500, pauses=()
        )
        rank = host.draw.randrange(4)
        host.slowness = {rank: 2.5}

        ((_, finding),) = host.run(ALL)
        assert finding.severity is Severity.DEGRADED
        assert finding.local_rank == rank, seed
        assert finding.reason.startswith("slow: a step takes "), seed
