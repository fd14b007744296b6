"""Workers put off that nodes come into their running job until they are ready."""

import json
import os
import signal
from pathlib import Path

import pytest
from agents import Launch
from places import SHOW, Script, assert_agree, places_in


HOLDS = (
    """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})
"""
    + SHOW.partition("signal.sigwait")[0]
    + """
from elaunch.worker import hold_scaling, release_scaling

hold_scaling(300)
print("holds", flush=True)
while signal.sigwait({signal.SIGTERM, signal.SIGUSR1}) == signal.SIGUSR1:
    release_scaling()
    hold_scaling(300)
"""
)
"""A worker that lets nodes in when it gets SIGUSR1, as others do at a checkpoint."""


def job(endpoint: str, **options: object) -> list[str]:
    """Return the flags of a job; there is time for a hold to be known."""
    given = {"last_call_timeout": 0, "scale_debounce": 0.5, **options}
    conf = ",".join(f"{key}={value}" for key, value in given.items())
    return [
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "1:3"),
        *("--max-restarts", "3", "--rdzv-conf", conf),
    ]


def test_a_node_that_comes_waits_until_the_workers_are_ready_for_it(
    launch: Launch, endpoint: str, script: Script, tmp_path: Path
) -> None:
    worker, events = script(HOLDS), tmp_path / "events.jsonl"
    first = launch(*job(endpoint), "--event-recorder", f"jsonl:path={events}", worker)
    places_in([first], 1)
    first.wait_for("holds")
    second = launch(*job(endpoint), worker)
    second.wait_for(
        "kept out of the job, which runs with 1 nodes: '.*' "
        r"\(held up by rank 0 on '.*', for 2\d\d s at most\)"
    )
    first.wait_for("nodes that came wait .*: held up by rank 0 on '.*', for 2")
    first.workers()[0].send_signal(signal.SIGUSR1)

    assert_agree(places_in([first, second], 2), restarts=0)
    first.wait_for("joined, held up for .* s; stopping the workers")
    told = [json.loads(line) for line in events.read_text().splitlines()]
    (held,) = [event for event in told if event["name"] == "scaling.held"]
    assert held["generation"] == 1
    assert len(held["metadata"]["nodes"]) == 1


def test_a_failure_takes_in_whom_a_worker_has_held_up(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(HOLDS)
    first = launch(*job(endpoint), worker)
    first.wait_for("holds")
    second = launch(*job(endpoint), worker)
    second.wait_for("held up by rank 0")
    first.workers()[0].send_signal(signal.SIGKILL)

    assert_agree(places_in([first, second], 2), restarts=1)


@pytest.mark.parametrize("limit", [0, 2])
def test_nobody_is_held_up_for_longer_than_the_job_allows(
    launch: Launch, endpoint: str, script: Script, limit: int
) -> None:
    worker = script(HOLDS)
    first = launch(*job(endpoint, scale_hold_limit=limit), worker)
    first.wait_for("holds")
    second = launch(*job(endpoint, scale_hold_limit=limit), worker)

    assert_agree(places_in([first, second], 2), restarts=0)
    assert ("nodes that came wait" in first.output) is bool(limit)


IN_A_SHELL = """
import subprocess, sys

def beat(*words):
    subprocess.run([sys.executable, "-m", "elaunch", "beat", *words], check=True)

beat("--hold-scaling", "300")
print("holds", flush=True)
sys.stdin = open(sys.argv[1])
sys.stdin.readline()
beat("--release-scaling")
"""


def test_a_shell_script_can_do_so_too(
    launch: Launch, endpoint: str, script: Script, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    first = launch(*job(endpoint), script(IN_A_SHELL + SHOW), str(pipe))
    first.wait_for("holds")
    second = launch(*job(endpoint), script(SHOW))
    second.wait_for("held up by rank 0")
    pipe.write_text("go on\n")

    first.wait_for("joined, held up for")
    places_in([second], 2)
