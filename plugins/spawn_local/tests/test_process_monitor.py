"""The monitor `process`."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator

import psutil
import pytest

from elaunch.api import Finding, Severity
from elaunch.testing.groups import SLEEP, SOON
from elaunch_spawn_local.process_monitor import Look, ProcessMonitor, Watched


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


def told(watched: Watched, *statuses: str) -> list[list[tuple[Severity, str]]]:
    looks = [Look(status, 100) for status in statuses]
    return [[(f.severity, f.reason) for f in watched.findings(look)] for look in looks]


class TestWatched:
    def test_a_stop_is_told_once_and_its_end_too(self) -> None:
        stopped = (Severity.DEGRADED, "is stopped by a signal or a debugger")
        runs = (Severity.INFO, "no longer is stopped by a signal or a debugger")

        assert told(
            Watched(0, 0), "running", "stopped", "stopped", "sleeping", "stopped"
        ) == [[], [stopped], [], [runs], [stopped]]

    def test_uninterruptible_sleep_counts_when_seen_twice_in_a_row(self) -> None:
        stuck = (Severity.DEGRADED, "is stuck in an uninterruptible system call")

        assert told(
            Watched(0, 0),
            *("disk-sleep", "running", "disk-sleep", "disk-sleep", "disk-sleep"),
        ) == [[], [], [], [stuck], []]

    def test_too_much_memory_is_unhealthy(self) -> None:
        watched = Watched(3, max_rss=100)

        assert watched.findings(Look("running", 100)) == []
        [big] = watched.findings(Look("running", 101))
        assert big.local_rank == 3
        assert big.severity is Severity.UNHEALTHY
        assert big.reason == "uses 101 bytes of memory, over max_rss 100"
        assert big.evidence == {"status": "running", "rss": "101"}
        assert watched.findings(Look("running", 200)) == []
        [small] = watched.findings(Look("running", 50))
        assert small.severity is Severity.INFO


@pytest.mark.asyncio
async def test_a_stopped_child_is_found(child: "subprocess.Popen[bytes]") -> None:
    freeze(child)
    monitor = ProcessMonitor(interval=0.01, max_rss=0)
    async with contextlib.aclosing(monitor.watch({7: child.pid})) as findings:
        first = await following(findings)
        child.send_signal(signal.SIGCONT)
        second = await following(findings)

    assert (first.local_rank, first.severity) == (7, Severity.DEGRADED)
    assert first.evidence["status"] == psutil.STATUS_STOPPED
    assert second.severity is Severity.INFO


@pytest.mark.asyncio
async def test_a_big_child_is_found(child: "subprocess.Popen[bytes]") -> None:
    monitor = ProcessMonitor(interval=0.01, max_rss=1)
    async with contextlib.aclosing(monitor.watch({0: child.pid})) as findings:
        assert (await following(findings)).severity is Severity.UNHEALTHY


@pytest.mark.asyncio
async def test_a_child_that_ends_is_no_finding(
    child: "subprocess.Popen[bytes]",
) -> None:
    monitor = ProcessMonitor(interval=0.01, max_rss=0)
    async with contextlib.aclosing(monitor.watch({0: child.pid})) as findings:
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
    async with contextlib.aclosing(monitor.watch(pids)) as findings:
        assert (await following(findings)).local_rank == 1
