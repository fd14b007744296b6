"""DDP training with checkpoints: the same script, the same loss, whoever is killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from agents import Launch
from places import Script


pytestmark = pytest.mark.interop

EXAMPLE = Path(__file__).parents[2] / "examples" / "torch_ddp_train.py"

STEPS = 20

KILLED = """
import os, runpy, signal, sys
import torch

example, *plan = os.environ["EXAMPLE"], *os.environ["PLAN"].split()
attempt, learn = int(os.environ["ELAUNCH_RESTART_COUNT"]), torch.optim.Adam.step
mine = [step for step, rank in (kill.split("@") for kill in plan[attempt:attempt + 1])
        if rank == os.environ["RANK"]]

def step(self, *args):
    learn(self, *args)
    if mine and self.state_dict()["state"][0]["step"] == int(mine[0]):
        os.kill(os.getpid(), signal.SIGKILL)

torch.optim.Adam.step = step
runpy.run_path(example, run_name="__main__")
"""
"""Runs the example as it is; in each attempt one worker is killed at a step."""

LOSS = rf"loss after {STEPS} steps: (\S+)"


@pytest.fixture(autouse=True)
def _torch() -> None:
    pytest.importorskip("torch", reason="torch is not installed: make test-interop")


@pytest.fixture(scope="module")
def torchruns_loss(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What torchrun's workers come to, without any failure."""
    pytest.importorskip("torch", reason="torch is not installed: make test-interop")
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"),
            *(str(EXAMPLE), "--checkpoint", "theirs.pt", "--steps", str(STEPS)),
        ],
        cwd=tmp_path_factory.mktemp("torchrun"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    (loss,) = [line for line in ended.stdout.splitlines() if "loss after" in line]
    return loss.split()[-1]


def test_training_comes_to_the_same_loss_as_under_torchrun(
    launch: Launch, torchruns_loss: str
) -> None:
    flags = ("--nproc-per-node", "2", str(EXAMPLE), "--steps", str(STEPS))
    agent = launch(*flags, "--checkpoint", "ours.pt")

    assert agent.wait() == 0, agent.output
    assert agent.wait_for(LOSS)[0][1] == torchruns_loss


def test_training_comes_to_it_also_when_workers_are_killed(
    launch: Launch, endpoint: str, script: Script, torchruns_loss: str
) -> None:
    """Once the one that writes the checkpoints, once the other, on another node."""
    job = [
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
        *(
            "--max-restarts",
            "2",
            "--start-method",
            "warm",
            "--preload",
            "torch._dynamo",
        ),
        *(script(KILLED),),
        *("--checkpoint", "killed.pt", "--steps", str(STEPS)),
    ]
    plan = {"EXAMPLE": str(EXAMPLE), "PLAN": "7@1 13@0"}
    agents = [launch(*job, **plan) for _ in range(2)]
    for restarts in range(3):
        agents[0].wait_for(rf"rank \d: step \d+, restart {restarts}")

    assert [agent.wait() for agent in agents] == [0, 0], agents[0].output
    said = "\n".join(agent.output for agent in agents)
    assert "rank 1: step 6, restart 0" in said
    assert "rank 1: step 7, restart 0" not in said
    assert "rank 0: step 7, restart 1" in said
    assert "rank 0: step 13, restart 1" not in said
    assert "rank 0: step 13, restart 2" in said
    assert "rank 0: step 12, restart 2" not in said
    assert f"loss after {STEPS} steps: {torchruns_loss}" in said
