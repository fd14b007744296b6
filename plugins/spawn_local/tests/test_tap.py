"""What workers write is told to who follows it, whatever way it goes."""

import asyncio
import os
import pty
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from elaunch.api import (
    CommandEntry,
    Destination,
    Feed,
    GroupLogs,
    OutputBlock,
    OutputSettings,
    StopSchedule,
    WorkerLogs,
    WorkerRoutes,
    WorkerSpec,
)
from elaunch.testing.groups import SLEEP, SOON, Steps, exits, started, worker
from elaunch.testing.lifeline import HOLD, Lifeline
from elaunch.testing.spawner_output import following
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.output.tap import Tap, Taps


WRITES = """
import os, sys
for number in range(2000):
    os.write(1, b"out %d\\n" % number)
    os.write(2, b"err %d\\r" % number)
os.write(1, b"half a line")
"""
OUT = b"".join(b"out %d\n" % number for number in range(2000)) + b"half a line"
ERR = b"".join(b"err %d\r" % number for number in range(2000))


def python(code: str) -> CommandEntry:
    return CommandEntry((sys.executable, "-c", code), "code")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"log_dir": "logs"},
        {"log_dir": "logs", "redirects": "3"},
        {"log_dir": "logs", "redirects": "1"},
        {"log_dir": "logs", "redirects": "3", "timestamps": True},
        {"log_dir": "logs", "tee": "3", "timestamps": True},
        {"log_dir": "logs", "redirects": "3", "max_bytes": 4096, "backups": 99},
        {"log_dir": os.devnull, "redirects": "3"},
        {"ranks_filter": "7"},
        {"timestamps": True},
        {"log_dir": "logs", "duplicate_stdout_filters": ("out 7",)},
    ],
    ids=str,
)
@pytest.mark.asyncio
async def test_all_is_told_as_it_was_written(
    settings: dict[str, Any],
    workers: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    feed = Feed[OutputBlock]()
    own = LocalSpawner("job", output=OutputSettings(**settings), output_feed=feed)
    specs = [worker(r, label=f"[{r}] " if workers > 1 else "") for r in range(workers)]
    async with following(feed) as follower:
        async with started(own, python(WRITES), *specs) as group:
            await exits(group, workers)
            await group.close()
        await asyncio.sleep(0)

    for rank in range(workers):
        assert follower.written[rank, 1] == OUT
        assert follower.written[rank, 2] == ERR


class Nowhere:
    """A layout that throws everything away."""

    def place(
        self,
        workers: Sequence[WorkerSpec],
        routes: Mapping[int, WorkerRoutes],  # noqa: ARG002 - the port's signature
    ) -> GroupLogs:
        gone = Destination(path=os.devnull, console=False)
        return GroupLogs(
            workers={
                spec.ranks.local_rank: WorkerLogs(stdout=gone, stderr=gone)
                for spec in workers
            }
        )


@pytest.mark.asyncio
async def test_what_nobody_else_sees_is_told(
    capfd: pytest.CaptureFixture[str],
) -> None:
    feed = Feed[OutputBlock]()
    own = LocalSpawner("job", layout=Nowhere(), output_feed=feed)
    async with following(feed) as follower:
        async with started(own, python(WRITES), worker(0)) as group:
            await exits(group)
            await group.close()
        await asyncio.sleep(0)

    assert follower.written == {(0, 1): OUT, (0, 2): ERR}
    assert capfd.readouterr() == ("", "")


@pytest.mark.asyncio
async def test_who_comes_late_is_told_nothing_and_costs_nothing() -> None:
    feed = Feed[OutputBlock]()
    own = LocalSpawner("job", output_feed=feed)
    entry = python(f"print('a line')\n{SLEEP}")
    async with started(own, entry) as group, following(feed) as follower:
        await group.stop(StopSchedule(grace=SOON), Steps())
        await exits(group)
        await group.close()

    assert follower.written == {}
    assert follower.looks == {}


@pytest.mark.asyncio
async def test_of_who_has_ended_no_silence_is_told(tmp_path: Path) -> None:
    feed = Feed[OutputBlock]()
    own = LocalSpawner("job", output_feed=feed)
    lives = f"{HOLD}{SLEEP}"
    code = f"import os\nos.environ['RANK'] == '1' and exec({lives!r})"
    async with Lifeline(tmp_path / "lifeline") as lifeline, following(feed) as follower:
        two = [worker(r, RANK=str(r), **lifeline.environment) for r in range(2)]
        async with started(own, python(code), *two) as group:
            await lifeline.held_by(1)
            await exits(group)
            await follower.until(lambda: follower.looks[1] > 0)
            before = follower.looks[0], follower.looks[1]
            await follower.until(lambda: follower.looks[1] > before[1] + 1)

            assert follower.looks[0] == before[0]


BLOCKED = """
import asyncio, os, sys, threading, time
from elaunch.api import CommandEntry, Feed, OutputBlock
from elaunch.testing.groups import started, worker
from elaunch_spawn_local import group as limits
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.output import tap

limits.CONSOLE_LIMIT = limits.STOPPED_LIMIT = limits.HURRIED_LIMIT = 0.1
tap.LOOK_INTERVAL = 0.01
CODE = "import os, signal; os.write(1, b'x' * 1_000_000); signal.pause()"

async def main():
    feed, written, looks = Feed(), [], []
    def take(block):
        (written if block.data else looks).append(block)
    feed.subscribe(take)
    entry = CommandEntry((sys.executable, "-c", CODE), "code")
    spawner = LocalSpawner("job", output_feed=feed)
    async with started(spawner, entry) as group:
        while sum(len(block.data) for block in written) < 64 * 1024:
            await asyncio.sleep(0)
        before = len(looks)
        await asyncio.sleep(0.5)
        print("looks", len(looks) - before, file=sys.stderr, flush=True)
    print("closed", feed and len(written), file=sys.stderr, flush=True)

asyncio.run(main())
os._exit(0)  # the pump hangs in the console
"""


def test_while_a_console_blocks_nobody_is_said_to_be_silent() -> None:
    reading, writing = os.pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", BLOCKED], stdout=writing, stderr=subprocess.PIPE
        ) as agent:
            _, err = agent.communicate(timeout=SOON)
    finally:
        os.close(reading)
        os.close(writing)

    assert b"looks 0" in err
    assert b"closed" in err


