"""Workers' output on the agent's own stdout and stderr."""

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from elaunch.api import CommandEntry, OutputSettings, StopSchedule
from elaunch.testing.groups import SLEEP, SOON, Steps, exits, started, worker
from elaunch.testing.lifeline import HOLD, Lifeline
from elaunch_spawn_local.local import LocalSpawner


def python(code: str) -> CommandEntry:
    return CommandEntry((sys.executable, "-c", code), "code")


@pytest.mark.asyncio
async def test_of_many_writers_no_line_is_lost_or_torn(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = """
import os, sys
rank = os.environ["RANK"]
for number in range(2000):
    sys.stdout.write(f"{rank} out {number} " + "x" * (number % 300) + "\\n")
    sys.stderr.write(f"{rank} err {number}\\n")
"""
    workers = [worker(r, label=f"[{r}] ", RANK=str(r)) for r in range(8)]
    async with started(LocalSpawner("job"), python(code), *workers) as group:
        await exits(group, 8)

    captured = capfd.readouterr()
    out, err = captured.out.splitlines(), captured.err.splitlines()
    for rank in range(8):
        mine = [line for line in out if line.startswith(f"[{rank}] ")]
        assert mine == [
            f"[{rank}] {rank} out {number} " + "x" * (number % 300)
            for number in range(2000)
        ]
        mine = [line for line in err if line.startswith(f"[{rank}] ")]
        assert mine == [f"[{rank}] {rank} err {number}" for number in range(2000)]
    assert len(out) == len(err) == 16_000


@pytest.mark.asyncio
async def test_what_a_killed_worker_wrote_of_a_line_is_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = """
import os, sys
os.write(1, b"half a li")
os.write(2, b"half an err")
os.kill(os.getpid(), 9)
"""
    one = worker(0, label="[0] ")
    async with started(LocalSpawner("job"), python(code), one) as group:
        ended = (await exits(group))[0]

    captured = capfd.readouterr()
    assert captured.out == "[0] half a li\n"
    assert captured.err == "[0] half an err\n"
    assert ended.stderr_tail == ("half an err",)


@pytest.mark.asyncio
async def test_bytes_carriage_returns_and_long_lines_pass(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    code = """
import os
os.write(1, b"\\xff\\xfe\\n10%\\r20%\\n")
for _ in range(3):
    os.write(1, b"x" * 65536)
"""
    code = f"import os\nif os.environ['RANK'] == '0':{textwrap.indent(code, '    ')}"
    one = worker(0, RANK="0")
    quiet = worker(1, RANK="1")
    async with started(LocalSpawner("job"), python(code), one, quiet) as group:
        await exits(group, 2)

    lines = capfdbinary.readouterr().out.split(b"\n")
    assert lines[:2] == [b"\xff\xfe", b"10%\r20%"]
    assert lines[2:] == [b"x" * 65536] * 3 + [b""]


@pytest.mark.parametrize("files", [False, True])
@pytest.mark.asyncio
async def test_the_stdout_of_one_worker_is_passed_on_byte_by_byte(
    *, files: bool, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    code = """
import os, sys
sys.stdout.buffer.write(b"\\xff" * 300_000 + b"\\r\\n\\0no newline")
sys.stderr.write("half an err")
"""
    output = OutputSettings(log_dir=str(tmp_path) if files else "")
    own = LocalSpawner("job", output=output)
    async with started(own, python(code)) as group:
        ended = (await exits(group))[0]

    captured = capfdbinary.readouterr()
    assert captured.out == b"\xff" * 300_000 + b"\r\n\0no newline"
    assert captured.err == b"half an err\n"
    assert ended.stderr_tail == ("half an err",)


@pytest.mark.asyncio
async def test_the_tail_is_bounded_and_shows_what_a_terminal_would() -> None:
    code = """
import sys
for number in range(300):
    print("line", number, file=sys.stderr)
print("x" * 10000, file=sys.stderr)
sys.stderr.buffer.write(b"\\xff 10%\\r\\xff 20%\\r\\n")
"""
    async with started(LocalSpawner("job"), python(code)) as group:
        tail = (await exits(group))[0].stderr_tail

    assert len(tail) == 100
    assert tail[0] == "line 202"
    assert tail[-2] == "x" * 4096
    assert tail[-1] == "\ufffd 20%"


@pytest.mark.asyncio
async def test_a_pipe_held_by_another_session_delays_the_end_only_a_little(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stray = HOLD + "print('stray', flush=True); os.write(2, b'ready')\n" + SLEEP
    code = f"""
import subprocess, sys
argv = [sys.executable, "-c", {stray!r}]
child = subprocess.Popen(argv, start_new_session=True, stderr=subprocess.PIPE)
assert child.stderr.read(5) == b"ready"
"""
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        async with started(LocalSpawner("job"), python(code), one) as group:
            await lifeline.held_by(1)
            before = asyncio.get_running_loop().time()
            ended = (await exits(group))[0]

            assert ended.exitcode == 0
            assert asyncio.get_running_loop().time() - before < 5
            await group.stop(StopSchedule(), Steps())
            assert await lifeline.released()
    assert "stray\n" in capfd.readouterr().out


AGENT = """
import asyncio, sys
from elaunch.api import CommandEntry
from elaunch.testing.groups import exits, started, worker
from elaunch_spawn_local.local import LocalSpawner

CODE = "for n in range(30000): print('line', n)"

async def main():
    entry = CommandEntry((sys.executable, "-c", CODE), "code")
    async with started(LocalSpawner("job"), entry) as group:
        print("up", file=sys.stderr, flush=True)
        ended = (await exits(group))[0]
        print("told", ended.exitcode, file=sys.stderr, flush=True)

asyncio.run(main())
"""


def test_a_closed_stdout_stops_no_worker() -> None:
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout
    agent.stdout.close()

    _, err = agent.communicate(timeout=SOON)

    assert agent.returncode == 0
    assert "told 0" in err
    assert err.count("workers' output is lost") == 1


def test_a_blocked_console_does_not_block_the_agent() -> None:
    code = AGENT.replace("run(main())", "run(beating())")
    code = code.replace("async def main", BEATING + "async def main")
    agent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert agent.stdout
    assert agent.stderr
    with agent:
        # Nobody reads stdout, so that the worker is soon blocked; the agent is not.
        while agent.stderr.readline() != "up\n":
            pass
        assert [agent.stderr.readline() for _ in range(20)] == ["beat\n"] * 20
        # As soon as somebody reads, all comes.
        lines = [agent.stdout.readline() for _ in range(30_000)]
        assert lines == [f"line {number}\n" for number in range(30_000)]
        while (line := agent.stderr.readline()) == "beat\n":
            pass
        assert line == "told 0\n"
    assert agent.returncode == 0


def test_a_console_that_never_takes_the_last_lines_is_given_up() -> None:
    limit = "from elaunch_spawn_local import group; group.CONSOLE_LIMIT = 0.1\n"
    code = limit + AGENT.replace("30000", "2")
    reading, writing = full_pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE
        ) as agent:
            _, err = agent.communicate(timeout=SOON)
    finally:
        os.close(reading)
        os.close(writing)

    assert agent.returncode == 0
    assert b"the console took no output" in err
    assert b"told 0" in err


HASTE = """
import asyncio, contextlib, os, sys
from elaunch.api import CommandEntry, StopSchedule
from elaunch.testing.groups import Steps, worker
from elaunch_spawn_local import group as limits
from elaunch_spawn_local.local import LocalSpawner

limits.CONSOLE_LIMIT = limits.STOPPED_LIMIT = limits.HURRIED_LIMIT = 1000
limits.{short} = 0.1
CODE = "print('line', flush=True)\\nopen('up', 'w')\\n{then}"

async def main():
    spawner = LocalSpawner("job")
    entry = CommandEntry((sys.executable, "-c", CODE), "code")
    group = await spawner.start(entry, [worker(0)])
    while not os.path.exists("up"):
        await asyncio.sleep(0.01)
    {end}
    print("closed", file=sys.stderr, flush=True)

asyncio.run(main())
"""

STOP = "await group.stop(StopSchedule(), Steps())"
CANCELLED = """await group.next_exit()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.1):
            await group.close()"""


@pytest.mark.parametrize(
    ("short", "then", "end"),
    [
        ("STOPPED_LIMIT", "while True: pass", STOP),
        ("HURRIED_LIMIT", "while True: pass", f"{STOP}; {STOP}"),
        ("HURRIED_LIMIT", "", CANCELLED),
    ],
    ids=["stopped", "stopped twice", "cancelled"],
)
def test_a_console_that_blocks_holds_nobody_who_stops(
    short: str, then: str, end: str, tmp_path: Path
) -> None:
    end = f"{end}\n    await spawner.close()"
    code = HASTE.format(short=short, then=then, end=end)
    reading, writing = full_pipe()
    try:
        with subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            stdout=writing,
            stderr=subprocess.PIPE,
        ) as agent:
            _, err = agent.communicate(timeout=SOON)
    finally:
        os.close(reading)
        os.close(writing)

    assert agent.returncode == 0, err
    assert b"the last lines are lost" in err
    assert b"closed" in err


def full_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    for size in (4096, 1):
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * size)
    os.set_blocking(writing, True)
    return reading, writing


BEATING = """
async def beat():
    while True:
        await asyncio.sleep(0.02)
        print("beat", file=sys.stderr, flush=True)

async def beating():
    heart = asyncio.ensure_future(beat())
    await main()
    heart.cancel()

"""
