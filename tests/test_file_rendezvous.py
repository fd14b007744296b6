"""Jobs of agents that meet in a directory, without any server."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from agents import Agent, Launch


Script = Callable[[str], str]

SHOW = """
import os, signal
print("generation", os.environ["ELAUNCH_GENERATION"], "rank", os.environ["RANK"],
      "of", os.environ["WORLD_SIZE"], flush=True)
signal.pause()
"""
"""A worker that tells where it stands, then waits for its end."""


def job(
    *more: str, nnodes: str = "1:2", conf: str = "last_call_timeout=0"
) -> list[str]:
    return [
        *("--rdzv-backend", "file", "--rdzv-endpoint", "./meet", "--rdzv-id", "job"),
        *("--nnodes", nnodes, "--rdzv-conf", f"poll_interval=0.02,{conf}"),
        *("--local-addr", "127.0.0.1", *more),
    ]


def ranks_of(agents: list[Agent], generation: int, size: int) -> list[str]:
    pattern = rf"generation {generation} rank (\d+) of {size}"
    return sorted(agent.wait_for(pattern)[0][1] for agent in agents)


def test_two_agents_run_a_job_and_leave_nothing(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    worker = script("import os; print('rank', os.environ['RANK'])")
    agents = [launch(*job(nnodes="2"), worker) for _ in range(2)]

    assert [agent.wait() for agent in agents] == [0, 0]
    assert sorted(agent.wait_for(r"rank (\d)")[0][1] for agent in agents) == ["0", "1"]
    document = (tmp_path / "meet" / "store.jsonl").read_text().splitlines()
    assert [json.loads(line)["entries"] for line in document] == [0]


def test_a_node_joins_and_is_lost_again(launch: Launch, script: Script) -> None:
    conf = "last_call_timeout=0,keep_alive_interval=0.5"
    worker = script(SHOW)
    first = launch(*job(conf=conf), worker)
    alone = ranks_of([first], 1, 1)
    second = launch(*job(conf=conf), worker)
    together = ranks_of([first, second], 2, 2)
    second.power_off()
    first.wait_for("was lost; stopping the workers")

    assert (alone, together) == (["0"], ["0", "1"])
    assert ranks_of([first], 3, 1) == ["0"]


def test_the_coordinators_node_is_lost(launch: Launch, script: Script) -> None:
    conf = "last_call_timeout=0,keep_alive_interval=0.5"
    worker = script(SHOW)
    first = launch(*job(conf=conf), worker)
    ranks_of([first], 1, 1)
    second = launch(*job(conf=conf), worker)
    ranks_of([first, second], 2, 2)
    first.power_off()

    assert ranks_of([second], 3, 1) == ["0"]


def test_a_node_that_is_told_to_stop_says_why(launch: Launch, script: Script) -> None:
    worker = script(SHOW)
    first = launch(*job(), worker)
    ranks_of([first], 1, 1)
    second = launch(*job(), worker)
    ranks_of([first, second], 2, 2)
    second.send(signal.SIGTERM)

    assert second.wait() == 75
    first.wait_for("left: SIGTERM; stopping the workers")
    assert ranks_of([first], 3, 1) == ["0"]


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("", "meets in a directory that all nodes see"),
        ("meet", "meets in a directory that all nodes see"),
        ("./worker.py", "Not a directory"),
        ("./no/such/place", "No such file or directory"),
    ],
)
def test_a_place_that_cannot_be_one_is_a_usage_error(
    launch: Launch, script: Script, endpoint: str, message: str
) -> None:
    agent = launch(
        *("--rdzv-backend", "file", "--rdzv-endpoint", endpoint), script("pass")
    )

    assert agent.wait() == 2
    agent.wait_for(message)
    assert "Traceback" not in agent.output