SHOWN = """
import asyncio, sys
from elaunch.api import CommandEntry, Feed
from elaunch.testing.groups import exits, started, worker
from elaunch_spawn_local.local import LocalSpawner

async def main():
    feed, told = Feed(), []
    feed.subscribe(told.append)
    code = "import sys; assert sys.stdout.isatty(); print('up'); sys.exit(3)"
    entry = CommandEntry((sys.executable, "-c", code), "code")
    async with started(LocalSpawner("job", output_feed=feed), entry) as group:
        await exits(group)
    written = [block for block in told if block.data]
    print("told", {b.stream for b in written}, b"".join(b.data for b in written))

asyncio.run(main())
"""


def test_a_terminal_is_told_too_as_one_stream() -> None:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", SHOWN], stdin=theirs, stdout=theirs, stderr=theirs
        ) as agent:
            shown = b""
            while b"told" not in shown or not shown.endswith(b"\n"):
                shown += os.read(ours, 4096)
            assert agent.wait(SOON) == 0
    finally:
        os.close(ours)
        os.close(theirs)

    assert b"told {3} b'up\\n'\r\n" in shown


@pytest.mark.parametrize("seed", range(50))
def test_the_time_at_the_beginning_of_each_line_is_left_out(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - reproducible on purpose
    stamp = b"12:34 "
    lines = [b"x" * draw.choice((0, 1, 2, 9)) for _ in range(20)]
    last = b"" if draw.random() < 0.5 else b"no end"
    ended = b"\n" if not last else b"\n" + stamp + last
    data = b"\n".join(stamp + line for line in lines) + ended
    told: list[OutputBlock] = []
    tap = Tap(told.append, 0, 1, len(stamp))
    while data:
        size = draw.randint(1, 12)
        tap.take(data[:size])
        data = data[size:]

    whole = b"".join(block.data for block in told)
    assert whole == b"\n".join(lines) + b"\n" + last


def test_after_the_end_nothing_is_told() -> None:
    feed, told = Feed[OutputBlock](), list[OutputBlock]()
    feed.subscribe(told.append)
    taps = Taps(feed)
    tap = taps.of(0, 1)
    tap.take(b"one")
    taps.close()
    tap.take(b"two")
    taps.look(1.0, [0])

    assert told == [OutputBlock(0, 1, b"one")]
