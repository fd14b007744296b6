"""The check ``memory``, also within control groups, whose files are made here."""

import asyncio
from pathlib import Path

import psutil
import pytest

from elaunch.api import PreflightContext, PreflightResult
from elaunch.preflights.memory import Memory
from elaunch.preflights.options import MemoryOptions
from elaunch.testing import PreflightContract


MIB = 1 << 20


class TestContract(PreflightContract):
    @pytest.fixture
    def fit(self) -> Memory:
        return Memory(MemoryOptions(available="1M"))

    @pytest.fixture
    def unfit(self) -> Memory:
        return Memory(MemoryOptions(available="8000 TiB"))


class Groups:
    """Control groups as the kernel shows them."""

    def __init__(self, tmp_path: Path) -> None:
        self.top = tmp_path / "cgroup"
        self.own = tmp_path / "own"
        self.top.mkdir()

    def are(self, line: str) -> None:
        self.own.write_text(line)

    def group(self, path: str, **files: str) -> None:
        directory = self.top / path
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name.replace("_", ".", 1)).write_text(f"{text}\n")

    def look(self, available: str = "1M") -> PreflightResult:
        options = MemoryOptions(available=available)
        memory = Memory(options, self.top, self.own)

        return asyncio.run(memory.check(PreflightContext()))


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def test_without_a_limit_it_is_the_memory_of_the_host(groups: Groups) -> None:
    groups.are("0::/a/b\n")
    groups.group("a/b", memory_max="max", memory_current=str(MIB))
    result = groups.look()

    assert result.problem == ""
    assert result.facts["of"] == "of the host"
    assert isinstance(result.facts["available"], int)
    assert 0 < result.facts["available"] <= psutil.virtual_memory().total


def test_the_least_of_all_limits_above_counts(groups: Groups) -> None:
    groups.are("0::/a/b\n")
    groups.group("a", memory_max=str(100 * MIB), memory_current=str(97 * MIB))
    groups.group("a/b", memory_max=str(50 * MIB), memory_current=str(20 * MIB))
    result = groups.look("4M")

    assert result.facts["available"] == 3 * MIB
    assert result.facts["of"] == f"of the control group {str(groups.top / 'a')!r}"
    assert result.problem.startswith(f"3.0 MiB of memory {result.facts['of']} are")
    assert "and 4.0 MiB are asked for" in result.problem


def test_what_was_only_read_from_files_counts_as_available(groups: Groups) -> None:
    groups.are("0::/a\n")
    stat = f"anon {MIB}\ninactive_file {5 * MIB}"
    groups.group(
        "a", memory_max=str(9 * MIB), memory_current=str(8 * MIB), memory_stat=stat
    )

    assert groups.look().facts["available"] == 6 * MIB


def test_limits_of_the_first_version_count(groups: Groups) -> None:
    groups.are("4:cpu,cpuacct:/x\n3:memory:/a\n")
    (groups.top / "memory" / "a").mkdir(parents=True)
    files = {
        "memory.limit_in_bytes": 9 * MIB,
        "memory.usage_in_bytes": 8 * MIB,
        "memory.stat": f"total_inactive_file {MIB}",
    }
    for name, text in files.items():
        (groups.top / "memory" / "a" / name).write_text(f"{text}\n")

    assert groups.look().facts["available"] == 2 * MIB


@pytest.mark.parametrize("path", ["/../../system.slice/docker", "/gone", "/"])
def test_in_a_container_the_group_at_the_top_counts(groups: Groups, path: str) -> None:
    groups.are(f"0::{path}\n")
    groups.group("", memory_max=str(9 * MIB), memory_current=str(8 * MIB))

    assert groups.look().facts["available"] == MIB


def test_too_little_names_who_holds_most(groups: Groups) -> None:
    result = groups.look("8000 TiB")
    largest = result.facts["largest"]

    assert isinstance(largest, list)
    assert len(largest) == min(3, len(psutil.pids()))
    assert all("(pid " in str(each) for each in largest)
    assert str(largest[0]) in result.problem


def test_this_process_is_measured_where_it_is() -> None:
    memory = Memory(MemoryOptions(available="1"))
    result = asyncio.run(memory.check(PreflightContext()))

    assert result.problem == ""
