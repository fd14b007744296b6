"""Stacks of workers, written down before they are stopped."""

import asyncio
import os
import shlex
import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest
from cgroups import frozen

from elaunch.api import (
    CommandEntry,
    FunctionEntry,
    ScriptEntry,
    StackSettings,
    StartMethod,
    StartSettings,
    StopSchedule,
    StopStep,
)
from elaunch.testing.groups import SOON, Steps, exits, started, worker
from elaunch.testing.lifeline import HOLD, Lifeline
from elaunch_spawn_local import stacks
from elaunch_spawn_local.local import LocalSpawner


HANG = f"""
import threading
held = {{}}
def waits_for_ever():
    lock = threading.Lock()
    lock.acquire()
    exec({HOLD!r}, held)
    lock.acquire()
"""
FORKS = f"""
{HANG}
import os
if os.fork() == 0:
    waits_for_ever()
def the_parent():
    exec({HOLD!r}, held)
    os.wait()
the_parent()
"""
HANG += "waits_for_ever()\n"
LOCKED = f"""
import ctypes
libc = ctypes.PyDLL(None)  # whose functions keep the interpreter's lock
mutex = ctypes.create_string_buffer(64)
def holds_the_lock():
    libc.pthread_mutex_lock(mutex)
    {HOLD.replace(chr(10), chr(10) + "    ")}
    libc.pthread_mutex_lock(mutex)
holds_the_lock()
"""
LOOPS = f"""
import re
def holds_the_lock():
    {HOLD.replace(chr(10), chr(10) + "    ")}
    re.match("(a|aa)+$", "a" * 200 + "b")
holds_the_lock()
"""


def hang() -> None:
    """Be held by the test, and hang."""
    exec(HANG, {})  # noqa: S102 - code of this very file


