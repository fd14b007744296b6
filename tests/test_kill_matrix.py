"""However a job ends, and whatever its workers are, no process of it is left."""

import asyncio
import os
import select
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from agents import DEADLINE, is_alive

from elaunch.testing.groups import SLEEP
from elaunch.testing.lifeline import HOLD, Lifeline


GRACE = 1.0
"""Seconds that workers get between the signal and SIGKILL."""

LONG = 600.0
"""A grace that no test lives to see: what ends sooner has not waited for it."""

IGNORE = """
for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
"""

CHILD = f"""
subprocess.Popen([sys.executable, "-c", {HOLD + SLEEP!r}])
"""

DAEMON = f"""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:  # no parent, no session, no variable tells whose it is
        code = "import signal\\n" + {IGNORE!r} + {HOLD + SLEEP!r}
        lifeline = dict(LIFELINE=os.environ["LIFELINE"])
        os.execve(sys.executable, [sys.executable, "-c", code], lifeline)
    os._exit(0)
os.wait()
"""

STOPPED = """
if os.environ["RANK"] == "0":
    os.kill(os.getpid(), signal.SIGSTOP)
"""

KINDS = {
    "a child": (CHILD, HOLD, 2),
    "a double-forked daemon": (DAEMON, HOLD, 2),
    "ignores signals": (IGNORE, HOLD, 1),
    "is stopped": ("", HOLD + STOPPED, 1),
}
"""What each worker does first and when it is up, and how many processes it is."""

WORKER = """
import os, signal, subprocess, sys
{first}
{up}
if os.environ["RANK"] == "1":
    with open(os.environ["ORDERS"]) as orders:
        if orders.read() == "crash":
            os._exit(3)
{sleep}
"""

Killing = Callable[["Job"], Awaitable[None]]


class Job:
    """A running job: its agent, its lifeline and all its processes."""

    def __init__(
        self, agent: asyncio.subprocess.Process, lifeline: Lifeline, orders: Path
    ) -> None:
        self.agent = agent
        self.lifeline = lifeline
        self.orders = orders
        self.pids = [agent.pid]

    async def is_up(self, processes: int) -> None:
        await self.lifeline.held_by(processes, DEADLINE)
        found = psutil.Process(self.agent.pid).children(recursive=True)
        self.pids += [process.pid for process in found]

    async def crash(self) -> None:
        """Let rank 1 end with exit code 3."""
        await asyncio.to_thread(self.orders.write_text, "crash")

    async def kill_worker(self) -> None:
        [server] = psutil.Process(self.agent.pid).children()
        ranks = {p.environ().get("RANK"): p for p in server.children()}
        ranks["1"].kill()

    async def send(self, signum: int) -> None:
        self.agent.send_signal(signum)

    async def interrupt_twice(self) -> None:
        """Press Ctrl-C again as soon as the first was heard."""
        assert self.agent.stderr
        self.agent.send_signal(signal.SIGINT)
        while b"SIGINT; stopping" not in await self.agent.stderr.readline():
            continue
        self.agent.send_signal(signal.SIGINT)


KILLINGS: dict[str, tuple[Killing, float]] = {
    "worker crash": (Job.crash, GRACE),
    "worker kill": (Job.kill_worker, GRACE),
    "agent SIGTERM": (lambda job: job.send(signal.SIGTERM), GRACE),
    "agent SIGINT": (lambda job: job.send(signal.SIGINT), GRACE),
    "agent SIGKILL": (lambda job: job.send(signal.SIGKILL), GRACE),
    "double Ctrl-C": (Job.interrupt_twice, LONG),
}


@asynccontextmanager
async def running(folder: Path, kind: str, grace: float) -> AsyncIterator[Job]:
    await asyncio.to_thread(folder.mkdir)
    first, up, processes = KINDS[kind]
    script, orders = folder / "worker.py", folder / "orders"
    script.write_text(WORKER.format(first=first, up=up, sleep=SLEEP))
    os.mkfifo(orders)
    flags = ("--nproc-per-node", "2", "--shutdown-timeout", str(grace))
    async with Lifeline(folder / "lifeline") as lifeline:
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "elaunch", "run", *flags, str(script)),
            env={**os.environ, **lifeline.environment, "ORDERS": str(orders)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        job = Job(agent, lifeline, orders)
        try:
            await job.is_up(2 * processes)
            yield job
        finally:
            for pid in filter(is_alive, job.pids):
                os.kill(pid, signal.SIGKILL)
            await agent.communicate()


async def survivors(folder: Path, kind: str, killing: Killing, grace: float) -> bool:
    """Tell whether a process of a job outlives its agent, or the agent its workers."""
    async with running(folder, kind, grace) as job:
        ends = [os.pidfd_open(pid) for pid in job.pids]
        await killing(job)
        # By its descriptor a zombie that nobody reaps has ended, too.
        ended = [await asyncio.to_thread(has_ended, end) for end in ends]
        return not all(ended) or not await job.lifeline.released()


def has_ended(process: int) -> bool:
    """Wait for the end of a process."""
    found = select.select([process], [], [], DEADLINE)[0]
    os.close(process)
    return bool(found)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
@pytest.mark.parametrize("killing", KILLINGS)
@pytest.mark.asyncio
async def test_no_process_of_a_job_is_left(tmp_path: Path, killing: str) -> None:
    async with running(tmp_path / "bystander", "a child", GRACE) as bystander:
        left = await asyncio.gather(
            *(
                survivors(tmp_path / str(number), kind, *KILLINGS[killing])
                for number, kind in enumerate(KINDS)
            )
        )

        assert dict(zip(KINDS, left, strict=True)) == dict.fromkeys(KINDS, False)
        # Another job on this host is untouched.
        assert all(map(is_alive, bystander.pids))
