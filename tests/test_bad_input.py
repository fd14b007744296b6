"""What can't work gets one clear message, a documented exit code and no traceback."""

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import forks
import pytest
from agents import Agent, Launch


Script = Callable[[str], str]

STATIC = [
    *("run", "--rdzv-backend", "static", "--rdzv-id", "job"),
    *("--rdzv-endpoint", "127.0.0.1"),
]

PAUSE = "import signal; print('up', flush=True); signal.pause()"


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return forks.run(arguments, cwd)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["run", "--nodes", "2", "x.py"], 2, "did you mean '--nnodes'?"),
        (["run"], 2, "the following arguments are required: script\n"),
        (["hello.py"], 3, "'hello.py'; did you mean 'elaunch run hello.py'?\n"),
        (
            ["fly"],
            3,
            (
                "installed: 'beat', 'completion', 'drain', 'etcd', 'events', "
                "'explain', 'plugins', 'replay', 'restart', 'run', 'status', 'stop'\n"
            ),
        ),
        (["--standalone", "x.py"], 2, "write 'elaunch run --standalone ...'\n"),
        (["run", ""], 2, "script '' does not exist in"),
        (["rnu"], 3, "no command is named 'rnu'; did you mean 'run'?"),
        (["run", "absent.py"], 2, "script 'absent.py' does not exist in"),
        (["run", "--nnodes", "2:1", "ok.py"], 2, "1 <= MIN <= MAX, not '2:1'"),
        (["run", "--nnodes", "1:2:3", "ok.py"], 2, "--nnodes is N or MIN:MAX"),
        (["run", "--nnodes", "two", "ok.py"], 2, "--nnodes is N or MIN:MAX"),
        (["run", "--nnodes", "2", "ok.py"], 2, "give all of them the same --rdzv-end"),
        (["run", "--nproc-per-node", "0", "ok.py"], 2, "must be at least 1, not 0"),
        (
            ["run", "--nproc-per-node", "x", "ok.py"],
            2,
            "-node 'x' is unsupported: it is",
        ),
        (["run", "--standalone", "--nnodes", "2", "ok.py"], 2, "this node alone"),
        (["run", "--standalone", "--master-port", "1", "ok.py"], 2, "or --master-port"),
        (["run", "--standalone", "--rdzv-endpoint", "a", "ok.py"], 2, "or --rdzv-endp"),
        (["run", "--standalone", "--rdzv-backend", "file", "ok.py"], 2, "or --rdzv-b"),
        (
            ["run", "--rdzv-backend", "c10d", "--master-addr", "a", "ok.py"],
            2,
            "that is for the rendezvous 'static', not for --rdzv-backend c10d",
        ),
        (
            ["run", "--master-port", "1", "--rdzv-endpoint", "127.0.0.1:2", "ok.py"],
            2,
            "--master-port and --rdzv-endpoint contradict each other: '127.0.0.1:1'",
        ),
        (["run", "--master-addr", "a:1", "ok.py"], 2, "without a port, not 'a:1'"),
        (["run", "--master-port", "x", "ok.py"], 2, "invalid int value: 'x'"),
        (
            ["run", "--master-port", "70000", "ok.py"],
            2,
            "up to 65535, not 70000",
        ),
        (["run", "--rdzv-id", "a/b", "ok.py"], 2, "characters without '/'"),
        (["run", "--rdzv-conf", "x", "ok.py"], 2, "is not of the form key=value"),
        (["run", "--rdzv-conf", "join_timout=1", "ok.py"], 2, "mean 'join_timeout'?"),
        (
            ["run", "--rdzv-conf", "rank=0,rank=1", "ok.py"],
            2,
            "--rdzv-conf: 'rank' is given twice",
        ),
        (
            ["run", "--rdzv-conf", "timeout=soon", "ok.py"],
            2,
            "type float, not 'soon'",
        ),
        (["run", "--rdzv-endpoint", "h:port", "ok.py"], 2, "h:port"),
        (["run", "--rdzv-backend", "etdc-v2", "ok.py"], 3, "did you mean 'etcd-v2'?"),
        (["run", "--rdzv-backend", "zoo", "ok.py"], 3, "is named 'zoo'"),
        ([*STATIC, "--nnodes", "1:2", "ok.py"], 2, "not 1 to 2; write --nnodes 2"),
        ([*STATIC, "--nnodes", "2", "ok.py"], 2, "--node-rank or ELAUNCH_NODE_RANK"),
        (
            [*STATIC, "--nnodes", "2", "--rdzv-conf", "rank=2", "ok.py"],
            2,
            "must be from 0 to 1, not 2",
        ),
        (["run", "--numa-binding", "nodes", "ok.py"], 2, "did you mean 'node'?"),
        (["run", "--threads", "0", "ok.py"], 2, "threads must be at least 1, not 0"),
        (["run", "--env", "X", "ok.py"], 2, "--env is NAME=VALUE, not 'X'"),
        (["run", "--env", "RANK=1", "ok.py"], 2, "'RANK' is for elaunch to set"),
        (["run", "--device-variable", "X", "ok.py"], 2, "give --virtual-local-rank"),
        (["run", "--spawner", "cloud", "ok.py"], 3, "installed: 'local'"),
        (["run", "--monitor", "proces", "ok.py"], 3, "did you mean 'process'?"),
        (["run", "--monitor", "process:intervall=1", "ok.py"], 2, "'interval'?"),
        (["run", "--event-log-handler", "jsonn", "ok.py"], 3, "did you mean 'jsonl'?"),
        (["run", "--event-recorder", "jsonl:path=/proc/x/y", "ok.py"], 2, "/proc/x/y"),
        (["run", "--block-plugin", "rdzv_c10d", "ok.py"], 3, "blocked plugins: 'rdzv_"),
        (["run", "--no-python", "no-such-program"], 5, "no-such-program"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_one_message_and_one_code(
    tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    (tmp_path / "ok.py").write_text("print('ran')")
    ended = run(*arguments, cwd=tmp_path)
    errors = re.findall(r"(?m)^elaunch: error: ", ended.stderr)

    assert ended.returncode == status, ended.stderr
    assert message in ended.stderr
    assert len(errors) == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "ran" not in ended.stdout


def test_verbose_adds_the_traceback(tmp_path: Path) -> None:
    (tmp_path / "ok.py").write_text("pass")
    ended = run("run", "-v", "--spawner", "cloud", "ok.py", cwd=tmp_path)

    assert ended.returncode == 3
    assert "Traceback (most recent call last)" in ended.stderr


def test_an_unreachable_endpoint_is_told_at_once_and_given_up_in_time(
    launch: Launch, endpoint: str, script: Script
) -> None:
    conf = "connect_timeout=1.5,is_host=false"
    agent = launch("--rdzv-endpoint", endpoint, "--rdzv-conf", conf, script("pass"))
    agent.wait_for(f"waiting for the store: .*{endpoint}")

    assert agent.wait() == 4
    assert agent.lines[-1].startswith("elaunch: error: ")
    assert endpoint in agent.lines[-1]


def test_a_name_that_does_not_resolve(launch: Launch, script: Script) -> None:
    agent = launch(
        *("--rdzv-endpoint", "no-such-host.invalid:29400"),
        *("--rdzv-conf", "connect_timeout=1"),
        script("pass"),
    )

    assert agent.wait() == 4
    assert "no-such-host.invalid" in agent.lines[-1]


def test_a_port_that_something_else_has(launch: Launch, script: Script) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        agent = launch(
            *("--rdzv-endpoint", f"127.0.0.1:{port}"),
            *("--rdzv-conf", "connect_timeout=2"),
            script("pass"),
        )
        connection, _ = other.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

            assert agent.wait() == 4
    assert "is not an elaunch store" in agent.lines[-1]


def running(launch: Launch, endpoint: str, worker: str, nnodes: str) -> Agent:
    agent = launch(
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", nnodes),
        *("--rdzv-conf", "last_call_timeout=0"),
        worker,
    )
    agent.wait_for("up")
    return agent


def assert_undisturbed(agent: Agent) -> None:
    """The job still runs its first generation."""
    assert agent.process.poll() is None
    assert agent.output.count("generation") == 1


def test_a_node_with_other_settings_is_refused_and_the_job_goes_on(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(PAUSE)
    first = running(launch, endpoint, worker, "1:2")
    other = launch(
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "1:3", worker)
    )

    assert other.wait() == 4
    assert "--nnodes is 1:3 here and 1:2 in the job" in other.lines[-1]
    assert_undisturbed(first)


def test_a_node_of_another_job_is_told_so_and_the_job_goes_on(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(PAUSE)
    first = running(launch, endpoint, worker, "1:2")
    other = launch(
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "jobb", "--nnodes", "2"),
        *("--rdzv-conf", "join_timeout=1.5", worker),
    )
    other.wait_for("note: .*'job'.*'jobb'")

    assert other.wait() == 6
    assert "1 of at least 2 nodes are ready; here:" in other.lines[-1]
    assert_undisturbed(first)


GARBAGE = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x00" * 64,
    b"\xff" * 4096,
    b"\x00\xce\xf7\x85\x3c\x63",
    b"\x00\xce\xf7\x85\x3c\x01\xff\xff\xff\xff\xff\xff\xff\xff",
    b"ELAUNCH",
    b"ELAUNCH1\n\xff\xff\xff\xff",
    b"ELAUNCH1\n\x04\x00\x00\x00null",
)


def test_clients_that_speak_garbage_disturb_nobody(
    launch: Launch, endpoint: str, script: Script
) -> None:
    worker = script(PAUSE)
    first = running(launch, endpoint, worker, "1:2")
    host, port = endpoint.split(":")
    for garbage in GARBAGE:
        with socket.create_connection((host, int(port)), timeout=10) as client:
            client.sendall(garbage)
    assert_undisturbed(first)
    second = launch(
        *("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "1:2"),
        *("--rdzv-conf", "last_call_timeout=0", worker),
    )

    second.wait_for("up")
    first.wait_for("generation 2: 2 nodes")


def test_windows_is_refused_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from elaunch import LaunchConfig, UsageError, launch_agent
    from elaunch.workers import CommandEntry

    monkeypatch.setattr(sys, "platform", "win32")
    config = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=1)

    with pytest.raises(UsageError, match="on Windows, use it inside WSL"):
        launch_agent(config, CommandEntry(("true",), name="true"))
