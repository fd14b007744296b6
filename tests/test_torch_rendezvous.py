"""torch's own rendezvous handlers, as out-of-tree plugins would build them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from agents import Agent, Launch


pytestmark = pytest.mark.interop

PLUGIN = """
def entry():
    from torch.distributed.elastic.rendezvous.c10d_rendezvous_backend import (
        create_backend,
    )
    from torch.distributed.elastic.rendezvous.dynamic_rendezvous import create_handler

    def create(params):
        backend, store = create_backend(params)
        return Named(create_handler(store, backend, params))

    return create


class Named:
    def __init__(self, handler):
        self.handler = handler

    def __getattr__(self, name):
        return getattr(self.handler, name)

    def get_backend(self):
        return "torchs"
"""

WORKER = """
import datetime, os, signal, sys
import torch.distributed as dist
from torch import ones
names = ("RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "ELAUNCH_GENERATION")
print("facts", *(os.environ[name] for name in names), flush=True)
dist.init_process_group("gloo", timeout=datetime.timedelta(seconds=30))
total = ones(1)
dist.all_reduce(total)
if MODE == "fail" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if os.environ["RANK"] == "1":
        sys.exit(3)
    signal.pause()
if MODE == "grow" and os.environ["WORLD_SIZE"] == "1":
    signal.pause()
print("total", int(total), flush=True)
dist.destroy_process_group()
"""

WARM = ("--start-method", "warm", "--preload", "torch.distributed")
"""Where workers come one after the other: each loads torch, for seconds else."""

Start = Callable[..., Agent]


@pytest.fixture
def start(launch: Launch, tmp_path: Path, endpoint: str) -> Start:
    """Start agents that meet by torch's rendezvous."""
    pytest.importorskip("torch")
    site = tmp_path / "site"
    facts = site / "torchs-1.0.dist-info"
    facts.mkdir(parents=True)
    (site / "torchs.py").write_text(PLUGIN)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torchs\nVersion: 1\n")
    (facts / "entry_points.txt").write_text(
        "[torchrun.handlers]\ntorchs = torchs:entry\n"
    )

    def start(mode: str, nnodes: str, *flags: str) -> Agent:
        script = tmp_path / "worker.py"
        script.write_text(WORKER.replace("MODE", repr(mode)))
        return launch(
            *("--rdzv-backend", "torchs", "--rdzv-endpoint", endpoint),
            *("--nnodes", nnodes, "--rdzv-id", "job", "--local-addr", "127.0.0.1"),
            *("--rdzv-conf", "last_call_timeout=1", *flags, str(script)),
            PYTHONPATH=str(site),
            # With it torch's handler itself waits in vain where a job grows.
            TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1",
        )

    return start


def test_agents_meet_by_torchs_rendezvous(start: Start) -> None:
    agents = [start("plain", "2") for _ in range(2)]
    for agent in agents:
        agent.wait_for("total 2")

    assert [agent.wait() for agent in agents] == [0, 0], agents[0].output
    assert all("total 2" in agent.output for agent in agents)


def test_a_failure_restarts_both(start: Start) -> None:
    agents = [start("fail", "2", "--max-restarts", "1", *WARM) for _ in range(2)]
    # Torch is loaded four times, which takes a loaded machine a while.
    for step in ("facts . 2 0 1", "facts . 2 1 2", "total 2"):
        for agent in agents:
            agent.wait_for(step)

    assert [agent.wait() for agent in agents] == [0, 0], agents[0].output
    said = [line for agent in agents for line in agent.lines]
    assert sum("2 1 2" in line for line in said if "facts" in line) == 2
    assert sum("total 2" in line for line in said) == 2


def test_a_job_grows(start: Start) -> None:
    first = start("grow", "1:2", *WARM)
    first.wait_for("facts 0 1")
    second = start("grow", "1:2", *WARM)
    for step in ("facts . 2", "total 2"):
        for agent in (first, second):
            agent.wait_for(step)

    assert [first.wait(), second.wait()] == [0, 0], first.output + second.output
    assert "total 2" in first.output
    assert "total 2" in second.output
