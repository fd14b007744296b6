"""What a group of local workers does beyond the contract."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from cgroups import frozen, memory_limit

from elaunch.api import (
    CommandEntry,
    Ending,
    FunctionEntry,
    ScriptEntry,
    StartMethod,
    StartSettings,
    StopSchedule,
    StopStep,
)
from elaunch.testing.groups import (
    IGNORE_SIGTERM,
    SLEEP,
    SOON,
    Steps,
    exits,
    started,
    worker,
)
from elaunch.testing.lifeline import HOLD, Lifeline
from elaunch_spawn_local import group as group_module
from elaunch_spawn_local.fork_server.server import END_LIMIT
from elaunch_spawn_local.local import LocalSpawner


CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")

# A process of a new session whose parent has ended: no parenthood leads to it.
_PARENT = """
import subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[1]], start_new_session=True)
"""
DAEMON = f"""
import subprocess, sys
argv = [sys.executable, "-c", {_PARENT!r}, {HOLD + SLEEP!r}]
subprocess.run(argv, check=True)
"""


def python(code: str) -> CommandEntry:
    return CommandEntry((sys.executable, "-c", code), "code")


def open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def content(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


@pytest.mark.asyncio
async def test_a_daemon_of_a_live_worker_is_killed(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        code = DAEMON + HOLD + SLEEP
        async with started(LocalSpawner("job"), python(code), one) as group:
            pids = set(await lifeline.held_by(2))
            steps = Steps()
            await group.stop(StopSchedule(grace=SOON), steps)

            assert await lifeline.released()
            assert steps.names == [StopStep.SIGNAL, StopStep.KILL]
            assert steps.taken[1][2] == sorted(pids - set(group.pids.values()))


@pytest.mark.asyncio
async def test_a_daemon_of_a_worker_that_ended_is_killed(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        async with started(LocalSpawner("job"), python(DAEMON), one) as group:
            [daemon] = await lifeline.held_by(1)
            await exits(group)
            steps = Steps()
            await group.stop(StopSchedule(grace=SOON), steps)

            assert await lifeline.released()
            assert steps.names == [StopStep.KILL]
            assert steps.taken[0][2] == [daemon]


@pytest.mark.asyncio
async def test_a_group_leaves_another_alone(tmp_path: Path) -> None:
    entry = python(HOLD + SLEEP)
    async with (
        Lifeline(tmp_path / "one") as one,
        Lifeline(tmp_path / "two") as two,
        started(LocalSpawner("job"), entry, worker(0, **one.environment)) as first,
        started(LocalSpawner("job"), entry, worker(0, **two.environment)),
    ):
        await one.held_by(1)
        await two.held_by(1)
        await first.stop(StopSchedule(grace=SOON), Steps())
        await first.close()

        assert await one.released()
        assert not await two.released(0.5)


@pytest.mark.asyncio
async def test_a_stop_that_was_cancelled_can_be_asked_again(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        code = IGNORE_SIGTERM + HOLD + SLEEP
        spawner = LocalSpawner("job")
        async with started(spawner, python(code), one) as group:
            await lifeline.held_by(1)
            first = Steps()
            stop = asyncio.create_task(group.stop(StopSchedule(grace=600), first))
            await first.first.wait()
            stop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await stop
            second = Steps()
            await group.stop(StopSchedule(grace=0), second)

            assert await lifeline.released()
            assert first.names == [StopStep.SIGNAL]
            assert second.names == [StopStep.SIGNAL, StopStep.KILL]


@pytest.mark.asyncio
async def test_workers_that_end_during_the_grace_end_it(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        workers = [worker(rank, **lifeline.environment) for rank in range(4)]
        code = HOLD + SLEEP
        async with started(LocalSpawner("job"), python(code), *workers) as group:
            await lifeline.held_by(4)
            async with asyncio.timeout(SOON):
                await group.stop(StopSchedule(grace=600), Steps())
            ended = await exits(group, 4)

    assert {end.exitcode for end in ended.values()} == {-15}


@pytest.mark.asyncio
async def test_who_cant_be_killed_has_failed_and_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(group_module, "KILL_LIMIT", 1.0)
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        two = [worker(rank, **lifeline.environment) for rank in (0, 1)]
        spawner = LocalSpawner("job")
        async with started(spawner, python(HOLD + SLEEP), *two) as group:
            await lifeline.held_by(2)
            pid, steps = group.pids[0], Steps()
            with frozen("unkillable", pid):
                await group.stop(StopSchedule(grace=0), steps)
                ended = await exits(group, 2)
                async with asyncio.timeout(END_LIMIT):  # for it, nobody waits again
                    await spawner.close()

            assert await lifeline.released()

    assert steps.names == [StopStep.SIGNAL, StopStep.KILL, StopStep.LEFT]
    assert steps.taken[2][2] == [pid]
    assert (ended[0].ending, ended[0].failed) == (Ending.UNKILLABLE, True)
    assert ended[0].remark.startswith("the kernel holds it (state D (disk sleep)")
    assert ended[1].ending is Ending.SIGNAL
    assert f"process {pid} is still there 1.0 s after SIGKILL" in caplog.text


LIMITED = """
import asyncio, json, sys
from pathlib import Path
from elaunch.api import CommandEntry
from elaunch.testing.groups import exits, started
from elaunch_spawn_local.local import LocalSpawner

Path(sys.argv[1], "cgroup.procs").write_text("0")  # this very process
HUNGRY = "held = []\\nwhile True: held.append(bytearray(1 << 20))"

async def main():
    entry = CommandEntry((sys.executable, "-c", HUNGRY), "hungry")
    async with started(LocalSpawner("job"), entry) as group:
        end = (await exits(group))[0]
        print(json.dumps([end.ending, end.exitcode, end.remark]))

