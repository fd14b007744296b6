"""The part of the spawner contract about stopping."""

import asyncio
import signal

import pytest

from elaunch.api import Spawner, StopSchedule, StopStep
from elaunch.testing.groups import (
    IGNORE_SIGTERM,
    SLEEP,
    SOON,
    Script,
    SpawnerFixtures,
    Steps,
    exits,
    started,
    worker,
)
from elaunch.testing.lifeline import HOLD, Lifeline


class StopTests(SpawnerFixtures):
    """Whatever the reason and whoever resists, nothing is left."""

    @pytest.mark.asyncio
    async def test_a_polite_worker_is_only_signalled(
        self,
        spawner: Spawner,
        script: Script,
        lifeline: Lifeline,
    ) -> None:
        """A worker that ends on the signal ends in its own way."""
        code = (
            "import signal, sys\n"
            "signal.signal(signal.SIGINT, lambda *_: sys.exit(7))\n" + HOLD + SLEEP
        )
        async with lifeline:
            workers = [worker(rank, **lifeline.environment) for rank in range(2)]
            async with started(spawner, script(code), *workers) as group:
                pids = sorted(await lifeline.held_by(2))
                steps = Steps()
                await group.stop(StopSchedule(signum=signal.SIGINT, grace=SOON), steps)

                assert await lifeline.released()
                assert steps.taken == [(StopStep.SIGNAL, signal.SIGINT, pids)]
                ended = await exits(group, 2)
                assert [end.exitcode for end in ended.values()] == [7, 7]

    @pytest.mark.asyncio
    async def test_a_stubborn_worker_is_killed_after_the_grace(
        self,
        spawner: Spawner,
        script: Script,
        lifeline: Lifeline,
    ) -> None:
        """Who ignores the signal gets its grace, then SIGKILL."""
        code = IGNORE_SIGTERM + HOLD + SLEEP
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                pids = await lifeline.held_by(1)
                steps = Steps()
                before = asyncio.get_running_loop().time()
                await group.stop(StopSchedule(grace=0.3), steps)

                assert asyncio.get_running_loop().time() - before >= 0.3
                assert await lifeline.released()
                assert steps.taken == [
                    (StopStep.SIGNAL, signal.SIGTERM, pids),
                    (StopStep.KILL, signal.SIGKILL, pids),
                ]
                assert (await exits(group))[0].exitcode == -signal.SIGKILL

    @pytest.mark.asyncio
    async def test_a_second_stop_kills_at_once(
        self,
        spawner: Spawner,
        script: Script,
        lifeline: Lifeline,
    ) -> None:
        """The grace of the first is over when the second comes."""
        code = IGNORE_SIGTERM + HOLD + SLEEP
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(1)
                steps = Steps()
                async with asyncio.timeout(SOON), asyncio.TaskGroup() as tasks:
                    tasks.create_task(group.stop(StopSchedule(grace=600), steps))
                    await steps.first.wait()
                    tasks.create_task(group.stop(StopSchedule(grace=600), steps))

                assert await lifeline.released()
                assert steps.names == [StopStep.SIGNAL, StopStep.KILL]

    @pytest.mark.asyncio
    async def test_a_frozen_worker_is_stopped(
        self,
        spawner: Spawner,
        script: Script,
        lifeline: Lifeline,
    ) -> None:
        """SIGSTOP doesn't keep a worker from its signal."""
        code = HOLD + "os.kill(os.getpid(), signal.SIGSTOP)\n" + SLEEP
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script("import signal\n" + code), one) as group:
                await lifeline.held_by(1)
                steps = Steps()
                await group.stop(StopSchedule(grace=SOON), steps)

                assert await lifeline.released()
                assert (await exits(group))[0].exitcode == -signal.SIGTERM

    @pytest.mark.parametrize("new_session", [False, True])
    @pytest.mark.parametrize("stubborn", [False, True])
    @pytest.mark.asyncio
    async def test_grandchildren_die_with_the_worker(
        self,
        *,
        spawner: Spawner,
        script: Script,
        lifeline: Lifeline,
        new_session: bool,
        stubborn: bool,
    ) -> None:
        """When `stop` returns, nothing lives that a worker started."""
        grandchild = (IGNORE_SIGTERM if stubborn else "") + HOLD + SLEEP
        code = f"""
import subprocess, sys
argv = [sys.executable, "-c", {grandchild!r}]
subprocess.Popen(argv, start_new_session={new_session})
{HOLD}{SLEEP}"""
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(2)
                await group.stop(StopSchedule(grace=SOON), Steps())

                assert await lifeline.released()

    @pytest.mark.asyncio
    async def test_children_of_a_worker_that_ends_die_too(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """A worker's end is the end of its process group, before it is told."""
        child = HOLD + "print('ready', flush=True)\n" + SLEEP
        code = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {child!r}], stdout=subprocess.PIPE)
assert child.stdout.readline() == b"ready\\n"
"""
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(1)
                ended = (await exits(group))[0]

                assert ended.exitcode == 0
                assert await lifeline.released()

    @pytest.mark.asyncio
    async def test_stop_after_the_end_does_nothing(
        self, spawner: Spawner, script: Script
    ) -> None:
        """Nobody is signalled and no step is told when all have ended."""
        async with started(spawner, script("pass")) as group:
            await exits(group)
            steps = Steps()
            await group.stop(StopSchedule(), steps)
            await group.stop(StopSchedule(grace=0), steps)

            assert steps.taken == []

    @pytest.mark.asyncio
    async def test_close_kills_what_still_runs(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """A group that is closed without a stop leaves nobody."""
        async with lifeline:
            one = worker(0, **lifeline.environment)
            code = IGNORE_SIGTERM + HOLD + SLEEP
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(1)
                await group.close()

                assert await lifeline.released()
