"""Telling a kill for lack of memory from any other."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cgroups import memory_limit

from elaunch_spawn_local import oom
from elaunch_spawn_local.oom import MemoryGroup, OutOfMemory, memory_group, readable


LIMIT = 64 * 1024 * 1024
GREEDY = "input()\nheld = []\nwhile True: held.append(bytearray(1 << 20))\n"


@pytest.fixture
def waiting() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that takes all memory once it is told to."""
    with subprocess.Popen(
        [sys.executable, "-c", GREEDY], stdin=subprocess.PIPE
    ) as process:
        yield process
        process.kill()


def test_a_kill_by_the_kernel_is_told_with_the_limit(
    waiting: "subprocess.Popen[bytes]",
) -> None:
    with memory_limit("oom", LIMIT) as directory:
        (directory / "cgroup.procs").write_text(str(waiting.pid))
        group = memory_group(waiting.pid)
        assert group is not None
        assert group.directory == directory
        watch = OutOfMemory(group)
        waiting.communicate(b"\n")

        assert waiting.returncode == -signal.SIGKILL
        limit = f"{LIMIT} bytes (64.0 MiB) of {str(directory)!r}"
        assert watch.killed() == f"out of memory; the limit is {limit}"
        assert watch.killed() == "", "one kill explains one end"


def test_a_kill_of_another_process_is_told_as_such(
    waiting: "subprocess.Popen[bytes]",
) -> None:
    with memory_limit("beside", LIMIT) as directory:
        (directory / "cgroup.procs").write_text(str(waiting.pid))
        watch = OutOfMemory(memory_group(waiting.pid))
        waiting.communicate(b"\n")

        assert watch.beside().startswith(
            "the kernel killed a process beside it: out of memory; the limit is"
        )
        assert watch.beside() == ""


def test_a_kill_by_anybody_else_has_nothing_to_do_with_memory(
    waiting: "subprocess.Popen[bytes]",
) -> None:
    with memory_limit("kill", LIMIT) as directory:
        (directory / "cgroup.procs").write_text(str(waiting.pid))
        watch = OutOfMemory(memory_group(waiting.pid))
        waiting.kill()
        waiting.wait()

        assert memory_group(waiting.pid) is None
        assert watch.beside() == ""


class Kernel:
    """Files as the kernel shows them to a process in a control group."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "proc" / "self").mkdir(parents=True)
        self.write("proc/vmstat", "nr_free_pages 7\noom_kill 3\n")

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def mount(self, cgroup: str, mounts: str) -> None:
        self.write("proc/self/cgroup", cgroup)
        self.write("proc/self/mountinfo", mounts.replace("/sys", f"{self.root}/sys"))


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    monkeypatch.setattr(oom, "_PROC", tmp_path / "proc")
    return Kernel(tmp_path)


class TestVersion2:
    MOUNT = "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"

    def test_the_smallest_limit_above_counts(self, kernel: Kernel) -> None:
        kernel.mount("0::/job.slice/pod/main\n", self.MOUNT)
        slice_ = "sys/fs/cgroup/job.slice"
        kernel.write(f"{slice_}/memory.max", "max\n")
        kernel.write(f"{slice_}/pod/memory.max", "2147483648\n")
        kernel.write(f"{slice_}/pod/main/memory.max", "max\n")
        kernel.write(f"{slice_}/pod/main/memory.events", "oom 2\noom_kill 1\n")
        watch = OutOfMemory.here()

        assert watch.killed() == ""

        kernel.write(f"{slice_}/pod/main/memory.events", "oom 3\noom_kill 2\n")

        assert watch.killed() == (
            "out of memory; the limit is 2147483648 bytes (2.0 GiB) of "
            f"{str(kernel.root / slice_ / 'pod')!r}"
        )

    def test_in_a_namespace_the_group_is_the_top(self, kernel: Kernel) -> None:
        kernel.mount("0::/\n", self.MOUNT)
        kernel.write("sys/fs/cgroup/memory.events", "oom_kill 0\n")

        top = kernel.root / "sys/fs/cgroup"
        assert memory_group() == MemoryGroup(top, top, unified=True)


class TestVersion1:
    def test_only_part_of_the_hierarchy_may_be_mounted(self, kernel: Kernel) -> None:
        kernel.mount(
            "5:memory,hugetlb:/docker/abc\n0::/\n",
            "31 23 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            "35 31 0:32 /docker/abc /sys/fs/cgroup/a\\040b rw - "
            "cgroup cgroup rw,hugetlb,memory\n",
        )
        kernel.write(
            "sys/fs/cgroup/a b/memory.oom_control", "under_oom 0\noom_kill 0\n"
        )

        top = kernel.root / "sys/fs/cgroup/a b"
        assert memory_group() == MemoryGroup(top, top, unified=False)

    def test_no_limit_is_a_very_large_number(self, kernel: Kernel) -> None:
        kernel.write("memory.limit_in_bytes", "9223372036854771712\n")

        assert MemoryGroup(kernel.root, kernel.root, unified=False).limit() is None


def test_the_host_itself_may_have_no_more(kernel: Kernel) -> None:
    watch = OutOfMemory.here()
    kernel.write("proc/vmstat", "oom_kill 4\n")

    assert watch.beside() == "", "whom it killed is not known"
    assert watch.killed() == "out of memory; the host has no more"
    assert watch.killed() == ""


@pytest.mark.parametrize("text", ["", "rubbish", "1:2", ":::", "a b c - d\n- cgroup x"])
def test_a_kernel_that_shows_nothing_tells_nothing(kernel: Kernel, text: str) -> None:
    kernel.mount(text, text)
    kernel.write("proc/vmstat", text)

    assert memory_group() is None
    assert OutOfMemory.here().killed() == ""


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1.5 KiB"),
        (64 << 20, "64.0 MiB"),
        (3 << 40, "3.0 TiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes_are_readable(size: int, text: str) -> None:
    assert readable(size) == text
