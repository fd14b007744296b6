"""Agents are asked, and told what to do, by commands here and from elsewhere."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forks
import pytest
from agents import DEADLINE, Agent, Launch, Script
from places import SHOW, assert_agree, places_in


Elaunch = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a command of elaunch."""

Join = Callable[..., Agent]
"""Start a node of the job: its `--nnodes`, more flags, more variables."""

TOKEN = "0123456789abcdef0123"  # noqa: S105 - of a test
OPTIONS = "last_call_timeout=0,reconnect_grace=0.1"


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of one test's agents; its path is short, as sockets want it."""
    directory = Path(tempfile.mkdtemp(prefix="elaunch-"))
    monkeypatch.setenv("ELAUNCH_RUNTIME_DIR", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def elaunch(runtime: Path) -> Elaunch:
    def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        assert runtime.is_dir()
        return forks.run(words, env={**os.environ, **variables}, timeout=DEADLINE)

    return run


@pytest.fixture
def join(launch: Launch, endpoint: str, script: Script, runtime: Path) -> Join:
    assert runtime.is_dir()
    worker = script(SHOW)

    def start(nnodes: str, *flags: str, **variables: str) -> Agent:
        return launch(
            *("-v", "--rdzv-endpoint", endpoint, "--rdzv-id", "job"),
            *("--nnodes", nnodes, "--rdzv-conf", OPTIONS, "--max-restarts", "3"),
            *(*flags, worker),
            **variables,
        )

    return start


@pytest.fixture
def alone(launch: Launch, script: Script, runtime: Path) -> Callable[..., Agent]:
    """Start a job of one node."""
    assert runtime.is_dir()
    worker = script(SHOW)

    def start(run_id: str, *flags: str, **variables: str) -> Agent:
        agent = launch("--rdzv-id", run_id, *flags, worker, **variables)
        agent.wait_for("generation 1 rank 0")
        return agent

    return start


def told(ended: subprocess.CompletedProcess[str]) -> Any:
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def test_two_agents_tell_of_their_job_and_one_is_drained_at_no_cost(
    join: Join, elaunch: Elaunch
) -> None:
    host = join("1:2", "--nproc-per-node", "2")
    places_in([host], 1, workers=2)
    other = join("1:2", "--nproc-per-node", "2")
    places_in([host, other], 2, workers=2)
    shown = elaunch("status", "--members")
    first, second = sorted(
        told(elaunch("status", "job", "--members", "--json")),
        key=lambda status: bool(status["pid"] != host.pid),
    )
    metrics = elaunch("status", "--agent", str(other.pid), "--metrics")
    drained = elaunch(
        *("drain", "job", "--agent", str(other.pid), "--reason", "new kernel")
    )

    assert drained.returncode == 0, drained.stderr
    assert other.wait() == 0, other.output
    assert_agree(places_in([host], 3, workers=2), restarts=0)
    other.wait_for("asks for drain: new kernel")
    other.wait_for("elaunch: drained: new kernel$")
    host.wait_for("generation.superseded reason=.*drained: new kernel")

    for status, agent in ((first, host), (second, other)):
        assert status["pid"] == agent.pid
        assert status["state"] == "running"
        assert status["place"]["generation"] == 2
        assert status["place"]["world_size"] == 4
        assert [w["state"] for w in status["workers"]] == ["running"] * 2
        assert [m["state"] for m in status["members"]] == ["running"] * 2
    workers = {w["pid"] for w in second["workers"]}
    assert workers <= other.seen_pids | {p.pid for p in other.workers()} | workers
    assert "ranks 0-1 of 4; 0 of 3 restarts spent" in shown.stdout
    assert "ranks 2-3 of 4; 0 of 3 restarts spent" in shown.stdout
    assert 'elaunch_generation{run_id="job"} 2.0' in metrics.stdout
    assert metrics.stdout.count("elaunch_worker_up{") == 2


def test_who_drains_a_node_may_wait_until_its_agent_has_ended(
    join: Join, elaunch: Elaunch
) -> None:
    host = join("1:2")
    places_in([host], 1)
    other = join("1:2", STUBBORN="yes")
    places_in([host, other], 2)
    (worker,) = other.workers()
    late = elaunch("drain", "job", "--agent", str(other.pid), "--wait=0.5")
    other.wait_for("told to stop")
    still_there = other.process.poll() is None
    worker.send_signal(signal.SIGUSR1)
    ended = elaunch("stop", "job", "--wait")

    assert late.returncode == 124
    assert f"agent {other.pid} of run 'job' leaves its job" in late.stdout
    assert f"agent {other.pid} of run 'job' has not ended within 0.5 s" in late.stderr
    assert still_there
    assert ended.returncode == 0, ended.stderr
    assert f"agent {host.pid} of run 'job' has ended" in ended.stdout
    assert (other.wait(), host.wait()) == (0, 4)


def test_a_drain_that_waits_returns_when_the_agent_has_ended(
    join: Join, elaunch: Elaunch, tmp_path: Path
) -> None:
    """What it had to say is said by then."""
    host = join("1:2")
    places_in([host], 1)
    events = tmp_path / "events.jsonl"
    other = join("1:2", "--event-recorder", f"jsonl:path={events}")
    places_in([host, other], 2)
    ended = elaunch("drain", "job", "--wait", "--agent", str(other.pid))
    told_last = json.loads(events.read_text().splitlines()[-1])

    assert ended.returncode == 0, ended.stderr
    assert f"agent {other.pid} of run 'job' has ended" in ended.stdout
    assert told_last["name"] == "agent.finished"
    assert other.wait() == 0


def test_an_agent_that_is_killed_while_it_is_waited_for_has_ended(
    join: Join, elaunch: Elaunch
) -> None:
    host = join("1:2")
    places_in([host], 1)
    other = join("1:2", STUBBORN="yes")
    places_in([host, other], 2)
    ends: list[subprocess.CompletedProcess[str]] = []
    words = ("drain", "job", "--agent", str(other.pid), "--wait")
    waiting = threading.Thread(target=lambda: ends.append(elaunch(*words)))
    waiting.start()
    other.wait_for("told to stop")
    other.process.kill()
    waiting.join(DEADLINE)

    assert [(each.returncode, each.stderr) for each in ends] == [(0, "")]


@pytest.mark.parametrize("time", ["job", "0", "inf", "nan"])
def test_a_time_to_wait_that_is_none_is_refused(elaunch: Elaunch, time: str) -> None:
    ended = elaunch("drain", "--wait", time)

    assert ended.returncode == 2
    assert f"{time!r} is no time above 0; write --wait=SECONDS" in ended.stderr


def test_a_spare_takes_the_place_of_a_node_that_is_drained(
    join: Join, elaunch: Elaunch
) -> None:
    members = [join("2"), join("2")]
    places_in(members, 1)
    spare = join("2")
    spare.wait_for("waiting as a spare")
    drained = elaunch("drain", "--agent", str(members[1].pid))

    assert drained.returncode == 0, drained.stderr
    assert members[1].wait() == 0
    assert_agree(places_in([members[0], spare], 2), restarts=0)


def test_the_node_that_hosts_the_store_can_be_drained(
    join: Join, elaunch: Elaunch
) -> None:
    host = join("1:2")
    places_in([host], 1)
    other = join("1:2")
    places_in([host, other], 2)
    elaunch("drain", "--agent", str(host.pid))

    assert host.wait() == 0
    generation = 3
    assert_agree(places_in([other], generation), restarts=0)


def test_a_restart_starts_all_workers_anew_at_no_cost(
    join: Join, elaunch: Elaunch
) -> None:
    nodes = [join("2"), join("2")]
    places_in(nodes, 1)
    done = elaunch("restart", "job", "--reason", "new data")

    assert done.returncode == 0, done.stderr
    assert_agree(places_in(nodes, 2), restarts=0)
    for node in nodes:
        node.wait_for("restart by a user on .*: new data; stopping the workers")


def test_a_stop_ends_the_job_on_all_nodes(join: Join, elaunch: Elaunch) -> None:
    nodes = [join("2"), join("2")]
    places_in(nodes, 1)
    done = elaunch("stop", "--reason", "wrong data")

    assert done.returncode == 0, done.stderr
    assert [node.wait() for node in nodes] == [4, 4]
    for node in nodes:
        node.wait_for("error: the job was ended: stop by a user on .*: wrong data")


def test_a_node_that_waits_for_others_tells_and_can_be_drained(
    join: Join, elaunch: Elaunch
) -> None:
    node = join("2")
    node.wait_for("elaunch: waiting: 1/2 nodes")
    (status,) = told(elaunch("status", "--json"))
    shown = elaunch("status").stdout
    refused = elaunch("restart")
    elaunch("drain")

    assert status["state"] == "joining"
    assert status["waiting"]["ready"] == 1
    assert f"waiting: 1/2 nodes ({status['host']}); missing 1 more node" in shown
    assert refused.returncode == 1
    assert "the agent is joining, so there is nothing to restart" in refused.stderr
    assert node.wait() == 0


def test_the_job_of_nodes_that_wait_can_be_stopped(
    join: Join, elaunch: Elaunch
) -> None:
    node = join("2")
    node.wait_for("elaunch: waiting: 1/2 nodes")
    done = elaunch("stop")

    assert done.returncode == 0, done.stderr
    assert node.wait() == 4
    node.wait_for("stop by a user on")


def test_the_only_node_of_a_job_is_not_drained(
    alone: Callable[..., Agent], elaunch: Elaunch
) -> None:
    agent = alone("job")
    refused = elaunch("drain")
    agent.wait_for(r"asks for drain \(refused: the job has no other node that could")
    shown = elaunch("status").stdout

    assert refused.returncode == 1
    assert "no other node that could go on; 'elaunch stop' ends it" in refused.stderr
    assert "(refused: the job has no other node that could go on" in shown
    assert elaunch("stop", "job").returncode == 0
    assert agent.wait() == 4


def test_several_jobs_are_told_apart(
    alone: Callable[..., Agent], elaunch: Elaunch
) -> None:
    first, second = alone("first"), alone("second")
    everything = told(elaunch("status", "--json"))
    one = told(elaunch("status", "second", "--json"))
    unclear = elaunch("stop")
    unknown = elaunch("status", "secnd")

    assert [status["run_id"] for status in everything] == ["first", "second"]
    assert [status["pid"] for status in one] == [second.pid]
    assert unclear.returncode == 2
    assert f"agent {first.pid} of run 'first', agent {second.pid}" in unclear.stderr
    assert unknown.returncode == 1
    assert "did you mean 'second'?; runs: 'first', 'second'" in unknown.stderr
    assert elaunch("stop", "second").returncode == 0
    assert second.wait() == 4
    assert told(elaunch("status", "--json"))[0]["run_id"] == "first"


def test_jobs_of_one_id_that_meet_in_different_places_are_told_apart(
    join: Join, elaunch: Elaunch, endpoint: str, tmp_path: Path
) -> None:
    ours = [join("1:2"), join("1:2")]
    place = str(tmp_path / "store")
    elsewhere = ("--rdzv-backend", "file", "--rdzv-endpoint", place)
    theirs = join("1:2", *elsewhere, "--rdzv-conf", "last_call_timeout=0")
    theirs.wait_for("generation . rank 0")
    for node in ours:
        node.wait_for("generation . rank . of 2")

    everything = told(elaunch("status", "job", "--json"))
    shown = elaunch("status", "--endpoint", place).stdout
    unclear = [elaunch(*words) for words in (["stop", "job"], ["restart"])]
    all_of_them = elaunch("drain", "job", "--all")
    unknown = elaunch("stop", "job", "--endpoint", f"{place}d")

    assert sorted(status["endpoint"] for status in everything) == sorted(
        [endpoint, endpoint, place]
    )
    assert f"  meets by file at {place!r}" in shown.splitlines()
    assert endpoint not in shown
    for ended in (*unclear, all_of_them):
        assert ended.returncode == 2
        assert "several jobs match: agent" in ended.stderr
        assert f"agent {theirs.pid} of run 'job' at {place!r}" in ended.stderr
        assert f"of run 'job' at {endpoint!r}" in ended.stderr
        assert "with --endpoint, or with --agent PID" in ended.stderr
    assert unknown.returncode == 1
    assert f"no job that meets at '{place}d' has an agent" in unknown.stderr
    assert f"did you mean {place!r}?" in unknown.stderr

    # Two agents of one job are one job.
    assert elaunch("stop", "job", "--rdzv-endpoint", endpoint).returncode == 0
    assert [node.wait() for node in ours] == [4, 4]
    (left,) = told(elaunch("status", "--json"))
    assert (left["pid"], left["state"]) == (theirs.pid, "running")
    assert elaunch("stop", "job").returncode == 0
    assert theirs.wait() == 4


def test_where_several_agents_match_a_drain_asks_which(
    join: Join, elaunch: Elaunch
) -> None:
    nodes = [join("1:2"), join("1:2")]
    for node in nodes:
        node.wait_for("generation . rank . of 2")
    unclear = elaunch("drain", "job")
    everybody = elaunch("drain", "job", "--all")

    assert unclear.returncode == 2
    assert "name one with --agent PID, or say --all" in unclear.stderr
    assert everybody.returncode == 0, everybody.stderr
    assert [node.wait() for node in nodes] == [0, 0]


def test_nobody_answers_where_no_agent_runs(elaunch: Elaunch, runtime: Path) -> None:
    for words in (("status",), ("drain", "job"), ("stop", "--agent", "1")):
        ended = elaunch(*words)

        assert ended.returncode == 1
        assert f"answers on this host (in {str(runtime)!r})" in ended.stderr


def test_what_an_agent_that_was_killed_left_behind_is_removed(
    alone: Callable[..., Agent], elaunch: Elaunch, runtime: Path
) -> None:
    agent = alone("job")
    agent.power_off()
    left = list(runtime.iterdir())
    soon = elaunch("status")
    kept = list(runtime.iterdir())
    os.utime(left[0], (0, 0))
    later = elaunch("status")

    assert [path.name.partition("-")[0] for path in left] == [str(agent.pid)]
    assert kept == left, "an agent that has just bound it would listen in a moment"
    assert [soon.returncode, later.returncode] == [1, 1]
    assert list(runtime.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for its sockets")
def test_who_cleans_up_sees_that_the_socket_of_an_agent_is_in_use(
    alone: Callable[..., Agent], runtime: Path
) -> None:
    alone("job")
    (path,) = runtime.iterdir()
    used = Path("/proc/net/unix").read_text().splitlines()

    assert str(path) in [line.split()[-1] for line in used]


def test_an_agent_that_ends_leaves_no_socket(
    launch: Launch, script: Script, runtime: Path
) -> None:
    agent = launch("--standalone", script("pass"))

    assert agent.wait() == 0
    assert list(runtime.iterdir()) == []


def test_an_agent_that_stands_still_is_told_of(
    alone: Callable[..., Agent], elaunch: Elaunch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elaunch.endpoint import client

    agent = alone("job")
    agent.send(signal.SIGSTOP)
    monkeypatch.setattr(client, "TIMEOUT", 0.2)
    (contact,) = client.contacts(os.environ)
    ((_, answer),) = client.reachable([contact])
    agent.send(signal.SIGCONT)

    assert str(answer) == f"agent {agent.pid} has not answered for 0.2 s"
    assert told(elaunch("status", "--json"))[0]["state"] == "running"


def test_beside_an_agent_that_stands_still_no_other_is_guessed_to_be_meant(
    alone: Callable[..., Agent],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from elaunch import cli
    from elaunch.endpoint import client

    silent, other = alone("silent"), alone("other")
    monkeypatch.setattr(client, "TIMEOUT", 2.0)
    silent.send(signal.SIGSTOP)

    def ended(*words: str) -> int:
        return cli.main(words)

    capsys.readouterr()
    assert ended("stop") == 2
    assert "may be meant; name a job by its id" in capsys.readouterr().err
    assert ended("status", "--json") == 1
    shown = capsys.readouterr()
    assert [status["pid"] for status in json.loads(shown.out)] == [other.pid]
    assert f"error: agent {silent.pid} has not answered for 2 s" in shown.err
    assert ended("stop", "other") == 0
    assert other.wait() == 4
    silent.send(signal.SIGCONT)


def test_a_node_that_can_not_be_drained_keeps_no_other_from_it(
    alone: Callable[..., Agent], join: Join, elaunch: Elaunch
) -> None:
    lonely, waiting = alone("a"), join("2")
    waiting.wait_for("elaunch: waiting: 1/2 nodes")
    ended = elaunch("drain", "--all")

    assert ended.returncode == 1
    assert ended.stdout == f"elaunch: agent {waiting.pid} of run 'job' leaves its job\n"
    assert f"error: agent {lonely.pid}: the job has no other node" in ended.stderr
    assert waiting.wait() == 0


def test_who_listens_and_is_no_agent_is_told_of(elaunch: Elaunch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            with listener.accept()[0] as own:
                own.recv(4096)
                own.sendall(b"HTTP/1.1 200 OK\r\n\r\n{}")

        answering = threading.Thread(target=answer)
        answering.start()
        ended = elaunch("status", "--at", place, ELAUNCH_CONTROL_TOKEN=TOKEN)
        answering.join(DEADLINE)

    assert ended.returncode == 1
    assert f"the agent at {place} gives no answer of an agent" in ended.stderr


def test_who_reads_only_the_beginning_of_a_status_sees_no_traceback(
    alone: Callable[..., Agent],
) -> None:
    alone("job")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        words = [sys.executable, "-m", "elaunch", "status"]
        ended = subprocess.run(
            words, stdout=writing, stderr=subprocess.PIPE, timeout=DEADLINE, check=False
        )
    finally:
        os.close(writing)

    assert (ended.returncode, ended.stderr) == (0, b"")


def test_who_wants_no_endpoint_has_none(
    alone: Callable[..., Agent], elaunch: Elaunch, runtime: Path
) -> None:
    alone("job", "--control", "none")

    assert list(runtime.iterdir()) == []
    assert elaunch("status").returncode == 1


def test_a_directory_of_others_costs_the_endpoint_and_not_the_job(
    launch: Launch, script: Script, elaunch: Elaunch, runtime: Path
) -> None:
    runtime.chmod(0o770)
    agent = launch("--standalone", script("pass"))
    status = agent.wait()
    asked = elaunch("status")

    assert status == 0
    agent.wait_for(
        "'elaunch status' won't find this agent: .* has mode 0770.*; set "
        f"ELAUNCH_RUNTIME_DIR to use another directory than {str(runtime)!r}"
    )
    assert asked.returncode == 1
    assert "has mode 0770; it must be this user's" in asked.stderr


def test_on_the_network_it_wants_a_token(
    alone: Callable[..., Agent], elaunch: Elaunch, endpoint: str
) -> None:
    agent = alone("job", "--control", endpoint, ELAUNCH_CONTROL_TOKEN=TOKEN)
    right = elaunch("status", "--at", endpoint, ELAUNCH_CONTROL_TOKEN=TOKEN)
    wrong = elaunch("stop", "--at", endpoint, ELAUNCH_CONTROL_TOKEN=TOKEN[::-1])
    without = elaunch("stop", "--at", endpoint)
    here = told(elaunch("status", "--json"))

    assert right.stdout.startswith(f"run 'job': agent {agent.pid} on ")
    assert "show the token" in wrong.stderr
    assert "wants a token: set ELAUNCH_CONTROL_TOKEN" in without.stderr
    assert [status["pid"] for status in here] == [agent.pid]
    done = elaunch("stop", "--at", endpoint, ELAUNCH_CONTROL_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    assert agent.wait() == 4
    assert TOKEN not in agent.output
    gone = elaunch("status", "--at", endpoint, ELAUNCH_CONTROL_TOKEN=TOKEN)
    assert gone.returncode == 1
    assert f"at {endpoint}" in gone.stderr


@pytest.mark.parametrize(
    ("place", "token", "error"),
    [
        ("127.0.0.1:1", "", "must show a token: set ELAUNCH_CONTROL_TOKEN"),
        ("127.0.0.1:1", "short", "must have from 16"),
        ("192.0.2.1:9400", TOKEN, "192.0.2.1:9400"),
        ("somewhere", "", "control is unix, none or a place"),
    ],
)
@pytest.mark.usefixtures("runtime")
def test_a_place_that_can_not_be_used_is_refused(
    launch: Launch, script: Script, place: str, token: str, error: str
) -> None:
    flags = ("--standalone", "--control", place, script("pass"))
    agent = launch(*flags, ELAUNCH_CONTROL_TOKEN=token)

    assert agent.wait() == 2, agent.output
    agent.wait_for(error)


def test_many_who_say_nothing_keep_nobody_from_asking(
    alone: Callable[..., Agent], elaunch: Elaunch, runtime: Path
) -> None:
    agent = alone("job")
    (path,) = runtime.iterdir()
    with contextlib.ExitStack() as stack:
        for number in range(200):
            own = stack.enter_context(socket.socket(socket.AF_UNIX))
            own.connect(str(path))
            # Who was there longest may have been sent away already.
            with contextlib.suppress(ConnectionError):
                own.sendall((b"", b"GET /status HT", b"\xff" * 100)[number % 3])
        (status,) = told(elaunch("status", "--json"))
        elaunch("stop")

        assert status["state"] == "running"
        assert agent.wait() == 4


def test_metrics_without_what_makes_them_tell_how_to_get_it(
    alone: Callable[..., Agent], elaunch: Elaunch, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "prometheus_client.py").write_text(
        "raise ModuleNotFoundError('none', name='prometheus_client')"
    )
    alone("job", PYTHONPATH=str(hidden))
    ended = elaunch("status", "--metrics")

    assert ended.returncode == 1
    assert "pip install 'elaunch[prometheus]'" in ended.stderr
