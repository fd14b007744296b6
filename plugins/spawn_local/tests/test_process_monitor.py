"""The monitor `process`."""

import asyncio
import contextlib
import os
import platform
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator

import attrs
import psutil
import pytest

from elaunch.api import Finding, Monitor, Severity, WatchedGroup
from elaunch.testing import MonitorContract
from elaunch.testing.groups import SLEEP, SOON
from elaunch_spawn_local import process_monitor
from elaunch_spawn_local.process_monitor import Look, ProcessMonitor, Watched


UNHEALTHY = Severity.UNHEALTHY

EXIT_OF_THREAD = {"x86_64": 60, "aarch64": 93}
"""Number of the system call by which one thread ends, by machine."""


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-c", f"print(flush=True)\n{SLEEP}"], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def freeze(child: "subprocess.Popen[bytes]") -> None:
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)


def pid_of_nobody() -> int:
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    return gone.pid


async def following(findings: AsyncGenerator[Finding, None]) -> Finding:
    async with asyncio.timeout(SOON):
        return await anext(findings)


def watched(max_rss: int = 0, max_zombies: int = 100) -> Watched:
    return Watched(3, max_rss, max_zombies)


def told(one: Watched, *statuses: str) -> list[list[tuple[Severity, str]]]:
    looks = [Look(pid=7, status=status) for status in statuses]
    return [[(f.severity, f.reason) for f in one.findings(look)] for look in looks]


class TestWatched:
    def test_a_stop_is_told_once_and_its_end_too(self) -> None:
        what = "is stopped by a signal or a debugger"
        stopped = (Severity.DEGRADED, f"process 7 {what}")
        runs = (Severity.INFO, f"process 7 no longer {what}")

        assert told(
            watched(), "running", "stopped", "stopped", "sleeping", "stopped"
        ) == [[], [stopped], [], [runs], [stopped]]

    @pytest.mark.parametrize(
        ("status", "what"),
        [
            ("disk-sleep", "is stuck in an uninterruptible system call"),
            (
                "zombie",
                "has lost its main thread, and other threads keep it from ending",
            ),
        ],
    )
    def test_what_is_ordinary_for_a_moment_counts_when_seen_twice_in_a_row(
        self, status: str, what: str
    ) -> None:
        stuck = (Severity.DEGRADED, f"process 7 {what}")

        assert told(watched(), status, "running", status, status, status) == [
            [],
            [],
            [],
            [stuck],
            [],
        ]

    def test_too_long_in_the_kernel_is_unhealthy(self) -> None:
        one = Watched(3, 0, 100, max_stuck=10.0)
        looks = [
            Look(pid=7, status=status, time=time)
            for status, time in (
                ("disk-sleep", 0.0),
                ("running", 9.0),
                ("disk-sleep", 10.0),
                ("disk-sleep", 19.9),
                ("disk-sleep", 20.5),
                ("disk-sleep", 30.0),
                ("running", 31.0),
            )
        ]
        found = [one.findings(look) for look in looks]
        severe = [[f.reason for f in each if f.severity is UNHEALTHY] for each in found]

        assert severe[:4] == [[], [], [], []]
        (reason,) = severe[4]
        assert reason == (
            "process 7 is stuck in an uninterruptible system call for 10.5 s, "
            "over max_stuck 10 s"
        )
        assert severe[5:] == [[], []]
        assert found[6][-1].reason == "process 7 is no longer over max_stuck"

    def test_too_much_memory_is_unhealthy_and_its_end_is_told(self) -> None:
        one = watched(max_rss=1 << 20)
        small = Look(pid=7, status="running", memory=1 << 20)
        big = Look(pid=7, status="running", memory=3 << 20)

        assert one.findings(small) == []
        [finding] = one.findings(big)
        assert (finding.local_rank, finding.severity) == (3, Severity.UNHEALTHY)
        assert finding.reason == (
            "process 7 uses 3.0 MiB of memory, over max_rss 1.0 MiB"
        )
        assert finding.evidence == {
            "pid": "7",
            "status": "running",
            "memory": "3.0 MiB",
            "processes": "1",
            "zombies": "0",
        }
        assert one.findings(attrs.evolve(big, memory=4 << 20)) == []
        [over] = one.findings(small)
        assert over.severity is Severity.INFO
        assert over.reason == "process 7 is no longer over max_rss 1.0 MiB"

    def test_processes_below_it_are_counted(self) -> None:
        look = Look(pid=7, status="running", memory=2048, processes=3)
        [finding] = watched(max_rss=1024).findings(look)

        assert finding.reason.startswith("process 7 and 2 below it use 2.0 KiB")

    def test_many_zombies_are_told_once_and_their_end_too(self) -> None:
        one = watched(max_zombies=2)
        few = Look(pid=7, status="running", zombies=2)

        assert one.findings(few) == []
        [finding] = one.findings(attrs.evolve(few, zombies=3))
        assert (finding.severity, finding.reason) == (
            Severity.DEGRADED,
            "3 processes below process 7 have ended and nobody waits for them",
        )
        assert one.findings(attrs.evolve(few, zombies=4)) == []
        [over] = one.findings(few)
        assert over.severity is Severity.INFO

    def test_two_conditions_do_not_hide_each_other(self) -> None:
        one = watched(max_rss=1024)
        look = Look(pid=7, status="stopped", memory=2048)

        assert len(one.findings(look)) == 2
        [over] = one.findings(attrs.evolve(look, status="running"))
        assert over.reason.startswith("process 7 no longer is stopped")


