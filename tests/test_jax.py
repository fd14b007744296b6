"""JAX workers run as they are: their coordinator is in rank 0, at a port of ours."""

import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from agents import Agent, Launch


pytestmark = pytest.mark.interop

EXAMPLE = str(Path(__file__).parent.parent / "examples" / "jax_sum.py")

COLLECT = """
import os, signal
import jax
import jax.numpy as jnp
from jax.experimental import multihost_utils

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
jax.distributed.initialize(num_processes=int(os.environ["JAX_NUM_PROCESSES"]),
                           process_id=int(os.environ["JAX_PROCESS_ID"]))
ranks = multihost_utils.process_allgather(jnp.array([float(jax.process_index())]))
print(f"generation {os.environ['ELAUNCH_GENERATION']}: sum {ranks.sum():g}, "
      f"at {os.environ['JAX_COORDINATOR_ADDRESS']}, pid {os.getpid()}", flush=True)
if int(os.environ["ELAUNCH_RESTART_COUNT"]) < int(os.environ["KILLS"]):
    signal.sigwait({signal.SIGUSR1})
jax.distributed.shutdown()
"""
"""Computes together with the others; is killed then, where that is planned."""


@pytest.fixture(autouse=True)
def _jax() -> None:
    if find_spec("jax") is None:  # its import would disturb tests here that fork
        pytest.skip("jax is not installed: make test-interop")


def two_agents(launch: Launch, endpoint: str, *rest: str, **env: str) -> list[Agent]:
    job = ("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2")
    return [launch(*job, "--bootstrap", "jax", *rest, **env) for _ in range(2)]


def test_the_example_sums_the_ranks_on_two_agents(
    launch: Launch, endpoint: str
) -> None:
    agents = two_agents(launch, endpoint, EXAMPLE)

    assert [agent.wait() for agent in agents] == [0, 0]
    for agent in agents:
        agent.wait_for(r"generation 1: rank \d of 2: SUM = 1")


def test_each_generation_has_a_coordinator_of_its_own(
    launch: Launch, endpoint: str, script: Callable[[str], str]
) -> None:
    """Also after the end of the process that had the last one."""
    kills = 2
    # JAX keeps SIGTERM from ending a process; so the wait would be that for SIGKILL.
    sigterm = ("--env", "JAX_ENABLE_PREEMPTION_SERVICE=false")
    flags = ("--max-restarts", str(kills), *sigterm)
    agents = two_agents(launch, endpoint, *flags, script(COLLECT), KILLS=str(kills))
    coordinators = set()
    for generation in range(1, kills + 2):
        told = rf"generation {generation}: sum 1, at (\S+), pid (\d+)"
        found = [agent.wait_for(told)[0] for agent in agents]
        assert found[0][1] == found[1][1]
        coordinators.add(found[0][1])
        if generation <= kills:
            pid = int(found[generation - 1][2])
            psutil.Process(pid).send_signal(signal.SIGKILL)

    assert [agent.wait() for agent in agents] == [0, 0]
    assert len(coordinators) == kills + 1
