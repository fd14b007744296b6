"""How a notice gets to a worker."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from elaunch.api import Notice, NoticeKind
from elaunch_spawn_local.notices import (
    Notices,
    handles,
    signal_handlers,
    write_whole,
)


NOTICE = Notice(kind=NoticeKind.PREEMPTION, reason="why", host="h", timestamp=1.0)
USR1 = signal.SIGUSR1

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def test_a_reader_sees_the_old_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "notice.json"
    path.write_text("old")
    with path.open() as before:
        write_whole(path, "new")

        assert before.read() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.asyncio
async def test_the_file_says_all(tmp_path: Path) -> None:
    paths = {pid: tmp_path / f"{pid}.json" for pid in range(-2, 0)}
    await Notices(None).tell(NOTICE, paths)

    for path in paths.values():
        assert json.loads(path.read_text()) == attrs.asdict(NOTICE)


@pytest.mark.asyncio
async def test_notices_are_told_one_after_the_other(tmp_path: Path) -> None:
    """The last one that was asked for is the one that stays."""
    path = tmp_path / "notice.json"
    notices = Notices(None)
    later = [attrs.evolve(NOTICE, timestamp=float(n)) for n in range(50)]
    await asyncio.gather(*(notices.tell(notice, {0: path}) for notice in later))

    assert json.loads(path.read_text())["timestamp"] == 49.0


@pytest.mark.asyncio
async def test_a_file_that_cant_be_written_is_told_and_costs_nobody_else_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where the disk is full, or the group is closed meanwhile."""
    paths = {1: tmp_path / "missing" / "notice.json", 2: tmp_path / "notice.json"}
    await Notices(None).tell(NOTICE, paths)

    assert paths[2].exists()
    assert "can't leave a notice for a worker: " in caplog.text


@linux
def test_who_handles_a_signal_is_known() -> None:
    before = signal.signal(USR1, lambda *_: None)
    try:
        with_handler = handles(os.getpid(), USR1)
        signal.signal(USR1, signal.SIG_IGN)
        ignoring = handles(os.getpid(), USR1)
        signal.signal(USR1, signal.SIG_DFL)
        by_default = handles(os.getpid(), USR1)
    finally:
        signal.signal(USR1, before)

    assert (with_handler, ignoring, by_default) == (True, False, False)


@linux
def test_nobody_outside_the_groups_is_signalled() -> None:
    heard: list[int] = []
    before = signal.signal(USR1, lambda number, _: heard.append(number))
    try:
        stranger = signal_handlers({-1}, USR1)
        own = signal_handlers({os.getpgid(0)}, USR1)
    finally:
        signal.signal(USR1, before)

    assert stranger == []
    assert os.getpid() in own
    assert heard == [USR1]


@linux
def test_a_process_that_is_gone_handles_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()

    assert not handles(process.pid, USR1)
    assert signal_handlers({process.pid}, USR1) == []