@pytest.fixture(params=["faulthandler", "py-spy"])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How stacks are read."""
    if request.param == "faulthandler":
        monkeypatch.setattr(stacks, "py_spy", lambda: None)
    elif not stacks.py_spy():
        pytest.skip("py-spy is not installed")
    return str(request.param)


@pytest.fixture
def by_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "py_spy", lambda: None)


def spawner(
    tmp_path: Path, method: StartMethod = StartMethod.SPAWN, *, prepare: bool = True
) -> LocalSpawner:
    settings = StackSettings(prepare=prepare, directory=str(tmp_path / "stacks"))
    return LocalSpawner("job", StartSettings(method=method), stacks=settings)


def script(tmp_path: Path, code: str) -> ScriptEntry:
    path = tmp_path / "hangs.py"
    path.write_text(code)
    return ScriptEntry(str(path), (), "hangs.py")


def has_stopped(pid: int) -> None:
    """Wait until a signal has stopped a process: its parent alone is told."""
    end = time.monotonic() + SOON
    while psutil.Process(pid).status() != psutil.STATUS_STOPPED:
        assert time.monotonic() < end
        os.sched_yield()


async def stopped(
    tmp_path: Path,
    entry: ScriptEntry | FunctionEntry | CommandEntry,
    method: StartMethod = StartMethod.SPAWN,
    held: int = 1,
    *,
    prepare: bool = True,
) -> tuple[Steps, str]:
    """Stop one worker once it hangs; return the steps and what was written."""
    steps = Steps()
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        async with started(
            spawner(tmp_path, method, prepare=prepare), entry, one
        ) as group:
            await lifeline.held_by(held)
            await group.stop(StopSchedule(grace=SOON, stacks=SOON), steps)
    assert steps.names[:2] == [StopStep.STACKS, StopStep.SIGNAL]
    (file,) = steps.files
    assert file == str(tmp_path / "stacks" / "0" / "rank-0.txt")
    return steps, await asyncio.to_thread(Path(file).read_text)


@pytest.mark.asyncio
@pytest.mark.parametrize("method", [StartMethod.SPAWN, StartMethod.WARM])
async def test_a_script_shows_where_it_hangs(
    tmp_path: Path, method: StartMethod, reader: str
) -> None:
    _, text = await stopped(tmp_path, script(tmp_path, HANG), method)

    assert f"stacks by {reader}:" in text
    assert "waits_for_ever" in text
    assert text.startswith("rank 0, pid ")


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
@pytest.mark.parametrize("method", list(StartMethod))
async def test_a_function_does_so_too(tmp_path: Path, method: StartMethod) -> None:
    _, text = await stopped(tmp_path, FunctionEntry(hang, (), "hang"), method)

    assert "waits_for_ever" in text


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_a_module_does_so_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path, HANG)
    entry = ScriptEntry("hangs", (), "hangs", module=True)
    _, text = await stopped(tmp_path, entry)

    assert "waits_for_ever" in text


@pytest.mark.usefixtures("reader")
@pytest.mark.asyncio
async def test_processes_below_a_worker_are_shown(tmp_path: Path) -> None:
    _, text = await stopped(tmp_path, script(tmp_path, FORKS), held=2)

    parent, _, child = text.partition("\nrank 0, pid ")
    assert "the_parent" in parent
    assert "waits_for_ever" in child


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_a_program_of_another_kind_is_not_disturbed(tmp_path: Path) -> None:
    entry = CommandEntry((sys.executable, "-c", HANG), "program")
    steps, text = await stopped(tmp_path, entry)

    assert steps.names == [StopStep.STACKS, StopStep.SIGNAL]
    assert "no stacks of Python" in text


@pytest.mark.usefixtures("reader")
@pytest.mark.asyncio
async def test_a_stopped_worker_shows_where_and_is_stopped_again(
    tmp_path: Path,
) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        entry = script(tmp_path, HANG)
        async with started(spawner(tmp_path), entry, one) as group:
            await lifeline.held_by(1)
            os.kill(pid := group.pids[0], signal.SIGSTOP)
            await asyncio.to_thread(has_stopped, pid)
            files = await group.dump_stacks(SOON)

            await asyncio.to_thread(has_stopped, pid)

    text = await asyncio.to_thread(Path(files[0]).read_text)
    assert "state: T (stopped)" in text
    assert "waits_for_ever" in text


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_a_worker_under_a_debugger_holds_nothing_up(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        two = [worker(rank, **lifeline.environment) for rank in (0, 1)]
        entry = script(tmp_path, HANG)
        async with started(spawner(tmp_path), entry, *two) as group:
            await lifeline.held_by(2)
            debugger = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", ATTACH, str(group.pids[0])),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                assert debugger.stdout
                if not await debugger.stdout.readline():
                    pytest.skip("the system allows no ptrace")
                async with asyncio.timeout(SOON):
                    files = await group.dump_stacks(SOON)
            finally:
                await debugger.communicate(b"")

    texts = [await asyncio.to_thread(Path(file).read_text) for file in files.values()]
    assert "no stacks: the process does not run" in texts[0]
    assert "waits_for_ever" in texts[1]


ATTACH = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
PTRACE_ATTACH = 16
if libc.ptrace(PTRACE_ATTACH, int(sys.argv[1]), None, None) == 0:
    os.waitpid(int(sys.argv[1]), 0)
    print("attached", flush=True)
    sys.stdin.read()
"""