asyncio.run(main())
"""


def test_a_kill_for_lack_of_memory_is_told_as_such() -> None:
    with memory_limit("group", 256 << 20) as directory:
        # A process of its own: this one may be the larger of the two.
        agent = subprocess.run(
            [sys.executable, "-c", LIMITED, str(directory)],
            stdout=subprocess.PIPE,
            timeout=SOON,
            check=True,
        )

    ending, exitcode, remark = json.loads(agent.stdout)
    assert (ending, exitcode) == (Ending.OUT_OF_MEMORY, -signal.SIGKILL)
    assert f"the limit is {256 << 20} bytes (256.0 MiB)" in remark


@pytest.mark.asyncio
async def test_a_kill_by_somebody_else_is_a_signal() -> None:
    async with started(LocalSpawner("job"), python(SLEEP)) as group:
        os.kill(group.pids[0], signal.SIGKILL)
        ended = await exits(group)

    assert (ended[0].ending, ended[0].remark) == (Ending.SIGNAL, "")


@pytest.mark.skipif(
    not CORE_PATTERN.exists() or CORE_PATTERN.read_text().startswith("|"),
    reason="this host writes no core dumps to files",
)
@pytest.mark.asyncio
async def test_a_core_dump_is_told_as_such(tmp_path: Path) -> None:
    code = (
        "import os, resource\n"
        f"os.chdir({str(tmp_path)!r})\n"
        "most = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
        "os.abort()\n"
    )
    async with started(LocalSpawner("job"), python(code)) as group:
        ended = await exits(group)

    assert ended[0].exitcode == -signal.SIGABRT
    assert ended[0].ending is Ending.CORE_DUMP


@pytest.mark.asyncio
async def test_a_crash_of_python_names_the_line(tmp_path: Path) -> None:
    script = tmp_path / "crash.py"
    script.write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    entry = ScriptEntry(str(script), (), "crash.py")
    async with started(LocalSpawner("job"), entry) as group:
        ended = await exits(group)

    assert ended[0].exitcode == -signal.SIGSEGV
    assert ended[0].stderr_tail[0] == "Fatal Python error: Segmentation fault"
    assert f'  File "{script}", line 3 in <module>' in ended[0].stderr_tail


@pytest.mark.asyncio
async def test_nothing_is_left_open(temporary: Path) -> None:
    await asyncio.to_thread(str)  # the executor's own thread and files come first
    before, files = set(threading.enumerate()), open_files()
    spawner = LocalSpawner("job")
    for entry in (python("raise SystemExit(1)"), FunctionEntry(str, (), "str")):
        group = await spawner.start(entry, [worker(0), worker(1)])
        await exits(group, 2)
        await group.close()
    group = await spawner.start(python(SLEEP), [worker(0)])

    await spawner.close()

    assert content(temporary) == []
    assert open_files() == files
    # Threads of the executor stay; the pump's and watchers' must not.
    names = [thread.name for thread in set(threading.enumerate()) - before]
    assert not [name for name in names if name.startswith("elaunch-")]


@pytest.mark.asyncio
async def test_the_directory_of_workers_files_is_private(temporary: Path) -> None:
    code = (
        "import os; p = os.path.dirname(os.environ['TORCHELASTIC_ERROR_FILE']);"
        "assert all(os.stat(d).st_mode & 0o077 == 0"
        " for d in (p, os.path.dirname(p), os.path.dirname(os.path.dirname(p))))"
    )
    async with started(LocalSpawner("job"), python(code)) as group:
        assert content(temporary)
        assert (await exits(group))[0].exitcode == 0


@pytest.mark.asyncio
async def test_nobody_takes_the_directory_of_workers_files_for_old(
    temporary: Path,
) -> None:
    """A job runs for weeks; who tidies up spares what is locked."""
    async with started(LocalSpawner("job"), python("")) as group:
        await exits(group)
        (directory,) = content(temporary)
        other = os.open(directory, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # Nobody has inherited it.
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


@pytest.mark.asyncio
async def test_the_user_may_keep_python_buffered(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", "")
    code = "import os; print(repr(os.environ['PYTHONUNBUFFERED']))"
    async with started(LocalSpawner("job"), python(code)) as group:
        await exits(group)

    assert capfd.readouterr().out == "''\n"


def meet(place: str, count: int) -> int:
    (Path(place) / os.environ["RANK"]).touch()
    while len(list(Path(place).iterdir())) < count:
        time.sleep(0.01)  # in a worker, to which nothing tells of the others
    return count


@pytest.mark.parametrize("method", list(StartMethod))
@pytest.mark.asyncio
async def test_workers_start_side_by_side(tmp_path: Path, method: StartMethod) -> None:
    """The start of one waits for nothing that another does."""
    entry = FunctionEntry(meet, (str(tmp_path), 3), "meet")
    own = LocalSpawner("job", StartSettings(method=method))
    workers = [worker(rank, RANK=str(rank)) for rank in range(3)]
    async with started(own, entry, *workers) as group:
        ended = await exits(group, 3)

    assert [end.value for end in ended.values()] == [3, 3, 3]


@pytest.mark.asyncio
async def test_a_worker_has_no_input_and_leads_its_session(
    capfd: pytest.CaptureFixture[str],
) -> None:
    code = (
        "import os, sys; "
        "print(repr(sys.stdin.read()), os.getsid(0) == os.getpid() == os.getpgid(0))"
    )
    async with started(LocalSpawner("job"), python(code)) as group:
        await exits(group)

    assert capfd.readouterr().out == "'' True\n"
