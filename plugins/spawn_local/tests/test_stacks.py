"""Stacks of workers, written down before they are stopped."""

import asyncio
import os
import signal
import sys
from pathlib import Path

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


def spawner(tmp_path: Path, method: StartMethod = StartMethod.SPAWN) -> LocalSpawner:
    settings = StackSettings(seconds=SOON, directory=str(tmp_path / "stacks"))
    return LocalSpawner("job", StartSettings(method=method), stacks=settings)


def script(tmp_path: Path, code: str) -> ScriptEntry:
    path = tmp_path / "hangs.py"
    path.write_text(code)
    return ScriptEntry(str(path), (), "hangs.py")


async def stopped(
    tmp_path: Path,
    entry: ScriptEntry | FunctionEntry | CommandEntry,
    method: StartMethod = StartMethod.SPAWN,
    held: int = 1,
) -> tuple[Steps, str]:
    """Stop one worker once it hangs; return the steps and what was written."""
    steps = Steps()
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        one = worker(0, **lifeline.environment)
        async with started(spawner(tmp_path, method), entry, one) as group:
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


@pytest.mark.usefixtures("by_signal")
@pytest.mark.asyncio
async def test_a_stopped_worker_holds_nothing_up(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        two = [worker(rank, **lifeline.environment) for rank in (0, 1)]
        entry = script(tmp_path, HANG)
        async with started(spawner(tmp_path), entry, *two) as group:
            await lifeline.held_by(2)
            os.kill(group.pids[0], signal.SIGSTOP)
            steps = Steps()
            async with asyncio.timeout(SOON):
                await group.stop(StopSchedule(grace=600, stacks=600), steps)

    texts = [await asyncio.to_thread(Path(file).read_text) for file in steps.files]
    assert "no stacks: the process does not run" in texts[0]
    assert "waits_for_ever" in texts[1]


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
    assert "no stacks: the time is over" in text
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


@pytest.mark.asyncio
async def test_without_stacks_a_script_runs_as_ever(tmp_path: Path) -> None:
    entry = script(tmp_path, "import sys; sys.exit(len(sys.orig_argv))")
    async with started(LocalSpawner("job"), entry) as group:
        ended = await exits(group)

    assert ended[0].exitcode == 3
