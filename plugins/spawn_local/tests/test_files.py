"""Workers' output in files: written by the workers, or by the scribe for them."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from elaunch.api import (
    FunctionEntry,
    OutputSettings,
    ScriptEntry,
    StartMethod,
    StartSettings,
)
from elaunch.testing.groups import SOON, Script, exits, started, worker
from elaunch_spawn_local.local import LocalSpawner


STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


@pytest.fixture
def script(tmp_path: Path) -> Script:
    def write(code: str) -> ScriptEntry:
        path = tmp_path / "script.py"
        path.write_text(code)
        return ScriptEntry(str(path), (), path.name)

    return write


def spawner(logs: Path, **settings: Any) -> LocalSpawner:
    return LocalSpawner("job", output=OutputSettings(log_dir=str(logs), **settings))


BOTH = """
import sys
print("to stdout")
print("to stderr", file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("streams", "files", "console"),
    [
        ({}, {"stdout", "stderr"}, {"stdout", "stderr"}),
        ({"tee": "0"}, set(), {"stdout", "stderr"}),
        ({"tee": "1"}, {"stdout"}, {"stdout", "stderr"}),
        ({"redirects": "3"}, {"stdout", "stderr"}, set()),
        ({"redirects": "2"}, {"stderr"}, {"stdout"}),
        ({"redirects": "1", "tee": "2"}, {"stdout", "stderr"}, {"stderr"}),
        ({"redirects": "1", "tee": "1"}, {"stdout"}, {"stdout", "stderr"}),
        ({"redirects": "3", "timestamps": True}, {"stdout", "stderr"}, set()),
        ({"tee": "3", "timestamps": True}, {"stdout", "stderr"}, {"stdout", "stderr"}),
    ],
)
@pytest.mark.asyncio
async def test_each_stream_goes_where_it_is_wanted(
    streams: dict[str, Any],
    files: set[str],
    console: set[str],
    *,
    tmp_path: Path,
    script: Script,
    capfd: pytest.CaptureFixture[str],
) -> None:
    one = worker(0, label="[0] ")
    async with started(spawner(tmp_path, **streams), script(BOTH), one) as group:
        await exits(group)

    shown = capfd.readouterr()
    stamp = STAMP if streams.get("timestamps") else ""
    for stream, text in (("stdout", shown.out), ("stderr", shown.err)):
        line = f"{stamp}to {stream}\n"
        assert re.fullmatch(rf"\[0\] {line}" if stream in console else "", text)
        file = tmp_path / "job" / "0" / "0" / f"{stream}.log"
        assert file.exists() == (stream in files)
        if stream in files:
            assert re.fullmatch(line, file.read_text())


