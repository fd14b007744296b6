"""Torch workers run as they are: gloo over the launcher's store."""

import random
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest
from agents import Agent, Launch
from etcd_jobs import binary

from elaunch import LaunchConfig, elastic_launch
from elaunch_rdzv_etcd.server import EtcdServer
from elaunch_rdzv_etcd.testing import QUICK


pytestmark = pytest.mark.interop

EXAMPLE = str(Path(__file__).parent.parent / "examples" / "torch_allreduce.py")

COLLECT = """
import os, signal
import torch
import torch.distributed as dist

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
dist.init_process_group("gloo", init_method="env://")
rank, world = dist.get_rank(), dist.get_world_size()
total = torch.tensor([float(rank)])
dist.all_reduce(total)
even = dist.new_group(range(0, world, 2))
count = torch.ones(1)
if rank % 2 == 0:
    dist.all_reduce(count, group=even)
dist.barrier()
generation = os.environ["ELAUNCH_GENERATION"]
print(f"generation {generation}: sum {total.item():g}, even {count.item():g}, "
      f"pid {os.getpid()}", flush=True)
if int(os.environ["TORCHELASTIC_RESTART_COUNT"]) < int(os.environ["KILLS"]):
    signal.sigwait({signal.SIGUSR1})
dist.destroy_process_group()
"""
"""Uses the store as torch programs do; is killed then, where that is planned."""

WARM = ("--start-method", "warm", "--preload", "torch.distributed")
"""Where many workers come one after the other: each loads torch, for seconds else."""


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


def assert_collected(agents: list[Agent], generation: int, workers: int) -> list[int]:
    """All workers of a generation met; return their process ids."""
    world = workers * len(agents)
    told = rf"generation {generation}: sum (\d+), even (\d+), pid (\d+)"
    found = [line for a in agents for line in a.wait_for(told, count=workers)]

    assert {int(line[1]) for line in found} == {sum(range(world))}
    assert max(int(line[2]) for line in found) == (world + 1) // 2
    return [int(line[3]) for line in found]


@pytest.mark.parametrize(
    ("workers", "kills", "method"),
    [(1, 20, WARM), (2, 1, ())],
    ids=["2 processes, 20 kills", "4 processes, 1 kill"],
)
def test_the_next_generation_comes_up_after_kill_9_of_any_worker(
    launch: Launch,
    endpoint: str,
    script: Callable[[str], str],
    *,
    workers: int,
    kills: int,
    method: Sequence[str],
) -> None:
    """Stock torchrun fails here: a restarted worker finds the old one's address."""
    job = [
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
        *("--nproc-per-node", str(workers), "--rdzv-conf", "last_call_timeout=0"),
        *("--max-restarts", str(kills), *method, script(COLLECT)),
    ]
    agents = [launch(*job, KILLS=str(kills)) for _ in range(2)]
    victims = random.Random(kills)  # noqa: S311 - the same ones in each run
    for generation in range(1, kills + 1):
        pids = assert_collected(agents, generation, workers)
        psutil.Process(victims.choice(pids)).send_signal(signal.SIGKILL)
    assert_collected(agents, kills + 1, workers)

    assert [agent.wait() for agent in agents] == [0, 0]


def test_workers_meet_at_a_port_that_the_agent_found(
    launch: Launch, endpoint: str, script: Callable[[str], str]
) -> None:
    """Worker rank 0 opens the store itself, another one after each restart."""
    kills = 2
    job = [
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
        *("--bootstrap", "port", "--max-restarts", str(kills)),
        *(*WARM, script(COLLECT)),
    ]
    agents = [launch(*job, KILLS=str(kills)) for _ in range(2)]
    for generation in range(1, kills + 1):
        pids = assert_collected(agents, generation, 1)
        # The one that has the store, then the one that has not.
        psutil.Process(pids[generation - 1]).send_signal(signal.SIGKILL)
    assert_collected(agents, kills + 1, 1)

    assert [agent.wait() for agent in agents] == [0, 0]


@pytest.mark.etcd
def test_workers_of_a_job_in_etcd_come_up_again(
    launch: Launch, script: Callable[[str], str]
) -> None:
    """After the end of a worker, and of an agent without which the others go on."""
    binary()
    with EtcdServer(flags=QUICK) as server:
        job = [
            *("--rdzv-backend", "etcd", "--rdzv-endpoint", server.endpoint),
            *("--rdzv-id", "job", "--nnodes", "2:3", "--rdzv-conf", "lease_ttl=6"),
            *("--max-restarts", "1", *WARM, script(COLLECT)),
        ]
        agents = [launch(*job, KILLS="1") for _ in range(3)]
        assert_collected(agents, 1, 1)
        agents.pop().power_off()
        pids = assert_collected(agents, 2, 1)
        psutil.Process(pids[0]).send_signal(signal.SIGKILL)
        assert_collected(agents, 3, 1)

        assert [agent.wait() for agent in agents] == [0, 0]


