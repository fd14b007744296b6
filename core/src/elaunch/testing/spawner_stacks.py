"""The part of the spawner contract about stacks."""

import asyncio
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from elaunch.api import Spawner
from elaunch.testing.groups import (
    SOON,
    Script,
    SpawnerFixtures,
    exits,
    started,
    worker,
)
from elaunch.testing.lifeline import HOLD, Lifeline


WAIT = f"""
import signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
{HOLD}
sys.exit(signal.sigwait([signal.SIGUSR2]))
"""
"""Python code of a process that ends on a signal, with its number as exit code."""


class StackTests(SpawnerFixtures):
    """Stacks are written down, and nobody minds."""

    @pytest.mark.asyncio
    async def test_stacks_are_of_who_lives_and_nobody_ends_of_it(
        self, spawner: Spawner, script: Script, lifeline: Lifeline
    ) -> None:
        """Whatever is written is there; afterwards the workers are as they were."""
        async with lifeline:
            workers = [worker(rank, **lifeline.environment) for rank in range(3)]
            async with started(spawner, script(WAIT), *workers) as group:
                await lifeline.held_by(3)
                os.kill(group.pids[1], signal.SIGUSR2)
                await exits(group)
                async with asyncio.timeout(SOON):
                    files = await group.dump_stacks(SOON / 2)

                assert set(files) <= {0, 2}
                assert len(set(files.values())) == len(files)
                texts = await asyncio.to_thread(_texts, files.values())
                assert all(texts)
                for rank in (0, 2):
                    os.kill(group.pids[rank], signal.SIGUSR2)
                ended = await exits(group, 2)
                assert {end.exitcode for end in ended.values()} == {signal.SIGUSR2}
                assert not await group.dump_stacks(SOON)


def _texts(files: Iterable[str]) -> list[str]:
    return [Path(file).read_text(encoding="utf-8") for file in files]
