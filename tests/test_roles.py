"""Several roles in one job: agents of their own roles and numbers of workers."""

import signal
from collections.abc import Mapping

from agents import Agent, Launch
from places import Script


SHOW = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(*(os.environ[name] for name in (
    "ROLE_NAME", "LOCAL_WORLD_SIZE", "WORLD_SIZE", "ELAUNCH_RESTART_COUNT",
    "GROUP_RANK", "LOCAL_RANK", "RANK", "ROLE_RANK", "ROLE_WORLD_SIZE",
)), sep="|", flush=True)
signal.sigwait({signal.SIGTERM})
"""
"""A worker that tells its place, then waits until it is told to stop."""

NODES = {0: ("ps", 4), 1: ("tr", 1), 2: ("tr", 2), 3: ("tr", 3), 4: ("ps", 5)}
"""Role and workers of the nodes, by the group rank that each is given."""

Places = dict[tuple[str, int], tuple[int, ...]]


def agent_of(launch: Launch, endpoint: str, script: str, rank: int, *how: str) -> Agent:
    return launch(
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "4:5"),
        *("--rdzv-conf", "last_call_timeout=0", "--max-restarts", "1"),
        *("--node-rank", str(rank), *how, script),
    )


def flags(role: str, workers: int) -> tuple[str, ...]:
    return ("--role", role, "--nproc-per-node", str(workers))


def bases(
    agents: Mapping[int, Agent], nodes: Mapping[int, tuple[str, int]], restarts: int
) -> Places:
    """Wait for all workers of the generation that has all these nodes.

    Returns:
        Group rank, and global and role rank of the first worker, and the size of its
        role, by role and workers of the node; those of the other workers follow.
    """
    world = sum(workers for _, workers in nodes.values())
    found: Places = {}
    for slot, agent in agents.items():
        role, count = nodes[slot]
        told = rf"{role}\|{count}\|{world}\|{restarts}\|(.*)"
        lines = [m[1] for m in agent.wait_for(told, count=count)]
        places = sorted(tuple(int(n) for n in line.split("|")) for line in lines)
        group, _, base, role_base, role_size = places[0]
        assert places == [
            (group, local, base + local, role_base + local, role_size)
            for local in range(count)
        ]
        found[role, count] = (group, base, role_base, role_size)
    return found


def test_roles_have_ranks_of_their_own_also_after_a_restart_and_a_loss(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker, nodes = script(SHOW), dict(NODES)
    agents: dict[int, Agent] = {}
    for slot, node in nodes.items():
        agents[slot] = agent_of(launch, endpoint, worker, slot, *flags(*node))
        agents[0].wait_for("waiting: 1/")  # it has the store, and will not be lost
    whole: Places = {
        ("ps", 4): (0, 0, 0, 9),
        ("tr", 1): (1, 4, 0, 6),
        ("tr", 2): (2, 5, 1, 6),
        ("tr", 3): (3, 7, 3, 6),
        ("ps", 5): (4, 10, 4, 9),
    }
    assert bases(agents, nodes, 0) == whole

    agents[1].workers()[0].send_signal(signal.SIGKILL)
    assert bases(agents, nodes, 1) == whole

    agents.pop(2).power_off()
    del nodes[2]
    # The last one moves into the gap: ranks have none.
    assert bases(agents, nodes, 1) == {
        ("ps", 4): (0, 0, 0, 9),
        ("tr", 1): (1, 4, 0, 4),
        ("ps", 5): (2, 5, 4, 9),
        ("tr", 3): (3, 10, 1, 4),
    }

    nodes[2] = ("ps", 6)
    agents[2] = agent_of(launch, endpoint, worker, 2, *flags(*nodes[2]))
    # A replacement need not be like the node that was lost.
    assert bases(agents, nodes, 1) == {
        ("ps", 4): (0, 0, 0, 15),
        ("tr", 1): (1, 4, 0, 4),
        ("ps", 6): (2, 5, 4, 15),
        ("tr", 3): (3, 11, 1, 4),
        ("ps", 5): (4, 14, 10, 15),
    }