@pytest.mark.asyncio
async def test_a_stopped_child_is_found(child: "subprocess.Popen[bytes]") -> None:
    freeze(child)
    monitor = ProcessMonitor(interval=0.01, max_rss=0)
    async with contextlib.aclosing(
        monitor.watch(WatchedGroup(pids={7: child.pid}))
    ) as findings:
        first = await following(findings)
        child.send_signal(signal.SIGCONT)
        second = await following(findings)

    assert (first.local_rank, first.severity) == (7, Severity.DEGRADED)
    assert first.evidence["status"] == psutil.STATUS_STOPPED
    assert second.severity is Severity.INFO


@pytest.mark.asyncio
async def test_a_big_child_is_found(child: "subprocess.Popen[bytes]") -> None:
    monitor = ProcessMonitor(interval=0.01, max_rss=1)
    async with contextlib.aclosing(
        monitor.watch(WatchedGroup(pids={0: child.pid}))
    ) as findings:
        assert (await following(findings)).severity is Severity.UNHEALTHY


@contextlib.contextmanager
def running(code: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run Python code until it prints a line."""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.asyncio
async def test_memory_of_the_processes_below_counts_too() -> None:
    hold = f"held = bytearray(64 << 20)\nprint(flush=True)\n{SLEEP}"
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {hold!r}])\n"
    monitor = ProcessMonitor(interval=0.01, max_rss=64 << 20)
    with running(code) as process:
        alone = psutil.Process(process.pid).memory_info().rss
        async with contextlib.aclosing(
            monitor.watch(WatchedGroup(pids={0: process.pid}))
        ) as findings:
            finding = await following(findings)

    assert alone < 64 << 20
    assert finding.severity is Severity.UNHEALTHY
    assert f"process {process.pid} and 1 below it use" in finding.reason


@pytest.mark.asyncio
async def test_memory_that_a_fork_shares_counts_once() -> None:
    code = (
        "import os\nheld = b'x' * (64 << 20)\n"
        "for _ in range(4):\n    if not os.fork(): break\n"
        f"else: print(flush=True)\n{SLEEP}"
    )
    with running(code) as process:
        look = process_monitor._look(psutil.Process(process.pid), limit=1)

    assert look.processes == 5
    assert 64 << 20 < look.memory < 2 * (64 << 20)


@pytest.mark.asyncio
async def test_children_that_are_not_waited_for_are_found_and_their_end_too() -> None:
    code = (
        "import os, signal\n"
        "pids = [os.fork() or os._exit(0) for _ in range(3)]\n"
        "for pid in pids: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)\n"
        "signal.signal(signal.SIGUSR1, lambda *_: [os.waitpid(p, 0) for p in pids])\n"
        f"print(flush=True)\n{SLEEP}"
    )
    monitor = ProcessMonitor(interval=0.01, max_rss=0, max_zombies=2)
    with running(code) as process:
        async with contextlib.aclosing(
            monitor.watch(WatchedGroup(pids={0: process.pid}))
        ) as findings:
            first = await following(findings)
            process.send_signal(signal.SIGUSR1)
            second = await following(findings)

    assert first.evidence["zombies"] == "3"
    assert (first.severity, second.severity) == (Severity.DEGRADED, Severity.INFO)


@pytest.mark.skipif(
    platform.machine() not in EXIT_OF_THREAD, reason="its system calls are not known"
)
@pytest.mark.asyncio
async def test_a_worker_without_its_main_thread_is_found() -> None:
    code = (
        "import ctypes, threading, time\n"
        "def stay():\n"
        "    main.join(0)\n"
        "    print(flush=True)\n"
        "    threading.Event().wait()\n"
        "main = threading.main_thread()\n"
        "threading.Thread(target=stay).start()\n"
        "ctypes.PyDLL(None).PyEval_SaveThread()\n"
        f"ctypes.CDLL(None).syscall({EXIT_OF_THREAD[platform.machine()]}, 0)\n"
    )
    monitor = ProcessMonitor(interval=0.01, max_rss=0)
    with running(code) as process:
        async with contextlib.aclosing(
            monitor.watch(WatchedGroup(pids={0: process.pid}))
        ) as findings:
            finding = await following(findings)

    assert finding.severity is Severity.DEGRADED
    assert "has lost its main thread" in finding.reason


@pytest.mark.asyncio
async def test_a_child_that_ends_is_no_finding(
    child: "subprocess.Popen[bytes]",
) -> None:
    monitor = ProcessMonitor(interval=0.01, max_rss=0)
    async with contextlib.aclosing(
        monitor.watch(WatchedGroup(pids={0: child.pid}))
    ) as findings:
        finding = asyncio.ensure_future(anext(findings))
        await asyncio.sleep(0)
        child.kill()
        child.wait()
        done, _ = await asyncio.wait([finding], timeout=0.1)

        assert not done
        finding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await finding


@pytest.mark.asyncio
async def test_a_child_that_is_gone_before_the_first_look_is_no_error(
    child: "subprocess.Popen[bytes]",
) -> None:
    gone = pid_of_nobody()
    freeze(child)
    monitor = ProcessMonitor(interval=0.01, max_rss=0)
    pids = {0: gone, 1: child.pid}
    watching = monitor.watch(WatchedGroup(pids=pids))
    async with contextlib.aclosing(watching) as findings:
        assert (await following(findings)).local_rank == 1


class TestContract(MonitorContract):
    @pytest.fixture
    def monitor(self) -> Monitor:
        return ProcessMonitor(60.0, 0)


@pytest.mark.parametrize(
    ("interval", "max_stuck", "pause"),
    [(5.0, 0.0, 5.0), (5.0, 4.0, 2.0), (1.0, 9.0, 1.0)],
)
def test_it_looks_twice_within_the_time_that_is_allowed(
    interval: float, max_stuck: float, pause: float
) -> None:
    assert ProcessMonitor(interval, 0, max_stuck=max_stuck)._pause == pause