@pytest.mark.parametrize("stamped", [False, True])
@pytest.mark.asyncio
async def test_of_many_writers_no_line_is_lost_in_file_or_on_the_console(
    *, stamped: bool, tmp_path: Path, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    code = """
import os, sys
for number in range(10_000):
    print(os.environ["RANK"], number, "x" * (number % 50))
"""
    count = 8
    workers = [worker(r, label=f"[{r}] ", RANK=str(r)) for r in range(count)]
    own = spawner(tmp_path, timestamps=stamped)
    async with started(own, script(code), *workers) as group:
        await exits(group, count)

    out = capfd.readouterr().out.splitlines()
    stamp = len("2026-01-31T12:34:56.789Z ") if stamped else 0
    for rank in range(count):
        lines = [f"{rank} {number} " + "x" * (number % 50) for number in range(10_000)]
        prefix = f"[{rank}] "
        shown = [line[len(prefix) + stamp :] for line in out if line.startswith(prefix)]
        assert shown == lines
        file = tmp_path / "job" / "0" / str(rank) / "stdout.log"
        assert [line[stamp:] for line in file.read_text().splitlines()] == lines
    assert len(out) == count * 10_000


@pytest.mark.asyncio
async def test_rotation_under_load_loses_nothing_in_files_or_on_the_console(
    tmp_path: Path, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "for number in range(50_000): print('line', number)"
    own = spawner(tmp_path, max_bytes=50_000, backups=100)
    async with started(own, script(code), worker(0, label="[0] ")) as group:
        await exits(group)

    folder = tmp_path / "job" / "0" / "0"
    backups = len(list(folder.glob("stdout.log.*")))
    parts = [folder / f"stdout.log.{n}" for n in range(backups, 0, -1)]
    texts = [part.read_text() for part in (*parts, folder / "stdout.log")]
    lines = [f"line {number}" for number in range(50_000)]
    assert backups >= 10
    assert all(len(text) < 50_020 and text.endswith("\n") for text in texts)
    shown = capfd.readouterr().out.splitlines()
    assert "".join(texts).splitlines() == lines
    assert shown == [f"[0] {line}" for line in lines]


@pytest.mark.asyncio
async def test_no_more_full_files_are_kept_than_asked_for(
    tmp_path: Path, script: Script
) -> None:
    code = "for number in range(5_000): print('line', number)"
    own = spawner(tmp_path, redirects="1", max_bytes=5_000, backups=2)
    async with started(own, script(code)) as group:
        await exits(group)

    folder = tmp_path / "job" / "0" / "0"
    assert sorted(file.name for file in folder.iterdir()) == [
        "stdout.log",
        "stdout.log.1",
        "stdout.log.2",
    ]
    last = (folder / "stdout.log").read_text() or (folder / "stdout.log.1").read_text()
    assert last.endswith("line 4999\n")


@pytest.mark.parametrize("settings", [{}, {"timestamps": True}, {"max_bytes": 10**6}])
@pytest.mark.parametrize("streams", [{"redirects": "3"}, {"tee": "3"}, {"tee": "0"}])
@pytest.mark.asyncio
async def test_a_killed_workers_last_words_are_kept_and_told(
    settings: dict[str, Any], streams: dict[str, str], tmp_path: Path, script: Script
) -> None:
    code = """
import os
os.write(1, b"half a li")
os.write(2, b"first\\nhalf an err")
os.kill(os.getpid(), 9)
"""
    async with started(spawner(tmp_path, **streams, **settings), script(code)) as group:
        ended = (await exits(group))[0]

    assert ended.stderr_tail == ("first", "half an err")
    file = tmp_path / "job" / "0" / "0" / "stderr.log"
    if streams != {"tee": "0"}:
        assert file.read_text().endswith("half an err")


@pytest.mark.asyncio
async def test_the_tail_goes_back_behind_a_rotation(
    tmp_path: Path, script: Script
) -> None:
    code = """
import sys
for number in range(30): print("line", number, file=sys.stderr)
sys.exit(1)
"""
    own = spawner(tmp_path, redirects="3", max_bytes=150)
    async with started(own, script(code)) as group:
        tail = (await exits(group))[0].stderr_tail

    assert tail[-20:] == tuple(f"line {number}" for number in range(10, 30))


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.asyncio
async def test_a_rank_that_is_filtered_away_fails_with_its_tail(
    rank: int, tmp_path: Path, script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    code = BOTH + "sys.exit(3)"
    own = spawner(tmp_path, tee="0", ranks_filter="1-5")
    one = worker(rank, label=f"[{rank}] ")
    async with started(own, script(code), one) as group:
        ended = (await exits(group))[rank]

    assert ended.stderr_tail == ("to stderr",)
    shown = capfd.readouterr()
    assert shown.out == ("[1] to stdout\n" if rank == 1 else "")
    assert shown.err == ("[1] to stderr\n" if rank == 1 else "")


@pytest.mark.parametrize(
    "streams", [{"redirects": "3"}, {"tee": "3"}, {"tee": "0"}, {"timestamps": True}]
)
@pytest.mark.asyncio
async def test_chosen_lines_are_written_again_wherever_the_stream_goes(
    streams: dict[str, Any], tmp_path: Path, script: Script
) -> None:
    code = """
import os
for number in range(3):
    print("loss", number)
    print("noise", number)
print("last, with no end: loss", end="")
"""
    own = spawner(tmp_path, duplicate_stdout_filters=("loss", "nothing"), **streams)
    workers = [worker(rank, label=f"[{rank}] ") for rank in (2, 3)]
    async with started(own, script(code), *workers) as group:
        await exits(group, 2)

    kept = (tmp_path / "job" / "0" / "2" / "filtered_stdout.log").read_text()
    if streams == {"timestamps": True}:
        kept = re.sub(STAMP, "", kept)
    for rank in (2, 3):
        mine = [line for line in kept.splitlines() if line.startswith(f"[{rank}] ")]
        assert mine == [
            *(f"[{rank}] loss {number}" for number in range(3)),
            f"[{rank}] last, with no end: loss",
        ]
    assert not (tmp_path / "job" / "0" / "2" / "filtered_stderr.log").exists()


@pytest.mark.asyncio
async def test_lines_of_stderr_are_chosen_likewise(
    tmp_path: Path, script: Script
) -> None:
    own = spawner(tmp_path, duplicate_stderr_filters=("to stderr",), redirects="3")
    entry = script(BOTH + 'print("else", file=sys.stderr)\n')
    async with started(own, entry, worker(2, label="[2] ")) as group:
        await exits(group)

    files = tmp_path / "job" / "0" / "2"
    assert (files / "filtered_stderr.log").read_text() == "[2] to stderr\n"
    assert not (files / "filtered_stdout.log").exists()


@pytest.mark.parametrize("method", list(StartMethod))
@pytest.mark.asyncio
async def test_what_functions_c_and_children_write_goes_where_it_is_wanted(
    method: StartMethod, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def speak() -> None:
        sys.stdout.write("loss by Python\n")
        sys.stdout.flush()
        libc = ctypes.CDLL(None)
        libc.puts(b"loss by C")
        libc.fflush(None)
        subprocess.run(["/bin/sh", "-c", "echo by a child; echo loss >&2"], check=True)

    entry = FunctionEntry(speak, (), "speak")
    own = LocalSpawner(
        "job",
        output=OutputSettings(
            log_dir=str(tmp_path), redirects="1", duplicate_stdout_filters=("loss",)
        ),
        settings=StartSettings(method=method),
    )
    async with started(own, entry, worker(0, label="[0] ")) as group:
        ended = (await exits(group))[0]

    assert (ended.exitcode, ended.value) == (0, None)
    files = tmp_path / "job" / "0" / "0"
    mine = ["loss by Python", "loss by C", "by a child"]
    assert (files / "stdout.log").read_text().splitlines() == mine
    kept = (files / "filtered_stdout.log").read_text().splitlines()
    assert kept == ["[0] loss by Python", "[0] loss by C"]
    assert capfd.readouterr() == ("", "[0] loss\n")


FULL = """
import asyncio, sys
from pathlib import Path
from elaunch.api import *
from elaunch.testing.groups import exits, started, worker
from elaunch_spawn_local.local import LocalSpawner

class ToFull:
    def place(self, workers, routes):
        logs = WorkerLogs(stdout=Destination(path="/dev/full", console=False))
        return GroupLogs(workers={0: logs}, filtered_stdout="/dev/full")

async def main():
    output = OutputSettings(timestamps=True, duplicate_stderr_filters=["line"])
    spawner = LocalSpawner("job", output=output, layout=ToFull())
    code = "for n in range(50): print('line', n, flush=True)"
    entry = CommandEntry((sys.executable, "-c", code), "code")
    async with started(spawner, entry) as group:
        print("told", (await exits(group))[0].exitcode, file=sys.stderr, flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_gets_full_is_told_once_and_the_job_goes_on() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", FULL],
        capture_output=True,
        text=True,
        timeout=SOON,
        check=False,
    )

    assert "told 0" in ended.stderr
    assert ended.stderr.count("can't write to /dev/full") == 1


AGENT = """
import asyncio, os, sys
from elaunch.api import CommandEntry, OutputSettings
from elaunch.testing.groups import worker
from elaunch_spawn_local.local import LocalSpawner

CODE = '''
import os, sys, time
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
n = 0
while True:
    n += 1
    os.write(1, b"line %d\\\\n" % n)
    if n == 200: os.write(2, b"up\\\\n")
    if n > 200: time.sleep(0.0005)
'''

async def main():
    entry = CommandEntry((sys.executable, "-c", CODE), "code")
    output = OutputSettings(log_dir=sys.argv[1], redirects="1", **eval(sys.argv[2]))
    group = await LocalSpawner("job", output=output).start(entry, [worker(0)])
    await group.next_exit()

asyncio.run(main())
"""


@pytest.mark.parametrize("settings", [{}, {"timestamps": True}, {"max_bytes": 10**9}])
def test_an_agents_sigkill_loses_no_byte(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    agent = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path), repr(settings)],
        stderr=subprocess.PIPE,
        env={**os.environ, "LOGS": str(tmp_path)},
    )
    with agent:
        try:
            assert agent.stderr
            while not agent.stderr.readline().endswith(b"up\n"):
                assert agent.poll() is None
        finally:
            os.kill(agent.pid, signal.SIGKILL)
    file = tmp_path / "job" / "0" / "0" / "stdout.log"
    text = written_at_last(file)
    lines = text.splitlines()

    assert text.endswith("\n")
    stamp = STAMP if "timestamps" in settings else ""
    assert len(lines) >= 200
    for number, line in enumerate(lines, 1):
        assert re.fullmatch(f"{stamp}line {number}", line)


def written_at_last(file: Path) -> str:
    """Wait until all of the job are gone; return what is in a file."""
    mark = f"LOGS={file.parents[3]}".encode()
    deadline = time.monotonic() + SOON
    while any(is_of(process, mark) for process in Path("/proc").glob("[0-9]*")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return file.read_text()


def is_of(process: Path, mark: bytes) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def tell(path: Path, text: str) -> None:
    """Write a file in one step, for who waits for it."""
    path.with_suffix(".new").write_text(text)
    path.with_suffix(".new").replace(path)


@pytest.mark.asyncio
async def test_a_killed_scribe_has_a_successor(
    tmp_path: Path, script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    code = """
import os, signal
from pathlib import Path
print("before", flush=True)
import time
logs = Path(os.environ["LOGS"])
while not (logs / "job/0/0/stdout.log").read_text() or not (logs / "scribe").exists():
    time.sleep(0.01)
os.kill(int(Path(os.environ["LOGS"], "scribe").read_text()), signal.SIGKILL)
for number in range(20_000): print("line", number)
"""
    own = spawner(tmp_path, redirects="1", timestamps=True)
    one = worker(0, LOGS=str(tmp_path))
    async with started(own, script(code), one) as group:
        scribe = group.output._scribes._scribe  # type: ignore[attr-defined] # looks inside
        tell(tmp_path / "scribe", str(scribe._popen.pid))
        ended = (await exits(group))[0]

    assert ended.exitcode == 0
    lines = (tmp_path / "job" / "0" / "0" / "stdout.log").read_text().splitlines()
    # It wrote before it was killed what it had read, and the next read the rest.
    assert [re.sub(STAMP, "", line) for line in lines] == [
        "before",
        *(f"line {number}" for number in range(20_000)),
    ]
    assert "was killed; another goes on" in caplog.text
