"""Stock torchrun agents meet in our store."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from elaunch_rdzv_c10d.thread_host import ThreadedServer


pytestmark = [pytest.mark.interop, pytest.mark.usefixtures("dist")]

WORKER = """
import torch
import torch.distributed as dist

dist.init_process_group("gloo", init_method="env://")
total = torch.tensor([float(dist.get_rank() + 1)])
dist.all_reduce(total)
print(f"rank {dist.get_rank()}: SUM = {total.item():g}", flush=True)
dist.destroy_process_group()
"""


@pytest.fixture
def endpoint() -> Iterator[str]:
    """A store as for a rendezvous, which serves agents of ours too."""
    server = ThreadedServer()
    host, port = asyncio.run(server.start("127.0.0.1", 0))
    yield f"{host}:{port}"
    asyncio.run(server.stop())


def test_two_agents_run_a_job(endpoint: str, tmp_path: Path) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    agents = [
        subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-m", "torch.distributed.run"),
                *("--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint),
                *("--rdzv-conf", "is_host=false", "--rdzv-id", "job"),
                *("--nnodes", "2", "--nproc-per-node", "1"),
                *("--local-addr", "127.0.0.1", str(script)),
            ],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        said = [agent.communicate(timeout=200)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.kill()
            agent.wait()

    assert [agent.returncode for agent in agents] == [0, 0]
    assert sorted("".join(said).splitlines()) == [
        "rank 0: SUM = 3",
        "rank 1: SUM = 3",
    ]
