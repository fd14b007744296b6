"""Warm workers with torch and numpy: imported once, and yet each as if by itself."""

from typing import Any

import pytest
from agents import Launch, Script

from elaunch import LaunchConfig, elastic_launch


pytestmark = pytest.mark.interop

JOB = """
import os, sys
loaded = "torch" in sys.modules and "numpy" in sys.modules
import numpy, torch
import torch.distributed as dist

matrix = torch.rand(300, 300)
product = (matrix @ matrix).sum().item()
dist.init_process_group("gloo")
total = torch.tensor([float(dist.get_rank())])
dist.all_reduce(total)
dist.barrier()
print("loaded", loaded, "sum", total.item(), "threads", torch.get_num_threads(),
      "numpy", numpy.random.random(), "first", matrix[0, 0].item(), flush=True)
dist.destroy_process_group()
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "1":
    os._exit(3)
"""

WARM = ("--start-method", "warm", "--preload", "torch,numpy")


@pytest.fixture(autouse=True)
def _libraries() -> None:
    for name in ("torch", "numpy"):
        pytest.importorskip(name, reason=f"no {name} is installed: make test-interop")


def test_workers_that_are_forked_after_the_import_form_a_group_again_and_again(
    launch: Launch, script: Script
) -> None:
    flags = ("--nproc-per-node", "2", "--max-restarts", "1", "--threads", "2")
    agent = launch(*flags, *WARM, script(JOB))

    assert agent.wait() == 0, agent.output
    found = agent.wait_for(
        r"loaded True sum 1.0 threads 2 numpy (\S+) first (\S+)", count=4
    )
    # Both have drawn a seed in the server; workers are to have their own.
    for library in (1, 2):
        assert len({match[library] for match in found}) == 4


def tensor_and_much() -> tuple[Any, bytes]:
    import torch

    return torch.arange(6).reshape(2, 3), b"x" * 100_000_000


@pytest.mark.parametrize("method", ["spawn", "fork", "warm"])
def test_functions_hand_back_tensors_and_much_data(method: str) -> None:
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, start_method=method
    )

    values = elastic_launch(config, tensor_and_much)()

    assert {
        rank: (tensor.tolist(), len(much)) for rank, (tensor, much) in values.items()
    } == {rank: ([[0, 1, 2], [3, 4, 5]], 100_000_000) for rank in range(2)}