@pytest.mark.usefixtures("by_signal")
@pytest.mark.parametrize("held", [LOCKED, LOOPS], ids=["in C", "in a pattern"])
@pytest.mark.asyncio
async def test_who_holds_the_interpreters_lock_shows_where(
    tmp_path: Path, held: str
) -> None:
    _, text = await stopped(tmp_path, script(tmp_path, held))

    assert "holds_the_lock" in text


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_a_worker_that_the_kernel_holds_holds_nothing_up(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        entry = script(tmp_path, HANG)
        async with started(spawner(tmp_path), entry, one) as group:
            await lifeline.held_by(1)
            steps = Steps()
            with frozen("stacks", group.pids[0]):
                stop = asyncio.ensure_future(
                    group.stop(StopSchedule(grace=600, stacks=600), steps)
                )
                async with asyncio.timeout(SOON):
                    await steps.first.wait()
            await stop

    text = await asyncio.to_thread(Path(steps.files[0]).read_text)
    assert "no stacks: the process waits in the kernel and does not answer" in text
    assert "state: D (disk sleep)" in text


@pytest.fixture
def stuck_spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A py-spy that never ends; the file gets a line for each that begins."""
    log = tmp_path / "spied"
    program = tmp_path / "py-spy"
    program.write_text(f"#!/bin/sh\necho $$ > {log}\nexec sleep 1000\n")
    program.chmod(0o755)
    os.mkfifo(log)
    monkeypatch.setattr(stacks, "py_spy", lambda: str(program))
    return log


@pytest.mark.asyncio
async def test_the_time_is_bounded_for_all_together(
    tmp_path: Path, stuck_spy: Path
) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        entry = script(tmp_path, HANG)
        async with started(spawner(tmp_path), entry, one) as group:
            await lifeline.held_by(1)
            spied = asyncio.to_thread(stuck_spy.read_text)
            steps = Steps()
            stop = group.stop(StopSchedule(grace=600, stacks=1.0), steps)
            async with asyncio.timeout(SOON):
                _, spy = await asyncio.gather(stop, spied)
            ended = await exits(group)

    assert ended[0].exitcode == -signal.SIGTERM
    text = await asyncio.to_thread(Path(steps.files[0]).read_text)
    assert "stacks by faulthandler:" in text  # there was time left for that
    assert not await asyncio.to_thread(Path(f"/proc/{spy.strip()}/fd/0").exists)


@pytest.mark.asyncio
async def test_a_second_stop_does_not_wait_for_it(
    tmp_path: Path, stuck_spy: Path
) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        entry = script(tmp_path, HANG)
        async with started(spawner(tmp_path), entry, one) as group:
            await lifeline.held_by(1)
            first = asyncio.ensure_future(
                group.stop(StopSchedule(grace=600, stacks=600), Steps())
            )
            await asyncio.to_thread(stuck_spy.read_text)
            async with asyncio.timeout(SOON):
                await group.stop(StopSchedule(grace=0), Steps())
                await first
            ended = await exits(group)

    assert ended[0].exitcode == -signal.SIGKILL


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_a_place_that_cant_be_written_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "stacks").write_text("a file")
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        entry = script(tmp_path, HANG)
        async with started(spawner(tmp_path), entry, one) as group:
            await lifeline.held_by(1)
            steps = Steps()
            await group.stop(StopSchedule(grace=SOON, stacks=SOON), steps)

    assert steps.names == [StopStep.SIGNAL]
    assert "can't write stacks to" in caplog.text


PREPARES = f"""
from elaunch.worker import stacks
stacks.prepare()
stacks.prepare()
{HANG}
"""


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_who_is_not_prepared_can_prepare_itself(tmp_path: Path) -> None:
    _, text = await stopped(tmp_path, script(tmp_path, PREPARES), prepare=False)

    assert "waits_for_ever" in text


SPEAKS = f"""
from elaunch.worker import heartbeat
heartbeat()
{HANG}
"""


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_who_speaks_to_its_agent_is_prepared(tmp_path: Path) -> None:
    path = str(tmp_path / "channel")
    told = f"import os\nos.environ['ELAUNCH_CHANNEL'] = {path!r}\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        entry = script(tmp_path, told + SPEAKS)
        _, text = await stopped(tmp_path, entry, prepare=False)

    assert "waits_for_ever" in text


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_so_can_a_program_below_a_worker_of_another_kind(tmp_path: Path) -> None:
    python = shlex.join((sys.executable, "-c", PREPARES))
    words = ("sh", "-c", f"{python}; exit 0")
    _, text = await stopped(tmp_path, CommandEntry(words, "program"))

    shell, _, below = text.partition("\nrank 0, pid ")
    assert "no stacks of Python" in shell
    assert "waits_for_ever" in below


HANDLES = """
import signal, sys
signal.signal(signal.SIGRTMIN + 9, lambda *_: sys.exit(9))
"""


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_the_signal_goes_to_nobody_who_means_something_else(
    tmp_path: Path,
) -> None:
    _, text = await stopped(tmp_path, script(tmp_path, HANDLES + HANG), prepare=False)

    assert "no stacks of Python" in text


@pytest.mark.asyncio
async def test_without_stacks_a_script_runs_as_ever(tmp_path: Path) -> None:
    entry = script(tmp_path, "import sys; sys.exit(len(sys.orig_argv))")
    async with started(LocalSpawner("job"), entry) as group:
        ended = await exits(group)

    assert ended[0].exitcode == 3
