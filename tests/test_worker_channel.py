"""Workers of real jobs speak to their agents."""

import signal
import tempfile
from pathlib import Path

import pytest
from agents import Launch
from places import Script


HEARS = """
import signal, threading
from elaunch.worker import on_notice

signal.signal(signal.SIGTERM, lambda *_: None)
stopped = threading.Event()

def hear(notice):
    print("heard", notice.kind, notice.reason, flush=True)
    if notice.grace:  # it is being stopped
        stopped.set()

on_notice(hear)
print("runs", flush=True)
stopped.wait()
print("ends", flush=True)
"""


@pytest.mark.parametrize("method", ["spawn", "warm"])
def test_a_worker_is_called_back_for_a_notice_and_for_its_stop(
    launch: Launch, script: Script, method: str
) -> None:
    """While its main thread waits for something else."""
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--start-method", method),
        *("--shutdown-timeout", "60", script(HEARS)),
    )
    agent.wait_for("runs", count=2)
    agent.process.send_signal(signal.SIGUSR1)
    agent.wait_for("heard preemption SIGUSR1", count=2)
    agent.send(signal.SIGINT)

    assert agent.wait() == 128 + signal.SIGINT
    # They know of a preemption, and that stays what it is about.
    assert agent.output.count("heard preemption SIGUSR1") == 4
    assert agent.output.count("ends") == 2


def test_nothing_is_left_of_the_channel(launch: Launch, script: Script) -> None:
    # Sockets can have no names in a directory of pytest's: they would be too long.
    place = Path(tempfile.mkdtemp(prefix="c"))
    worker = script(
        "import os\n"
        "from elaunch.worker import heartbeat\n"
        "heartbeat(step=1)\n"
        "print('channel', os.environ['ELAUNCH_CHANNEL'], flush=True)\n"
    )
    try:
        agent = launch("--standalone", worker, TMPDIR=str(place))
        (told,) = agent.wait_for("channel (.*)")

        assert agent.wait() == 0
        assert told[1].startswith(str(place))
        assert list(place.iterdir()) == []
    finally:
        place.rmdir()
