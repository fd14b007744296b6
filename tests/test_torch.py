"""Torch workers run as they are: gloo over the launcher's store."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from agents import Launch


pytestmark = pytest.mark.interop

EXAMPLE = str(Path(__file__).parent.parent / "examples" / "torch_allreduce.py")

FAIL_THEN_SUM = """
import os, signal
import torch
import torch.distributed as dist

dist.init_process_group("gloo", init_method="env://")
total = torch.tensor([float(dist.get_rank())])
dist.all_reduce(total)
restarts = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
print(f"restarts {restarts}: SUM = {total.item():g} pid {os.getpid()}", flush=True)
if restarts < int(os.environ["KILLS"]):
    signal.pause()
dist.destroy_process_group()
"""


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed: make test-interop")


def test_the_example_sums_the_ranks_on_two_agents(
    launch: Launch, endpoint: str
) -> None:
    agents = [
        launch(
            *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
            *("--nproc-per-node", "2", EXAMPLE),
        )
        for _ in range(2)
    ]

    assert [agent.wait() for agent in agents] == [0, 0]
    for agent in agents:
        agent.wait_for(r"rank \d of 4: SUM = 6", count=2)


def test_it_restarts_after_kill_9_of_a_worker_every_time(
    launch: Launch, endpoint: str, script: Callable[[str], str]
) -> None:
    """Stock torchrun fails here: a restarted worker finds the old one's address."""
    kills = 3
    worker = script(FAIL_THEN_SUM)
    agents = [
        launch(
            *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
            *("--nproc-per-node", "2", "--max-restarts", str(kills), worker),
            KILLS=str(kills),
        )
        for _ in range(2)
    ]
    for kill in range(kills):
        for agent in agents:
            agent.wait_for(f"restarts {kill}: SUM = 6", count=2)
        victim = agents[kill % 2]
        pid = int(victim.wait_for(f"restarts {kill}: .* pid (\\d+)")[kill % 2][1])
        (worker_process,) = [p for p in victim.workers() if p.pid == pid]
        worker_process.send_signal(signal.SIGKILL)

    assert [agent.wait() for agent in agents] == [0, 0]
    for agent in agents:
        agent.wait_for(f"restarts {kills}: SUM = 6", count=2)
