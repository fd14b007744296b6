"""The check ``disk``."""

import asyncio
import errno
import os
import stat
from pathlib import Path

import pytest

from elaunch.api import PreflightContext, PreflightResult
from elaunch.preflights.disk import Disk
from elaunch.preflights.options import DiskOptions
from elaunch.testing import PreflightContract


def look(default: str = "", **options: str | int | bool) -> PreflightResult:
    disk = Disk(DiskOptions(**options), default)  # type: ignore[arg-type] # by name

    return asyncio.run(disk.check(PreflightContext()))


class TestContract(PreflightContract):
    @pytest.fixture
    def fit(self, tmp_path: Path) -> Disk:
        return Disk(DiskOptions(path=str(tmp_path), free="1M"))

    @pytest.fixture
    def unfit(self, tmp_path: Path) -> Disk:
        return Disk(DiskOptions(path=str(tmp_path / "absent")))


def test_a_directory_with_room_passes_and_nothing_is_left_in_it(tmp_path: Path) -> None:
    result = look(path=str(tmp_path), free="1M", inodes=0)

    assert result.problem == ""
    assert result.facts["path"] == str(tmp_path)
    assert isinstance(result.facts["free"], int)
    assert result.facts["free"] > 1 << 20
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_is_told_with_what_is_there_and_what_is_asked_for(
    tmp_path: Path,
) -> None:
    result = look(path=str(tmp_path), free="8000000 TiB")

    assert str(tmp_path) in result.problem
    assert result.problem.endswith("free, and 8000000.0 TiB are asked for")


def test_too_few_inodes_are_told(tmp_path: Path) -> None:
    if not os.statvfs(tmp_path).f_files:
        pytest.skip("this file system has no limit of files")
    result = look(path=str(tmp_path), free="0", inodes=1 << 62)

    assert f"more files, and {1 << 62} are asked for" in result.problem


def test_a_directory_that_is_named_must_exist(tmp_path: Path) -> None:
    absent = tmp_path / "scratch"

    assert look(path=str(absent), free="0").problem == (
        f"{str(absent)!r} can't be used: No such file or directory"
    )


def test_one_that_is_not_named_may_be_made_later(tmp_path: Path) -> None:
    absent = tmp_path / "logs" / "of" / "the run"
    result = look(str(absent), free="0", inodes=0)

    assert result.problem == ""
    assert result.facts["path"] == str(absent)
    assert not absent.exists()


@pytest.mark.parametrize("write", [True, False])
def test_a_file_is_no_directory(tmp_path: Path, *, write: bool) -> None:
    file = tmp_path / "file"
    file.touch()
    result = look(path=str(file), free="0", inodes=0, write=write)

    assert repr(str(file)) in result.problem
    assert file.read_bytes() == b""


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_directory_that_is_closed_to_the_user_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        problem = look(path=str(tmp_path), free="0", inodes=0).problem
        unwritten = look(path=str(tmp_path), free="0", inodes=0, write=False).problem
    finally:
        tmp_path.chmod(stat.S_IRWXU)

    assert problem == f"{str(tmp_path)!r} can't be used: Permission denied"
    assert unwritten == ""


def test_what_the_disk_itself_does_not_take_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then what was written lies in memory."""

    def lose(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", lose)
    result = look(path=str(tmp_path), free="0", inodes=0)

    assert result.problem == f"{str(tmp_path)!r} can't be used: Input/output error"


def test_what_can_be_read_alone_is_told() -> None:
    # The kernel's own file system takes no files, whoever asks.
    result = look(path="/proc", free="0", inodes=0)

    assert result.problem.startswith("'/proc' can't be used: ")


@pytest.mark.parametrize("free", ["", "much", "-1", "1.5G"])
def test_sizes_that_are_none_are_refused(free: str) -> None:
    with pytest.raises(ValueError, match="'free' is a number of bytes"):
        DiskOptions(free=free)
