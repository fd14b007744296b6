"""Small things that tests of spawners share: workers, scripts, steps, ends."""

import asyncio
import contextlib
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import attrs
import pytest

from elaunch.api import (
    Feed,
    OutputBlock,
    ScriptEntry,
    Spawner,
    StopStep,
    WorkerEntry,
    WorkerExit,
    WorkerGroup,
    WorkerRanks,
    WorkerSpec,
)
from elaunch.testing.lifeline import Lifeline


SOON = 120.0
"""Seconds after which a test gives up on something that should happen at once."""

IGNORE_SIGTERM = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
"""Python code of a process that can only be killed."""

SLEEP = "import signal\nwhile True: signal.pause()\n"
"""Python code of a process that ends by signals alone."""

Script = Callable[[str], ScriptEntry]
"""Turns Python code into workers that run it."""


def worker(rank: int, label: str = "", **environment: str) -> WorkerSpec:
    """Return one worker to start, with one rank for all its ranks."""
    ranks = WorkerRanks(local_rank=rank, rank=rank, role_rank=rank)
    return WorkerSpec(ranks=ranks, environment=environment, role="test", label=label)


@attrs.define(eq=False)
class Steps:
    """Remembers the steps of a stop.

    Attributes:
        taken: Each step with its signal and pids.
        files: The files that were written.
        first: Set when the first step is taken.
    """

    taken: list[tuple[StopStep, int, list[int]]] = attrs.field(factory=list)
    files: list[str] = attrs.field(factory=list)
    first: asyncio.Event = attrs.field(factory=asyncio.Event)

    def __call__(
        self,
        step: StopStep,
        signum: int,
        pids: Sequence[int],
        files: Sequence[str] = (),
    ) -> None:
        """Remember a step."""
        self.taken.append((step, signum, sorted(pids)))
        self.files += files
        self.first.set()

    @property
    def names(self) -> list[StopStep]:
        """The steps alone."""
        return [step for step, _, _ in self.taken]


@contextlib.asynccontextmanager
async def started(
    spawner: Spawner, entry: WorkerEntry, *workers: WorkerSpec
) -> AsyncIterator[WorkerGroup]:
    """Start a group, and close it and its spawner at the end."""
    try:
        group = await spawner.start(entry, workers or (worker(0),))
        try:
            yield group
        finally:
            await group.close()
    finally:
        await spawner.close()


async def exits(group: WorkerGroup, count: int = 1) -> dict[int, WorkerExit]:
    """Wait for the next ``count`` workers to end; return their ends by local rank."""
    async with asyncio.timeout(SOON):
        ended = [await group.next_exit() for _ in range(count)]
    return {end.ranks.local_rank: end for end in ended}


class SpawnerFixtures:
    """What the parts of the spawner contract have in common."""

    @pytest.fixture
    def spawner(self) -> Spawner:
        """Return a new spawner; must be overridden."""
        raise NotImplementedError("override the fixture 'spawner'")

    @pytest.fixture
    def feed(self) -> Feed[OutputBlock]:
        """Return what the spawner is to tell of output: `SpawnerParameters`."""
        return Feed()

    @pytest.fixture
    def script(self, tmp_path: Path) -> Script:
        """Return what turns Python code into workers that run it."""

        def write(code: str) -> ScriptEntry:
            path = tmp_path / "script.py"
            path.write_text(textwrap.dedent(code))
            return ScriptEntry(str(path), (), path.name)

        return write

    @pytest.fixture
    def lifeline(self, tmp_path: Path) -> Lifeline:
        """Return a lifeline to enter in the test."""
        return Lifeline(tmp_path / "lifeline")
