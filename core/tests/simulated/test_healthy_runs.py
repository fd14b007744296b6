"""Monitors and many healthy runs: nothing is found where nothing is wrong.

And in the same runs with a fault it is found, in time, and with the right name.
"""

import asyncio
import contextlib
import math
import os
import random

import attrs
import pytest

from elaunch.api import (
    Feed,
    Finding,
    MessageKind,
    Monitor,
    MonitorParameters,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.builtin import elaunch_register_monitors
from elaunch.options import build_options
from elaunch.testing.simulation import SimulatedLoop


SOCKET = 10
"""Datagrams that the kernel keeps for one socket."""

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
            pauses=tuple(
                (draw.uniform(0, 1500 + length), draw.uniform(0.1, 3000))
                for _ in range(draw.randint(0, 3))
            ),
            whole_host=draw.random() < 0.5,
        )


class Host:
    """An agent with monitors, and the workers that it watches."""

    def __init__(self, seed: int) -> None:
        self.loop = SimulatedLoop(seed)
        self.draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
        self.habits = Habits.drawn(self.draw)
        self.agent = self.loop.process("agent", offset=self.draw.uniform(0, 1e6))
        self.processes = self.loop.process("workers")
        self.messages: Feed[WorkerMessage] = Feed()
        self.unread = [0] * self.habits.workers
        self.away = 0.0
        """Seconds that the host did not run so far."""
        self.found: list[tuple[float, Finding]] = []
        self.heard = [0.0] * self.habits.workers
        self.done = [0] * self.habits.workers
        self.hung: set[int] = set()

    def monitor(self, spec: str, options: dict[str, str]) -> Monitor:
        (provider,) = (p for p in elaunch_register_monitors() if p.name == spec)
        params = MonitorParameters("job", messages=self.messages)
        return provider.create(
            params, build_options(provider.options, options, "--monitor")
        )

    # -- the workers -----------------------------------------------------------

    def say(self, rank: int, kind: MessageKind, **facts: object) -> None:
        """Put a message into the socket; as with the kernel's, it may be full."""
        if kind is MessageKind.HEARTBEAT and self.unread[rank] >= SOCKET:
            return
        self.unread[rank] += 1
        self.loop.arrive(0, self.agent, self.read, rank, kind, facts)

    def read(self, rank: int, kind: MessageKind, facts: dict[str, object]) -> None:
        self.unread[rank] -= 1
        self.heard[rank] = self.loop.now
        time = self.loop.time()
        message = WorkerMessage(local_rank=rank, kind=kind, time=time, **facts)  # type: ignore[arg-type] # a message has facts of several types
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
            usual = habits.step * math.exp(draw.gauss(0, habits.spread))
            await self.work(usual if step else habits.first)
            if rank in self.hung:
                return
            await barrier.wait()
            self.done[rank] = step
            self.say(rank, MessageKind.HEARTBEAT, step=step)
            if step and step % habits.every == 0:
                await self.save(rank)

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
        group = WatchedGroup(
            pids=dict.fromkeys(range(self.habits.workers), os.getpid())
        )
        monitor.environment()
        async with contextlib.aclosing(monitor.watch(group)) as findings:
            async for finding in findings:
                self.found.append((self.loop.now, finding))

    def run(
        self, monitors: dict[str, dict[str, str]], *, beyond: float = 0.0
    ) -> list[tuple[float, Finding]]:
        """Run all, and return what was found and when.

        Args:
            monitors: Options of each.
            beyond: Seconds to go on when the healthy workers are done.
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
            await asyncio.wait(workers, timeout=None if not self.hung else beyond)
            for task in (pausing, *workers, *watching):
                task.cancel()
            for process in (self.agent, self.processes):
                self.loop.resume(process)
            await asyncio.wait((pausing, *workers, *watching))

        self.loop.run_until_complete(job())
        faults = self.loop.faults
        self.loop.close()
        assert faults == []
        return self.found


ALL: dict[str, dict[str, str]] = {"heartbeat": {}, "sections": {}}


@pytest.mark.parametrize("hundred", range(10))
def test_healthy_runs_have_no_finding(hundred: int) -> None:
    for seed in range(hundred * 100, hundred * 100 + 100):
        host = Host(seed)

        found = host.run(ALL)
        assert found == [], (seed, host.habits)
