"""A worker that can't be started: all are undone, and the error says what to do."""

import sys
import tempfile
from pathlib import Path

import pytest

from elaunch.api import CommandEntry, SpawnError
from elaunch.testing.groups import SLEEP, exits, started, worker
from elaunch.testing.lifeline import HOLD, Lifeline
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.output.pump import Pump


async def refusal(*argv: str) -> str:
    spawner = LocalSpawner("job")
    try:
        with pytest.raises(SpawnError) as caught:
            await spawner.start(CommandEntry(argv, "job.py"), [worker(3)])
    finally:
        await spawner.close()
    return str(caught.value)


@pytest.mark.asyncio
async def test_a_missing_program() -> None:
    assert await refusal("no-such-program") == (
        "can't start worker 3 of 'job.py': no such file: 'no-such-program'; "
        "check the path, or that it is on PATH"
    )


@pytest.mark.asyncio
async def test_a_file_that_is_not_executable(tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    path.write_text("pass")

    assert await refusal(str(path)) == (
        f"can't start worker 3 of 'job.py': permission denied: {str(path)!r}; "
        "is it executable?"
    )


@pytest.mark.asyncio
async def test_a_script_without_interpreter(tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)

    assert (await refusal(str(path))).endswith(
        "has no interpreter; check its first line"
    )


@pytest.mark.asyncio
async def test_a_script_without_first_line(tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    path.write_text("print()\n")
    path.chmod(0o755)

    assert "first line must be '#!'" in await refusal(str(path))


@pytest.mark.asyncio
async def test_too_long_a_command_line() -> None:
    message = await refusal(sys.executable, "-c", "x" * 10_000_000)

    assert message.endswith("shorten its arguments or the environment")


@pytest.mark.asyncio
async def test_an_empty_command() -> None:
    assert "the command is empty" in await refusal()


@pytest.mark.asyncio
async def test_when_the_second_fails_the_first_is_undone(tmp_path: Path) -> None:
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        entry = CommandEntry((sys.executable, "-c", HOLD + SLEEP), "code")
        spawner = LocalSpawner("job")
        workers = [
            worker(0, **lifeline.environment),
            worker(1, BAD="a null byte \0"),
        ]
        with pytest.raises(SpawnError, match=r"worker 1 of 'code'.*null byte"):
            await spawner.start(entry, workers)
        assert spawner._group
        assert spawner._group.closed
        lifeline.touch()
        assert await lifeline.released()
        await spawner.close()


@pytest.mark.asyncio
async def test_a_group_without_file_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("elaunch_spawn_local.local.LocalGroup", refuse)

    assert (await refusal("true")).endswith("allow more open files with 'ulimit -n'")


@pytest.mark.asyncio
async def test_a_pump_without_a_thread_undoes_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Pump, "start", refuse)
    entry = CommandEntry((sys.executable, "-c", HOLD + SLEEP), "code")
    async with Lifeline(tmp_path / "lifeline") as lifeline:
        spawner = LocalSpawner("job")
        with pytest.raises(SpawnError, match="allow more processes with 'ulimit -u'"):
            await spawner.start(entry, [worker(0, **lifeline.environment)])
        lifeline.touch()
        assert await lifeline.released()
        await spawner.close()


@pytest.mark.asyncio
async def test_no_place_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    assert "set TMPDIR" in await refusal("true")


@pytest.mark.asyncio
async def test_after_a_failed_start_another_works() -> None:
    spawner = LocalSpawner("job")
    with pytest.raises(SpawnError):
        await spawner.start(CommandEntry(("no-such-program",), "x"), [worker(0)])

    entry = CommandEntry((sys.executable, "-c", "pass"), "code")
    async with started(spawner, entry) as group:
        assert (await exits(group))[0].exitcode == 0