def test_torchs_own_log_layout_is_used_as_it_is(
    launch: Launch, script: Callable[[str], str], tmp_path: Path
) -> None:
    code = script("import os; print('I am', os.environ['RANK'])")
    agent = launch(
        *("--nproc-per-node", "2", "--rdzv-id", "job", "--log-dir", "logs", "-t", "3"),
        *("--logs-specs", "default", code),
    )

    assert agent.wait() == 0, agent.output
    agent.wait_for(r"\[0\] I am 0")
    [attempt] = tmp_path.glob("logs/job_*/attempt_0")
    assert [(attempt / str(rank) / "stdout.log").read_text() for rank in range(2)] == [
        "I am 0\n",
        "I am 1\n",
    ]


def test_torchs_own_log_specs_are_taken_as_an_object(tmp_path: Path) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std

    logs = str(tmp_path / "logs")
    specs = DefaultLogsSpecs(log_dir=logs, redirects={0: Std.OUT, 1: Std.ALL})
    config = LaunchConfig(1, 1, 2, specs, run_id="job")
    elastic_launch(config, "sh")("-c", "echo $RANK; echo $RANK >&2")

    [attempt] = tmp_path.glob("logs/job_*/attempt_0")
    kept = {
        str(f.relative_to(attempt)): f.read_text() for f in attempt.rglob("std*.log")
    }
    assert kept == {
        "0/stdout.log": "0\n",
        "1/stdout.log": "1\n",
        "1/stderr.log": "1\n",
    }


ROLES = """
import os
import torch
import torch.distributed.rpc as rpc

name = os.environ["ROLE_NAME"] + os.environ["ROLE_RANK"]
world = int(os.environ["WORLD_SIZE"])
rpc.init_rpc(name, rank=int(os.environ["RANK"]), world_size=world)
if name.startswith("trainer"):
    told = rpc.rpc_sync("server0", torch.add, args=(torch.ones(1), 2))
    print(name, "was told", told.item(), flush=True)
rpc.shutdown()
"""


def test_roles_call_each_other_by_torchs_rpc(
    launch: Launch, endpoint: str, script: Callable[[str], str]
) -> None:
    job = ("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2")
    worker = script(ROLES)
    server = launch(*job, "--role", "server", worker)
    trainers = launch(*job, "--role", "trainer", "--nproc-per-node", "2", worker)

    assert [agent.wait() for agent in (server, trainers)] == [0, 0]
    found = trainers.wait_for(r"trainer(\d) was told 3.0", count=2)
    assert {match[1] for match in found} == {"0", "1"}


TCP = """
import os
import torch
import torch.distributed as dist

address = f"tcp://{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
dist.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
total = torch.tensor([float(rank)])
dist.all_reduce(total)
print("sum", total.item(), "elastic", dist.is_torchelastic_launched(), flush=True)
dist.destroy_process_group()
"""


@pytest.mark.parametrize("bootstrap", ["c10d", "port"])
def test_workers_that_say_tcp_themselves_form_a_group(
    launch: Launch, script: Callable[[str], str], bootstrap: str
) -> None:
    flags = ("--bootstrap", bootstrap, "--nproc-per-node", "3")
    agent = launch("--standalone", *flags, *WARM, script(TCP))

    assert agent.wait() == 0, agent.output
    agent.wait_for("sum 3.0 elastic True", count=3)


def test_workers_of_a_fixed_set_of_nodes_sum_their_ranks(
    launch: Launch, endpoint: str
) -> None:
    host, _, port = endpoint.partition(":")
    agents = [
        launch(
            *("--master-addr", host, "--master-port", port, "--nnodes", "2"),
            *("--node-rank", str(number), "--nproc-per-node", "2", EXAMPLE),
        )
        for number in (1, 0)
    ]

    assert [agent.wait() for agent in agents] == [0, 0]
    for number, agent in zip((1, 0), agents, strict=True):
        for rank in (2 * number, 2 * number + 1):
            agent.wait_for(f"rank {rank} of 4: SUM = 6")
