"""Ctrl-C and its kin end an agent in every phase, in good order and with one line."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from agents import Agent, Launch
from places import Script


STOPPED = "elaunch: stopped by SIGINT"

WORKER = """
import os, signal, time
if "STUBBORN" in os.environ:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
if os.environ["RANK"] == os.environ.get("DONE"):
    raise SystemExit
time.sleep(600)
"""


def node(endpoint: str, *more: str) -> list[str]:
    return [
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2"),
        *("--shutdown-timeout", "1", *more),
    ]


def after(agent: Agent, signum: int) -> tuple[int, list[str]]:
    """Send a signal; return the status and the lines that come after it."""
    before = len(agent.lines)
    agent.send(signum)
    return agent.wait(), agent.lines[before:]


def test_while_it_connects(launch: Launch, endpoint: str, script: Script) -> None:
    elsewhere = node(endpoint, "--rdzv-conf", "is_host=false")
    agent = launch(*elsewhere, script(WORKER))
    agent.wait_for("waiting for the store")

    assert after(agent, signal.SIGINT) == (130, [STOPPED])


def test_while_it_waits_for_others(
    launch: Launch, endpoint: str, script: Script
) -> None:
    agent = launch(*node(endpoint), script(WORKER))
    agent.wait_for("waiting: 1/2 nodes")

    assert after(agent, signal.SIGINT) == (130, [STOPPED])


@pytest.mark.parametrize("stubborn", [False, True])
def test_while_workers_run(launch: Launch, script: Script, *, stubborn: bool) -> None:
    variables = {"STUBBORN": "yes"} if stubborn else {}
    agent = launch("--shutdown-timeout", "1", script(WORKER), **variables)
    agent.wait_for("up")
    status, lines = after(agent, signal.SIGINT)

    assert (status, lines[-1]) == (130, STOPPED)
    assert lines[0] == "elaunch: SIGINT; stopping the workers"
    assert ["killing" in line for line in lines[1:-1]] == [True] * stubborn


def test_while_its_workers_are_done_and_others_are_not(
    launch: Launch, endpoint: str, script: Script
) -> None:
    agents = [launch("-v", *node(endpoint), script(WORKER), DONE="1") for _ in range(2)]
    for agent in agents:
        agent.wait_for("group.started")
    [done] = [a for a in agents if "ranks=[1]" in a.output]
    done.wait_for("group.succeeded")
    status, lines = after(done, signal.SIGINT)

    assert (status, lines[-1]) == (130, STOPPED)


def test_while_workers_of_others_use_what_it_hosts(
    launch: Launch, endpoint: str, script: Script
) -> None:
    agents = [launch("-v", *node(endpoint), script(WORKER), DONE="0") for _ in range(2)]
    for agent in agents:
        agent.wait_for("group.started")
    [host] = [a for a in agents if "ranks=[0]" in a.output]
    host.wait_for("group.succeeded")
    host.send(signal.SIGINT)
    host.wait_for("still run and use what this node hosts")

    assert host.wait() == 130
    assert host.lines[-1] == STOPPED


BUSY = "import time; print('busy', flush=True); time.sleep(600)"


@pytest.mark.parametrize(
    ("signum", "status", "line"),
    [
        (signal.SIGTERM, 75, "elaunch: preempted: stopped by SIGTERM"),
        (signal.SIGHUP, 129, "elaunch: stopped by SIGHUP"),
        (signal.SIGINT, 130, "elaunch: interrupted"),
    ],
)
def test_before_there_is_an_agent(
    launch: Launch, tmp_path: Path, signum: int, status: int, line: str
) -> None:
    """A plugin that takes long to load stands for any time before."""
    if signal.getsignal(signum) is signal.SIG_IGN:
        pytest.skip(f"{signal.Signals(signum).name} is ignored here, as under nohup")
    site = tmp_path / "site"
    info = site / "slow-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[elaunch]\nslow = slow_plugin\n")
    (site / "slow_plugin.py").write_text(BUSY)
    agent = launch("--no-python", "true", PYTHONPATH=str(site))
    agent.wait_for("busy")

    assert after(agent, signum) == (status, [line])


def test_a_signal_that_is_not_to_be_handled_does_what_it_does_elsewhere() -> None:
    code = (
        "from elaunch import *; import sys;"
        "c = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1,"
        " signals_to_handle='SIGINT');"
        "elastic_launch(c, sys.executable)('-c', \"print('up', flush=True);"
        ' import time; time.sleep(600)")'
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout
    try:
        assert process.stdout.readline() == b"up\n"
        process.terminate()

        assert process.wait(timeout=120) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait(timeout=120)
        process.stdout.close()


def test_nohup_keeps_a_job_running_when_the_terminal_goes(
    launch: Launch, script: Script
) -> None:
    agent = launch(script(WORKER), prefix=("nohup",))
    agent.wait_for("up")
    agent.send(signal.SIGHUP)
    status, lines = after(agent, signal.SIGINT)

    assert (status, lines[-1]) == (130, STOPPED)


NOTEBOOK = """
import asyncio, signal, sys
from elaunch import LaunchConfig, SignalException, elastic_launch

def work():
    import time
    print("up", flush=True)
    time.sleep(600)

async def cell():
    config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1)
    try:
        elastic_launch(config, work)()
    except SignalException as stopped:
        print(stopped, flush=True)

async def cells():
    before = signal.getsignal(signal.SIGINT)
    await cell()
    assert signal.getsignal(signal.SIGINT) == before
    print("the next cell runs")

asyncio.run(cells())
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_inside_a_running_loop(tmp_path: Path, method: str) -> None:
    path = tmp_path / "notebook.py"
    path.write_text(NOTEBOOK.replace("_node=1)", f"_node=1, start_method={method!r})"))
    process = subprocess.Popen(
        [sys.executable, str(path)], stdout=subprocess.PIPE, env=os.environ, text=True
    )
    assert process.stdout
    try:
        assert process.stdout.readline() == "up\n"
        process.send_signal(signal.SIGINT)

        output, _ = process.communicate(timeout=120)
        assert output == "stopped by SIGINT\nthe next cell runs\n"
    finally:
        process.kill()
        process.wait(timeout=120)
