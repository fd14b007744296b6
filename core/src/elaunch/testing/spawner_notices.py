"""The part of the spawner contract about notices."""

import asyncio
import os
import signal
import sys

import attrs
import pytest

from elaunch.api import Notice, NoticeKind, Spawner, StopSchedule, StopStep
from elaunch.testing.groups import (
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


PREEMPTION = Notice(
    kind=NoticeKind.PREEMPTION, reason="SIGUSR1", host="h", timestamp=1.5
)
STOP = attrs.evolve(PREEMPTION, kind=NoticeKind.STOP, reason="enough", grace=9.0)

COUNT = """
import signal, sys
from elaunch.worker import notice
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(notice()))
"""
"""Python code of a process that remembers each notice that a signal told it of."""

COUNT_ALOUD = """
import os, signal, sys
told = []
def tell(*_):
    told.append(1)
    os.write(_lifeline.fileno(), b"0\\n")  # a print may be under way
signal.signal(signal.SIGUSR1, tell)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(40 + len(told)))
"""
"""The same, which says so by the lifeline and tells how many at its end."""

needs_masks = pytest.mark.skipif(
    sys.platform != "linux", reason="the system does not tell who handles a signal"
)


class NoticeTests(SpawnerFixtures):
    """Workers hear of a notice, and no notice ends one."""

    @needs_masks
    @pytest.mark.asyncio
    async def test_who_handles_the_signal_gets_it_and_finds_the_notice(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """The file is there, whole, before the signal comes."""
        code = COUNT + HOLD + "while not told: signal.pause()\nsys.exit(told[0].grace)"
        notice = attrs.evolve(PREEMPTION, grace=7)
        async with lifeline:
            workers = [worker(rank, **lifeline.environment) for rank in range(2)]
            async with started(spawner, script(code), *workers) as group:
                pids = sorted(await lifeline.held_by(2))
                told = await group.notify(notice)
                ended = await exits(group, 2)

        assert sorted(told) == pids
        assert [end.exitcode for end in ended.values()] == [7, 7]

    @pytest.mark.asyncio
    async def test_who_does_not_handle_the_signal_lives_and_finds_the_notice(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """Any program can look for a file."""
        code = HOLD + (
            "import os, sys, time\n"
            "while not os.path.exists(os.environ['ELAUNCH_NOTICE_FILE']):\n"
            "    time.sleep(0.01)\n"
            "sys.exit(7)\n"
        )
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(1)

                assert list(await group.notify(PREEMPTION)) == []
                assert (await exits(group))[0].exitcode == 7

    @needs_masks
    @pytest.mark.asyncio
    async def test_a_child_that_handles_the_signal_gets_it_and_its_parent_lives(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """As it is where a worker is wrapped in a shell."""
        child = COUNT + HOLD + "while not told: signal.pause()\nsys.exit(7)"
        code = (
            "import subprocess, sys\n"
            f"sys.exit(subprocess.call([sys.executable, '-c', {child!r}]))\n"
        )
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                pids = await lifeline.held_by(1)

                assert list(await group.notify(PREEMPTION)) == pids
                assert (await exits(group))[0].exitcode == 7

    @needs_masks
    @pytest.mark.asyncio
    async def test_a_frozen_worker_holds_up_nobody_and_hears_later(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """SIGSTOP keeps a notice from nobody else."""
        code = COUNT + HOLD + "while not told: signal.pause()\nsys.exit(7)"
        async with lifeline:
            workers = [worker(rank, **lifeline.environment) for rank in range(2)]
            async with started(spawner, script(code), *workers) as group:
                await lifeline.held_by(2)
                os.kill(group.pids[0], signal.SIGSTOP)
                async with asyncio.timeout(SOON):
                    await group.notify(PREEMPTION)
                first = await exits(group)
                os.kill(group.pids[0], signal.SIGCONT)
                second = await exits(group)

        assert {rank: end.exitcode for rank, end in first.items()} == {1: 7}
        assert {rank: end.exitcode for rank, end in second.items()} == {0: 7}

    @needs_masks
    @pytest.mark.parametrize(
        ("notices", "signals"),
        [
            ([STOP], 0),
            ([PREEMPTION], 1),
            ([PREEMPTION, attrs.evolve(PREEMPTION, timestamp=2.5)], 1),
            ([PREEMPTION, attrs.evolve(PREEMPTION, host="other"), STOP], 2),
        ],
    )
    @pytest.mark.asyncio
    async def test_only_preemptions_are_signalled_and_a_stop_repeats_none(
        self,
        spawner: Spawner,
        script: Script,
        lifeline: Lifeline,
        notices: list[Notice],
        signals: int,
    ) -> None:
        """A handler of the signal may end the whole job: a stop must not call it.

        The last notice comes with the stop.
        """
        code = COUNT_ALOUD + HOLD + SLEEP
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(1)
                for notice in notices[:-1]:
                    await group.notify(notice)
                    await lifeline.held_by(1)
                schedule = StopSchedule(notice=notices[-1], grace=SOON)
                await group.stop(schedule, Steps())

                assert (await exits(group))[0].exitcode == 40 + signals

    @pytest.mark.asyncio
    async def test_a_stop_leaves_its_reason_before_the_signal(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """And says that it did."""
        code = f"""
import signal, sys
from elaunch.worker import Notice, notice
def stop(*_):
    sys.exit(7 if notice() == Notice('stop', 'enough', 'h', 1.5, 9.0) else 8)
signal.signal(signal.SIGTERM, stop)
{HOLD}{SLEEP}"""
        async with lifeline:
            one = worker(0, **lifeline.environment)
            async with started(spawner, script(code), one) as group:
                await lifeline.held_by(1)
                steps = Steps()
                await group.stop(StopSchedule(notice=STOP, grace=SOON), steps)
                ended = (await exits(group))[0]

        assert ended.exitcode == 7
        assert steps.taken == [
            (StopStep.NOTICE, 0, [ended.pid]),
            (StopStep.SIGNAL, signal.SIGTERM, [ended.pid]),
        ]

    @pytest.mark.asyncio
    async def test_when_all_have_ended_there_is_nobody_to_tell(
        self, spawner: Spawner, script: Script
    ) -> None:
        """A notice may come late."""
        async with started(spawner, script("pass")) as group:
            await exits(group)

            assert list(await group.notify(PREEMPTION)) == []
            steps = Steps()
            await group.stop(StopSchedule(notice=STOP), steps)
            assert steps.taken == []
