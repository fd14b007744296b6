"""What stands around the agent: timers, health check, metrics, doors into workers."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agents import Launch


Script = Callable[[str], str]

HANGS_ONCE = """
import os, signal
from {home} import FileTimerClient, configure, expires

configure(FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"]))
with expires(after=60, scope="load"):
    print("loaded", flush=True)
if os.environ["ELAUNCH_GENERATION"] == "1" and os.environ["RANK"] == "1":
    with expires(after=0.2, scope="step"):
        signal.pause()
"""


@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        (("--monitor", "timer"), {}),
        ((), {"TORCHELASTIC_ENABLE_FILE_TIMER": "1"}),
    ],
)
def test_a_timer_that_expires_restarts_the_job(
    launch: Launch, script: Script, flags: tuple[str, ...], variables: dict[str, str]
) -> None:
    worker = script(HANGS_ONCE.format(home="elaunch.timer"))
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        *(*flags, worker),
        **variables,
    )

    assert agent.wait() == 0, agent.output
    agent.wait_for(
        "rank 1 failed: unhealthy: timer 'step' has expired; its holder is killed by "
        "SIGKILL"
    )
    agent.wait_for("generation 2 after restart 1")
    assert len(agent.wait_for("loaded", 4)) == 4


@pytest.mark.interop
def test_unmodified_torch_scripts_use_its_timers(
    launch: Launch, script: Script
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: make test-interop")
    worker = script(HANGS_ONCE.format(home="torch.distributed.elastic.timer"))
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        *("--monitor", "timer", worker),
    )

    assert agent.wait() == 0, agent.output
    agent.wait_for("timer 'step' has expired; its holder is killed by SIGKILL")
    agent.wait_for("generation 2 after restart 1")


def test_a_timer_of_the_last_try_ends_the_job(launch: Launch, script: Script) -> None:
    worker = script(HANGS_ONCE.format(home="elaunch.timer"))
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "0"),
        *("--monitor", "timer", worker),
    )

    assert agent.wait() != 0


def test_the_pipe_is_made_where_the_variable_says_and_goes(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    path = tmp_path / "timers"
    worker = script("import os; print(os.environ['TORCHELASTIC_TIMER_FILE'])")
    agent = launch(
        *("-q", "--standalone", "--monitor", "timer", worker),
        TORCHELASTIC_TIMER_FILE=str(path),
    )

    assert agent.wait() == 0
    assert agent.lines == [str(path)]
    assert not path.exists()


def test_an_agent_that_is_killed_leaves_no_pipe(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    worker = script("import signal; print('up', flush=True); signal.pause()")
    agent = launch("--standalone", "--monitor", "timer", worker, TMPDIR=str(temporary))
    agent.wait_for("up")
    agent.send(signal.SIGKILL)
    agent.wait()

    assert [*temporary.glob("elaunch-timer-*")] == []


ASK = """
import os, time, urllib.request
place = os.environ["PLACE"]
while True:  # until the agent has heard that all of its workers run
    with urllib.request.urlopen(f"http://{place}/healthz", timeout=20) as answer:
        said = answer.read().decode()
    if '"running"' in said:
        print(said, flush=True)
        break
"""


def test_the_agent_tells_that_it_is_well(
    launch: Launch, script: Script, endpoint: str
) -> None:
    agent = launch(
        *("-q", "--standalone", "--rdzv-id", "job", script(ASK)),
        TORCHELASTIC_HEALTH_CHECK_PORT=endpoint.partition(":")[2],
        PLACE=endpoint,
    )

    assert agent.wait() == 0, agent.output
    told = json.loads(agent.lines[0])
    assert told.pop("last_progress") > 1.7e9
    assert told.pop("age") < 60
    assert told == {
        "healthy": True,
        "run_id": "job",
        "state": "running",
        "generation": 1,
    }


def test_a_port_that_is_none_is_logged_and_the_job_runs(
    launch: Launch, script: Script
) -> None:
    agent = launch(
        *("--standalone", script("print('ran')")),
        TORCHELASTIC_HEALTH_CHECK_PORT="eighty",
    )

    assert agent.wait() == 0
    agent.wait_for("TORCHELASTIC_HEALTH_CHECK_PORT='eighty' is of no use")
    agent.wait_for("ran")


def run_python(code: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    (cwd / "program.py").write_text(code)
    return subprocess.run(
        [sys.executable, "program.py"],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


LIBRARY = """
import sys
from elaunch import LaunchConfig, elastic_launch

config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1, {fields})
try:
    elastic_launch(config, sys.executable)("-c", "print('ran')")
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""


def test_the_agents_metrics_go_to_the_handler_that_is_named(tmp_path: Path) -> None:
    code = LIBRARY.format(fields="metrics_cfg={'handler': 'console'}, role='trainer'")
    lines = run_python(code, tmp_path).stdout.splitlines()
    names = [line.partition("]: ")[2] for line in lines if "[torchelastic]: " in line]

    assert "ran" in "\n".join(lines)
    assert "workers.trainer.healthy=1" in names
    assert names[-2] == "SimpleElasticAgent.run.success=1"
    assert [n for n in names if ".run_" in n] == [
        "workers.trainer.run_total=1",
        "workers.trainer.run_success_with_retries=0",
        "workers.trainer.run_success_no_retries=1",
        "workers.trainer.run_failed_with_retries=0",
        "workers.trainer.run_failed_no_retries=0",
    ]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("metrics_cfg={'handler': 'consol'}", "UnknownBackend: "),
        ("metrics_cfg={'handlr': 'console'}", "UsageError: metrics_cfg: "),
    ],
)
def test_metrics_that_go_nowhere_are_an_error(
    tmp_path: Path, fields: str, told: str
) -> None:
    said = run_python(LIBRARY.format(fields=fields), tmp_path).stdout

    assert said.startswith(told)
    assert "ran" not in said


def test_a_place_for_the_health_check_that_is_taken_is_an_error(
    tmp_path: Path,
) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        code = LIBRARY.format(fields=f"health_check='{place}'")
        said = run_python(code, tmp_path).stdout

    assert said.startswith(f"UsageError: health_check '{place}': ")
    assert "ran" not in said


DOOR = """
import http.client, os, socket
from elaunch.control_plane import worker_main

@worker_main()
def main():
    connection = http.client.HTTPConnection("worker")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(os.environ["ELAUNCH_WORKER_SERVER_SOCKET"])
    connection.request("POST", "/handler/ping")
    print(connection.getresponse().read().decode())
    raise ValueError("boom")

main()
"""


def test_each_worker_has_a_door_of_its_own_and_tells_its_error(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "0"),
        *("--env", f"ELAUNCH_WORKER_SERVER_SOCKET={tmp_path}/{{rank}}.sock"),
        script(DOOR),
    )

    assert agent.wait() == 1
    agent.wait_for("pong")
    agent.wait_for("ValueError: boom")
