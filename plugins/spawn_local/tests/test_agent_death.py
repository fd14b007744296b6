"""A SIGKILLed agent leaves no worker."""

import subprocess
import sys
from pathlib import Path

import pytest

from elaunch.testing.groups import IGNORE_SIGTERM, SLEEP, SOON
from elaunch.testing.lifeline import HOLD, Lifeline


AGENT = f"""
import asyncio, sys
from elaunch.api import CommandEntry
from elaunch.testing.groups import worker
from elaunch_spawn_local.local import LocalSpawner

async def main():
    entry = CommandEntry((sys.executable, "-c", {IGNORE_SIGTERM + HOLD + SLEEP!r}), "c")
    group = await LocalSpawner("job").start(entry, [worker(0), worker(1)])
    await group.next_exit()

asyncio.run(main())
"""


def start_agent() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", AGENT])


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
@pytest.mark.asyncio
async def test_a_killed_agent_leaves_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        monkeypatch.setenv("LIFELINE", str(lifeline.path))
        agent = start_agent()
        await lifeline.held_by(2)
        agent.kill()
        agent.wait()

        assert await lifeline.released(SOON)
