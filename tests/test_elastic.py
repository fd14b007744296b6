"""Jobs of several agents: nodes join, leave and die; workers fail; nothing is left."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from agents import Launch, is_alive
from places import LINE, SHOW, Script, assert_agree, places_in


def job(endpoint: str, *more: str, nnodes: str = "1:2") -> list[str]:
    return [
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", nnodes),
        *("--nproc-per-node", "2", "--rdzv-conf", "last_call_timeout=0"),
        *more,
    ]


def test_a_node_joins_a_running_job_and_is_lost_again(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    first = launch(*job(endpoint), worker)
    alone = places_in([first], 1, workers=2)
    second = launch(*job(endpoint), worker)
    together = places_in([first, second], 2, workers=2)
    second.power_off()
    again = places_in([first], 3, workers=2)

    assert_agree(alone)
    assert_agree(together)
    assert_agree(again)
    # A kept store would show the workers the keys of the generation before.
    assert len({lines[0][3] for lines in (alone, together, again)}) == 3


def test_a_replacement_takes_the_place_of_a_lost_node(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    first = launch(*job(endpoint, nnodes="2"), worker)
    first.wait_for("waiting: 1/2 nodes .* missing 1 more node")
    second = launch(*job(endpoint, nnodes="2"), worker)
    places_in([first, second], 1, workers=2)
    second.power_off()
    first.wait_for("was lost; stopping the workers")
    third = launch(*job(endpoint, nnodes="2"), worker)

    assert_agree(places_in([first, third], 2, workers=2))


def test_a_node_that_is_told_to_stop_leaves_at_once(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    first = launch(*job(endpoint), worker)
    places_in([first], 1, workers=2)
    second = launch(*job(endpoint), worker)
    places_in([first, second], 2, workers=2)
    second.send(signal.SIGTERM)

    assert second.wait() == 75
    first.wait_for("left: SIGTERM; stopping the workers")
    assert_agree(places_in([first], 3, workers=2))


def test_a_failure_on_one_node_restarts_all_with_one_counter(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    agents = [launch(*job(endpoint, "--max-restarts", "2", nnodes="2"), worker)]
    agents.append(launch(*job(endpoint, "--max-restarts", "2", nnodes="2"), worker))
    for restart in range(3):
        assert_agree(places_in(agents, restart + 1, workers=2), restart)
        # Alternate, so that both the coordinator's node and the other one fail.
        agents[restart % 2].workers()[0].send_signal(signal.SIGKILL)

    assert [agent.wait() for agent in agents] == [128 + signal.SIGKILL] * 2
    for agent in agents:
        agent.wait_for("root cause: rank .* SIGKILL")
        agent.wait_for("error: killed by SIGKILL")


def test_what_fails_because_a_node_is_lost_is_no_failure(
    launch: Launch, endpoint: str, script: Script
) -> None:
    """Workers hear of it at once, by their broken connections, and fail."""
    worker = script(SHOW)
    first = launch(*job(endpoint, "--max-restarts", "0", nnodes="2"), worker)
    first.wait_for("waiting: 1/2 nodes")
    second = launch(*job(endpoint, "--max-restarts", "0", nnodes="2"), worker)
    places_in([first, second], 1, workers=2)
    second.power_off()
    first.workers()[0].send_signal(signal.SIGKILL)
    first.wait_for(r"missing .* \(rank 1\) \(seen before: .* \(lost ")
    third = launch(*job(endpoint, "--max-restarts", "0", nnodes="2"), worker)

    assert_agree(places_in([first, third], 2, workers=2))


def test_the_stores_host_ends_quickly_too_when_it_is_told_to(
    launch: Launch, endpoint: str, script: Script
) -> None:
    """Its departure takes the store along; it does not wait for those who use it."""
    worker = script(SHOW)
    host = launch(*job(endpoint), worker)
    places_in([host], 1, workers=2)
    other = launch(*job(endpoint), worker)
    places_in([host, other], 2, workers=2)
    host.send(signal.SIGTERM)

    assert host.wait() == 75
    assert_agree(places_in([other], 3, workers=2))


def test_the_loss_of_the_stores_host_is_survived_where_another_can_host(
    launch: Launch, endpoint: str, script: Script, tmp_path: Path
) -> None:
    """Both agents are on one host here, so the survivor can take the endpoint."""
    short = "last_call_timeout=0,keep_alive_interval=0.5"
    worker = script(SHOW)
    host = launch(*job(endpoint, "--rdzv-conf", short), worker)
    places_in([host], 1, workers=2)
    other = launch(*job(endpoint, "--rdzv-conf", short), worker)
    places_in([host, other], 2, workers=2)
    host.power_off()
    other.wait_for("has been lost for .*; stopping the workers")
    other.wait_for("generation 1: 1 node, 2 workers")

    assert_agree(sorted(found.groups()[1:] for found in other.wait_for(LINE, 4)[2:]))
    other.send(signal.SIGTERM)
    assert other.wait() == 75
    told = subprocess.run(
        [sys.executable, "-m", "elaunch", "events", f"{tmp_path}/events-of-*/*"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    heads = r"^(?:job job, (life . of 2)|generation (.))"
    numbers = re.findall(heads, told, re.MULTILINE)
    assert [life or generation for life, generation in numbers] == [
        *("life 1 of 2", "1", "2"),
        *("life 2 of 2", "1"),
    ]


def test_a_spare_waits_and_is_used(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    first = launch(*job(endpoint), worker)
    places_in([first], 1, workers=2)
    second = launch(*job(endpoint), worker)
    places_in([first, second], 2, workers=2)
    spare = launch(*job(endpoint), worker)
    spare.wait_for("waiting as a spare")
    second.power_off()

    assert_agree(places_in([first, spare], 3, workers=2))


def test_all_nodes_end_together_when_all_workers_are_done(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script("import os; print('rank', os.environ['RANK'])")
    agents = [launch(*job(endpoint, nnodes="3"), worker) for _ in range(3)]

    assert [agent.wait() for agent in agents] == [0, 0, 0]
    for agent in agents:
        agent.wait_for("the job succeeded")


def test_a_spare_of_a_job_that_succeeds_ends_well(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(
        "import os, pathlib, signal, time\n"
        "print('rank', os.environ['RANK'], flush=True)\n"
        "signal.sigwait({signal.SIGUSR1})\n"
    )
    worker = script(
        "import os, signal\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})\n"
        "print('rank', os.environ['RANK'], flush=True)\n"
        "signal.sigwait({signal.SIGUSR1})\n"
    )
    first = launch(*job(endpoint, nnodes="1"), worker)
    first.wait_for("rank", count=2)
    spare = launch(*job(endpoint, nnodes="1"), worker)
    spare.wait_for("waiting as a spare")
    for process in first.workers():
        process.send_signal(signal.SIGUSR1)

    assert first.wait() == 0
    assert spare.wait() == 0


@pytest.mark.parametrize(
    ("signum", "status", "said"),
    [
        (signal.SIGINT, 128 + signal.SIGINT, "stopped by SIGINT"),
        (signal.SIGTERM, 75, "preempted: stopped by SIGTERM"),
    ],
)
def test_a_signal_leaves_no_process_behind(
    launch: Launch, script: Script, signum: int, status: int, said: str
) -> None:
    worker = script(
        "import subprocess, sys\n"
        "sleep = 'import signal; signal.pause()'\n"
        "child = subprocess.Popen([sys.executable, '-c', sleep])\n"
        "print('ready', flush=True)\n"
        "child.wait()\n"
    )
    agent = launch("--standalone", "--nproc-per-node", "2", worker)
    agent.wait_for("ready", count=2)
    pids = [process.pid for process in agent.workers()]
    agent.send(signum)

    assert agent.wait() == status
    assert len(pids) == 4
    assert [pid for pid in pids if is_alive(pid)] == []
    assert agent.lines[-1] == f"elaunch: {said}"
    assert "Traceback" not in re.sub(r"(?m)^\[\d+\] .*$", "", agent.output)


def test_a_second_signal_kills_stubborn_workers(launch: Launch, script: Script) -> None:
    worker = script(
        "import signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('no', flush=True))\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    agent = launch("--standalone", "--shutdown-timeout", "600", worker)
    agent.wait_for("ready")
    agent.send(signal.SIGINT)
    agent.wait_for("^no$")
    agent.send(signal.SIGINT)

    assert agent.wait() == 128 + signal.SIGINT


def test_a_signal_while_waiting_for_nodes_ends_quickly(
    launch: Launch, endpoint: str, script: Script
) -> None:
    agent = launch(*job(endpoint, nnodes="2"), script("pass"))
    agent.wait_for("waiting: 1/2 nodes")
    agent.send(signal.SIGINT)

    assert agent.wait() == 128 + signal.SIGINT


def test_a_rank_from_the_environment_beats_the_order_of_joining(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(SHOW)
    first = launch(*job(endpoint, nnodes="2"), worker, ELAUNCH_NODE_RANK="1")
    first.wait_for("waiting: 1/2 nodes")
    second = launch(*job(endpoint, nnodes="2"), worker, ELAUNCH_NODE_RANK="0")

    assert_agree(places_in([first, second], 1, workers=2))
    second.wait_for("ranks 0-1 here")
    first.wait_for("ranks 2-3 here")


def test_a_rank_from_the_environment_that_cant_be_is_refused(
    launch: Launch, endpoint: str, script: Script
) -> None:
    agent = launch(*job(endpoint, nnodes="2"), script(SHOW), ELAUNCH_NODE_RANK="2")

    assert agent.wait() == 2
    agent.wait_for("error: ELAUNCH_NODE_RANK must be a number from 0 to 1, not '2'")
