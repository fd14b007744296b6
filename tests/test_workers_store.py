"""What an agent hosts for the workers of all nodes lasts as long as any of them."""

import signal
import socket
from collections.abc import Callable

import psutil
import pytest
from agents import Agent, Launch
from places import Script


WORKER = """
import os, signal, sys
from elaunch_rdzv_c10d import Store

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
rank = int(os.environ["RANK"])
with Store.from_env() as store:
    store.set(f"rank {rank}", "here")
    store.wait([f"rank {other}" for other in range(int(os.environ["WORLD_SIZE"]))])
    print("rank", rank, "runs as", os.getpid(), flush=True)
    if rank > 0:
        signal.sigwait({signal.SIGUSR1})
        print("rank", rank, "finds rank 0", store.get("rank 0").decode(), flush=True)
    elif "BRIEF" not in os.environ:
        sys.exit(signal.sigwait({signal.SIGTERM}))
"""
"""Rank 0 ends when it is told to stop, or at once. The others take their time, whatever
they are told, and use the store once more before they end."""

HOST = socket.gethostname()

Start = Callable[..., Agent]


@pytest.fixture
def start(launch: Launch, endpoint: str, script: Script) -> Start:
    """Start a node with so many workers."""
    worker = script(WORKER)

    def start(rank: int, workers: int = 1, **variables: str) -> Agent:
        return launch(
            *("-v", "--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
            *("--node-rank", str(rank), "--nproc-per-node", str(workers), worker),
            **variables,
        )

    return start


def worker_of(agent: Agent, rank: int) -> psutil.Process:
    """Wait until a worker runs; return its process."""
    pid = int(agent.wait_for(rf"rank {rank} runs as (\d+)")[0][1])
    (found,) = (process for process in agent.workers() if process.pid == pid)
    return found


def assert_served(agent: Agent, worker: psutil.Process, host: Agent) -> None:
    """The host is still there, and so is the store."""
    assert host.process.poll() is None
    worker.send_signal(signal.SIGUSR1)
    agent.wait_for("rank 1 finds rank 0 here")


def test_a_host_that_is_told_to_stop_waits_for_the_others(start: Start) -> None:
    host, other = start(0), start(1)
    worker = worker_of(other, 1)
    host.send(signal.SIGTERM)
    host.wait_for(f"waiting: workers of node '{HOST}' still run")
    other.wait_for("left: SIGTERM; stopping the workers")

    assert_served(other, worker, host)
    assert host.wait() == 75


def test_a_host_whose_workers_are_done_waits_for_the_others(start: Start) -> None:
    host, other = start(0, BRIEF="1"), start(1)
    worker = worker_of(other, 1)
    host.wait_for("group.succeeded")

    assert_served(other, worker, host)
    assert [host.wait(), other.wait()] == [0, 0]


def test_a_host_that_is_done_and_told_to_stop_waits_for_the_others(
    start: Start,
) -> None:
    host, other = start(0, BRIEF="1"), start(1)
    worker = worker_of(other, 1)
    host.wait_for("group.succeeded")
    host.send(signal.SIGTERM)
    host.wait_for(f"waiting: workers of node '{HOST}' still run")

    assert_served(other, worker, host)
    assert host.wait() == 75


def test_a_host_of_a_job_that_failed_waits_for_the_others(start: Start) -> None:
    host, other = start(0), start(1, workers=2)
    worker = worker_of(other, 1)
    worker_of(other, 2).send_signal(signal.SIGKILL)
    host.wait_for("group.stopped")

    assert_served(other, worker, host)
    assert [host.wait(), other.wait()] == [128 + signal.SIGKILL] * 2


def test_a_second_signal_ends_the_wait(start: Start) -> None:
    host, other = start(0), start(1)
    worker_of(other, 1)
    host.send(signal.SIGTERM)
    host.wait_for(f"waiting: workers of node '{HOST}' still run")
    host.send(signal.SIGINT)

    assert host.wait() == 75
