"""Files read as they grow and are rotated, by events or without."""

import asyncio
import os
import select
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from elaunch.api import OutputSettings, ScriptEntry
from elaunch.testing.groups import SOON, exits, started, worker
from elaunch_spawn_local.local import LocalSpawner
from elaunch_spawn_local.output import watch
from elaunch_spawn_local.output.follow import Follower
from elaunch_spawn_local.output.watch import Inotify, Polling, Watch, new_watch


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def add(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def rotate(log: Path) -> None:
    numbers = [int(p.suffix[1:]) for p in log.parent.glob("log.*")]
    for number in sorted(numbers, reverse=True):
        log.with_name(f"log.{number}").replace(log.with_name(f"log.{number + 1}"))
    log.replace(log.with_name("log.1"))


def all_of(follower: Follower) -> bytes:
    return b"".join(iter(lambda: follower.read(7), b""))


def test_a_file_is_read_from_its_start_on_as_it_grows(log: Path) -> None:
    add(log, "old\n")
    follower = Follower(str(log), start=4)

    assert follower.read(100) == b""
    add(log, "one\n")
    assert follower.read(100) == b"one\n"
    assert follower.read(100) == b""
    follower.close()


def test_what_is_rotated_away_before_the_first_read_is_read(log: Path) -> None:
    follower = Follower(str(log))
    add(log, "one, ")
    follower.open()
    rotate(log)
    add(log, "two")

    assert all_of(follower) == b"one, two"
    follower.close()


@pytest.mark.parametrize("rotations", [1, 2, 5])
def test_nothing_is_missed_however_often_it_was_rotated(
    rotations: int, log: Path
) -> None:
    follower = Follower(str(log))
    add(log, "0, ")
    assert follower.read(100) == b"0, "
    expected = ""
    for number in range(1, rotations + 1):
        add(log, f"{number}, ")
        rotate(log)
        add(log, f"new {number}, ")
        expected += f"{number}, new {number}, "

    assert all_of(follower).decode() == expected
    follower.close()


def test_a_rotation_that_is_under_way_is_waited_for(log: Path) -> None:
    follower = Follower(str(log))
    add(log, "one, ")
    follower.open()
    rotate(log)
    add(log, "two, ")
    assert all_of(follower) == b"one, two, "

    log.with_name("log.1").replace(log.with_name("log.2"))
    assert follower.read(100) == b""
    log.replace(log.with_name("log.1"))
    assert follower.read(100) == b""
    add(log, "three, ")
    assert all_of(follower) == b"three, "
    follower.close()


def test_a_part_that_is_gone_is_told_once(
    log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    follower = Follower(str(log))
    for text in ("one", "two", "three"):
        add(log, text)
        assert all_of(follower).decode() == text
        log.unlink()
    add(log, "four")

    assert all_of(follower) == b"four"
    assert caplog.text.count("lines may be missing") == 1
    follower.close()


@pytest.mark.parametrize("rotates", [True, False])
@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_file_whose_directory_is_gone_is_read_on(
    how: str, *, rotates: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = folder / "log"
    add(log, "one, ")
    follower = Follower(str(log), rotates=rotates)
    with log.open("a") as writer:
        assert all_of(follower) == b"one, "
        if how == "removed":
            log.unlink()
            folder.rmdir()
        else:
            folder.rename(tmp_path / "elsewhere")
        writer.write("two")
        writer.flush()

        assert all_of(follower) == b"two"
    follower.close()


def test_another_file_of_this_name_is_no_part_of_one_that_is_not_rotated(
    log: Path,
) -> None:
    add(log, "one, ")
    follower = Follower(str(log), rotates=False)
    with log.open("a") as writer:
        assert all_of(follower) == b"one, "
        log.rename(log.with_name("moved"))
        add(log, "a stranger's")
        writer.write("two")
        writer.flush()

        assert all_of(follower) == b"two"
    follower.close()


def test_a_file_that_is_truncated_is_read_from_its_new_beginning(
    log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    add(log, "a long line")
    follower = Follower(str(log))
    assert all_of(follower) == b"a long line"
    for text in ("one", "o"):
        log.write_text(text)
        assert all_of(follower) == text.encode()

    assert caplog.text.count("was truncated") == 1
    follower.close()


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="not Linux")
def test_linux_tells_of_news_in_a_directory(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    events = new_watch({str(folder) for folder in folders})
    assert isinstance(events, Inotify)
    assert events.fd is not None
    assert events.news() == set()

    add(folders[1] / "log", "one")
    ready, _, _ = select.select([events.fd], [], [], SOON)

    assert ready
    assert events.news() == {str(folders[1])}
    events.close()


@pytest.mark.parametrize("new", [new_watch, lambda _: Polling()])
@pytest.mark.asyncio
async def test_lines_of_a_file_come_to_the_console_while_the_worker_runs(
    new: Callable[[set[str]], Watch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "new_watch", new)
    script = tmp_path / "script.py"

    script.write_text(
        "import os, sys, time\n"
        "print('first', flush=True)\n"
        "while not os.path.exists(sys.argv[0] + '.go'): time.sleep(0.01)\n"
        "print('second')\n"
    )
    output = OutputSettings(log_dir=str(tmp_path / "logs"), tee="1")
    spawner = LocalSpawner("job", output=output)
    one = worker(0, label="[0] ")
    shown = ""
    async with started(spawner, ScriptEntry(str(script), (), "s"), one) as group:
        while "first" not in shown:
            await asyncio.sleep(0.01)
            shown += capfd.readouterr().out
        (tmp_path / "script.py.go").touch()
        await exits(group)

    assert shown + capfd.readouterr().out == "[0] first\n[0] second\n"


@pytest.mark.parametrize("new", [new_watch, lambda _: Polling()])
@pytest.mark.asyncio
async def test_the_console_shows_a_worker_whose_logs_were_removed(
    new: Callable[[set[str]], Watch],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(watch, "new_watch", new)
    script = tmp_path / "script.py"
    script.write_text(
        "import os, sys, time\n"
        "for number in range(4):\n"
        "    print('line', number, flush=True)\n"
        "    while not os.path.exists(f'{sys.argv[0]}.{number}'): time.sleep(0.01)\n"
    )
    logs = tmp_path / "logs"
    output = OutputSettings(log_dir=str(logs), tee="1")
    shown = ""
    async with started(
        LocalSpawner("job", output=output), ScriptEntry(str(script), (), "s")
    ) as group:
        for number in range(4):
            while f"line {number}\n" not in shown:
                await asyncio.sleep(0.01)
                shown += capfd.readouterr().out
            shutil.rmtree(logs, ignore_errors=True)
            (tmp_path / f"script.py.{number}").touch()
        await exits(group)

    assert shown == "".join(f"line {number}\n" for number in range(4))
