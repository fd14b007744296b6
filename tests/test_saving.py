"""A worker gets its whole grace to save, for whatever reason it is stopped.

`SAVE_TIME=45 pytest tests/test_saving.py` shows it with a worker that needs as long as
a large checkpoint takes; by default it is shorter, to keep the suite quick.
"""

import os
import signal
from pathlib import Path

import pytest
from agents import Agent, Launch, Script


SAVE_TIME = float(os.environ.get("SAVE_TIME", "2"))

WORKER = """
import os, signal, sys, time
rank, generation = os.environ["RANK"], os.environ["ELAUNCH_GENERATION"]

def save(*_):
    print("saving", flush=True)
    begin = time.monotonic()
    while time.monotonic() < begin + {time}:
        time.sleep(0.1)
    with open(os.path.join({folder!r}, "saved"), "w") as file:
        file.write(generation)
    sys.exit(0)

signal.signal(signal.SIGTERM, save)
print("ready", rank, flush=True)
if rank == "1" and generation == "1" and {fails}:
    with open({orders!r}) as orders:
        orders.read()
    sys.exit(3)
if generation != "1":
    sys.exit(0)
while True:
    signal.pause()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "orders")
    return tmp_path


def worker(script: Script, folder: Path, *, fails: bool) -> str:
    return script(
        WORKER.format(
            time=SAVE_TIME,
            folder=str(folder),
            orders=str(folder / "orders"),
            fails=fails,
        )
    )


def assert_saved(agent: Agent, folder: Path) -> None:
    agent.wait_for("saving")
    status = agent.process.wait(SAVE_TIME + 60)
    assert (folder / "saved").read_text() == "1", f"{status}\n{agent.output}"


FLAGS = ("--shutdown-timeout", "120", "--nproc-per-node", "2")


@pytest.mark.parametrize("restarts", ["0", "1"], ids=["failure", "restart"])
def test_beside_a_worker_that_fails(
    launch: Launch, script: Script, folder: Path, restarts: str
) -> None:
    agent = launch(
        *FLAGS, "--max-restarts", restarts, worker(script, folder, fails=True)
    )
    agent.wait_for("ready", 2)
    (folder / "orders").write_text("fail")

    assert_saved(agent, folder)
    assert agent.wait() == (0 if restarts == "1" else 3)


def test_when_a_node_joins(
    launch: Launch, endpoint: str, script: Script, folder: Path
) -> None:
    meeting = ("--nnodes", "1:2", "--rdzv-endpoint", endpoint, "--rdzv-id", "saving")
    options = ("--rdzv-conf", "last_call_timeout=0.1", *FLAGS)
    code = worker(script, folder, fails=False)
    first = launch(*meeting, *options, code)
    first.wait_for("ready", 2)
    second = launch(*meeting, *options, code)

    assert_saved(first, folder)
    assert [first.wait(), second.wait()] == [0, 0]
    first.wait_for("generation 2: 2 nodes")


def test_when_the_agent_is_told_to_stop(
    launch: Launch, script: Script, folder: Path
) -> None:
    agent = launch(*FLAGS, worker(script, folder, fails=False))
    agent.wait_for("ready", 2)
    agent.send(signal.SIGTERM)

    assert_saved(agent, folder)
