"""Workers of real jobs speak to their agents."""

import json
import signal
import sys
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


HOPELESS = """
import os, signal
from elaunch.worker import heartbeat, no_restart, progress

for step in range(100):
    heartbeat(step=step)
progress(12)
if os.environ["RANK"] == "1":
    no_restart("the data is gone")
    os._exit(3)
signal.pause()
"""


def test_who_knows_that_no_restart_can_help_ends_the_job_and_the_report_says_why(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    """What it said is known before its end is, however it ends."""
    events = tmp_path / "events.jsonl"
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "3"),
        *("--event-recorder", f"jsonl:path={events}", script(HOPELESS)),
    )

    assert agent.wait() == 3
    agent.wait_for("rank 1 asks for no-restart: the data is gone")
    agent.wait_for("behind it: it asked for no restart: the data is gone")
    assert "generation 2" not in agent.output
    told = [json.loads(line) for line in events.read_text().splitlines()]
    names = [event["name"] for event in told]
    assert names.index("worker.request") < names.index("worker.failed")
    (progress,) = [e["metadata"] for e in told if e["name"] == "worker.progress"]
    assert progress["marker"] == 12


UNFIT = """
import signal
from elaunch.worker import exclude_node

exclude_node("ECC errors")
signal.pause()
"""


def test_a_worker_whose_node_is_not_fit_is_a_failure_at_once(
    launch: Launch, script: Script
) -> None:
    """A job of one node has no other one to go on with."""
    agent = launch("--standalone", "--max-restarts", "3", script(UNFIT))

    assert agent.wait() != 0
    agent.wait_for("rank 0 asks for exclude-node: ECC errors")
    agent.wait_for("error: asked to exclude its node: ECC errors")


IN_A_SHELL = """
import subprocess, sys
told = '{"kind": "no_restart", "reason": "said by a shell"}'
code = (
    "import os, socket, sys; "
    "socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)"
    ".sendto(sys.argv[1].encode(), os.environ['ELAUNCH_CHANNEL'])"
)
subprocess.run([sys.executable, "-c", code, told], check=True)
sys.exit(4)
"""


def test_a_process_below_a_worker_speaks_for_it_by_the_protocol_alone(
    launch: Launch, script: Script
) -> None:
    agent = launch("--standalone", "--max-restarts", "3", script(IN_A_SHELL))

    assert agent.wait() == 4
    agent.wait_for("it asked for no restart: said by a shell")


def test_what_a_worker_says_about_itself_is_known_after_a_restart(
    launch: Launch, script: Script
) -> None:
    """Each generation has sockets of its own, and the workers of each are heard."""
    worker = script(
        "import os\n"
        "from elaunch.worker import no_restart\n"
        "if os.environ['ELAUNCH_RESTART_COUNT'] == '1':\n"
        "    no_restart('twice is enough')\n"
        "raise SystemExit(5)\n"
    )
    agent = launch("--standalone", "--max-restarts", "3", worker)

    assert agent.wait() == 5
    agent.wait_for("it asked for no restart: twice is enough")
    assert "generation 2" in agent.output
    assert "generation 3" not in agent.output


def test_a_worker_that_is_a_shell_script_beats(launch: Launch, tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    script = tmp_path / "worker.sh"
    script.write_text(
        "#!/bin/sh -e\n"
        'beat() { "$PYTHON" -m elaunch beat "$@"; }\n'
        "beat --step 1 loss=0.5\n"
        "beat --begin download --limit 60\n"
        "beat --end download\n"
        "beat --progress 7\n"
    )
    script.chmod(0o755)
    agent = launch(
        *("--standalone", "--event-recorder", f"jsonl:path={events}", "--no-python"),
        str(script),
        PYTHON=sys.executable,
    )

    assert agent.wait() == 0
    told = [json.loads(line) for line in events.read_text().splitlines()]
    facts = {event["name"]: event["metadata"] for event in told}
    assert facts["worker.first_heartbeat"]["step"] == 1
    assert facts["worker.progress"]["marker"] == 7
