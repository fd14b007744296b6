"""What a newcomer does: a server in one terminal, the nodes of a job in others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from agents import DEADLINE, Launch, Script

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.binary import find_binary


@pytest.fixture(autouse=True)
def _needs_etcd() -> None:
    try:
        find_binary()
    except UsageError as error:
        pytest.skip(str(error))


@pytest.mark.etcd
@pytest.mark.parametrize(
    ("members", "backend"), [("1", "etcd"), ("3", "etcd"), ("1", "etcd-v2")]
)
def test_two_agents_run_a_job_as_the_server_tells_them_to(
    launch: Launch, script: Script, tmp_path: Path, members: str, backend: str
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    worker = script("import os; print('rank', os.environ['RANK'], flush=True)")
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "elaunch", "etcd"),
            *("--port", "0", "--members", members),
        ],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            told = [server.stdout.readline() for _ in range(3)][-1].split()
            assert told[:2] == ["elaunch", "run"]
            assert told[-1] == "train.py"
            # Of two backends the last word counts.
            agents = [
                launch(*told[2:-1], "--rdzv-backend", backend, worker) for _ in range(2)
            ]
            statuses = [agent.wait() for agent in agents]
            left = psutil.Process(server.pid).children(recursive=True)
            server.send_signal(signal.SIGTERM)
            ended = server.wait(DEADLINE)
        finally:
            server.kill()

    ranks = sorted(agent.wait_for(r"rank (\d)")[0][1] for agent in agents)
    assert (statuses, ranks) == ([0, 0], ["0", "1"])
    assert ended == 0
    assert [process.is_running() for process in left] == [False] * len(left)
    assert list(temporary.iterdir()) == []
