"""Jobs of a fixed set of nodes, each of which has the rank it was given."""

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from agents import DEADLINE, Agent, Launch


SHOW = """
import os, signal
print("generation", os.environ["ELAUNCH_GENERATION"], "rank", os.environ["RANK"],
      "of", os.environ["WORLD_SIZE"], "restarts", os.environ["ELAUNCH_RESTART_COUNT"],
      flush=True)
signal.pause()
"""
"""A worker that tells where it stands, then waits for its end."""

Script = Callable[[str], str]


def node(endpoint: str, rank: int, *more: str) -> list[str]:
    return [
        *("--rdzv-backend", "static", "--rdzv-endpoint", endpoint, "--rdzv-id", "job"),
        *("--nnodes", "2", "--node-rank", str(rank), *more),
    ]


def assert_ranks(*agents: Agent, generation: int = 1, restarts: int = 0) -> None:
    """Each agent's worker has the rank of its place in the arguments."""
    for rank, agent in enumerate(agents):
        agent.wait_for(f"generation {generation} rank {rank} of 2 restarts {restarts}$")


def test_each_node_keeps_its_rank_whoever_comes_first(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    second = launch(*node(endpoint, 1, "--max-restarts", "1"), worker)
    second.wait_for(f"waiting for the store: .*{endpoint}")
    first = launch(*node(endpoint, 0, "--max-restarts", "1"), worker)
    assert_ranks(first, second)
    second.workers()[0].send_signal(signal.SIGKILL)
    assert_ranks(first, second, generation=2, restarts=1)
    first.workers()[0].send_signal(signal.SIGKILL)

    assert [first.wait(), second.wait()] == [128 + signal.SIGKILL] * 2


def test_a_job_of_a_fixed_set_of_nodes_succeeds(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script("import os; print('rank', os.environ['RANK'])")
    agents = [launch(*node(endpoint, rank), worker) for rank in (1, 0)]

    assert [agent.wait() for agent in agents] == [0, 0]
    agents[0].wait_for("rank 1$")
    agents[1].wait_for("rank 0$")


def test_a_command_line_of_torchrun_means_the_same(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    host, _, port = endpoint.partition(":")
    place = ("--master-addr", host, "--master-port", port)
    agents = [
        launch(*place, "--nnodes", "2", "--node-rank", str(rank), worker)
        for rank in (0, 1)
    ]
    assert_ranks(*agents)
    # Whoever says it in the other way is in the same job.
    agents[1].power_off()
    again = launch(*node(endpoint, 1, "--rdzv-id", "none"), worker)

    assert_ranks(agents[0], again, generation=2)


def test_one_node_alone_needs_no_rank(launch: Launch, script: Script) -> None:
    assert launch("--rdzv-backend", "static", script("pass")).wait() == 0


def test_who_replaces_a_lost_node_has_its_rank(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    first, second = (launch(*node(endpoint, rank), worker) for rank in (0, 1))
    assert_ranks(first, second)
    second.power_off()
    third = launch(*node(endpoint, 1), worker)

    assert_ranks(first, third, generation=2)


@pytest.mark.parametrize("leaver", [0, 1])
def test_the_job_ends_when_a_node_leaves(
    launch: Launch, endpoint: str, script: Script, leaver: int
) -> None:
    """Nobody else can take its rank, so nobody waits for one."""
    agents = [launch(*node(endpoint, rank), script(SHOW)) for rank in (0, 1)]
    assert_ranks(*agents)
    agents[leaver].send(signal.SIGTERM)

    assert agents[leaver].wait() == 75
    assert agents[1 - leaver].wait() == 7
    agents[1 - leaver].wait_for(
        "the minimum of 2 nodes can't be reached any more: .* left: SIGTERM"
    )


def test_the_job_forms_again_when_rank_0_is_replaced(
    launch: Launch, endpoint: str, script: Script
) -> None:
    """Its store is gone with it, so the job begins anew: again with generation 1."""
    worker = script(SHOW)
    first, second = (launch(*node(endpoint, rank), worker) for rank in (0, 1))
    assert_ranks(first, second)
    first.power_off()
    third = launch(*node(endpoint, 0), worker)
    assert_ranks(third)

    assert len(second.wait_for("generation 1 rank 1 of 2 restarts 0$", count=2)) == 2


def test_a_second_node_of_one_rank_is_refused(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    brief = ("--rdzv-conf", "keep_alive_interval=1")
    agents = [launch(*node(endpoint, rank, *brief), worker) for rank in (0, 1)]
    assert_ranks(*agents)
    other = launch(*node(endpoint, 1, *brief), worker)

    assert other.wait() == 4
    other.wait_for("note: rank 1 belongs to node .*; waiting 4 s for its end")
    assert "rank 1 of job 'job' belongs to node" in other.lines[-1]
    assert [agent.process.poll() for agent in agents] == [None, None]


BY_API = """
import os, sys
from elaunch import LaunchConfig, elastic_launch

def place():
    return [os.environ[name] for name in ("GROUP_RANK", "WORLD_SIZE")]

if __name__ == "__main__":
    config = LaunchConfig(
        2, 2, 1, run_id="job", rdzv_backend="static", rdzv_endpoint=sys.argv[1],
        rdzv_configs={"rank": int(sys.argv[2]), "timeout": 900}, max_restarts=0,
    )
    print(elastic_launch(config, place)())
"""


def test_a_program_gives_endpoint_and_rank_as_torchelastics_would(
    endpoint: str, script: Script
) -> None:
    program = script(BY_API)
    nodes = [
        subprocess.Popen(
            [sys.executable, program, endpoint, str(rank)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (1, 0)
    ]
    said = [node.communicate(timeout=DEADLINE)[0].strip() for node in nodes]

    assert said == ["{1: ['1', '2']}", "{0: ['0', '2']}"]
