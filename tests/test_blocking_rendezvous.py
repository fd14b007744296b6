"""Rendezvous plugins that were written for torchelastic, with real agents."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agents import DEADLINE, Agent, Launch
from lone_rendezvous import Alone, Dict
from work import end_when_asked, rank_times

from elaunch import LaunchConfig, RendezvousParameters, elastic_launch
from elaunch.blocking import adapter
from elaunch.blocking.adapter import BlockingRendezvous
from elaunch.blocking.handler import RendezvousInfo
from elaunch.blocking.registry import rendezvous_handler_registry


HERE = Path(__file__).parent

FACTS = """
import os
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME")
names += ("ROLE_WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "ELAUNCH_GENERATION")
print("facts", *(os.environ[name] for name in names), flush=True)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A directory of packages with one distribution in it."""
    site = tmp_path / "site"
    facts = site / "acme_rdzv-1.0.dist-info"
    facts.mkdir(parents=True)
    shutil.copy(HERE / "acme_rdzv.py", site)
    (facts / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: acme-rdzv\nVersion: 1.0\n"
    )
    (facts / "entry_points.txt").write_text(
        "[torchrun.handlers]\nacme = acme_rdzv:entry\nbroken = acme_rdzv:broken\n"
        "file = acme_rdzv:entry\n"
    )
    return site


Start = Callable[..., Agent]


@pytest.fixture
def start(launch: Launch, site: Path, tmp_path: Path) -> Start:
    """Start agents that meet by the plugin, in one directory."""

    def start(code: str, *flags: str, nnodes: str = "2") -> Agent:
        script = tmp_path / "worker.py"
        script.write_text(code)
        return launch(
            *("--rdzv-backend", "acme", "--rdzv-endpoint", "./meet"),
            *("--nnodes", nnodes, "--rdzv-id", "job", "--local-addr", "127.0.0.1"),
            *flags,
            str(script),
            PYTHONPATH=str(site),
        )

    return start


def facts(*agents: Agent) -> list[list[str]]:
    lines = [line for agent in agents for line in agent.lines]
    return sorted(line.split("facts ")[1].split() for line in lines if "facts" in line)


def calls(folder: Path, what: str) -> list[int]:
    """Return which processes have made a call, in order."""
    lines = (folder / "meet" / "calls").read_text().splitlines()
    return [int(line.split()[0]) for line in lines if line.endswith(what)]


def test_agents_meet_and_agree_on_ranks_of_two_roles(
    start: Start, tmp_path: Path
) -> None:
    first = start(FACTS, "--nproc-per-node", "2", "--role", "a")
    second = start(FACTS, "--nproc-per-node", "1", "--role", "b")

    assert (first.wait(), second.wait()) == (0, 0), first.output + second.output
    seen = facts(first, second)
    assert [row[0] for row in seen] == ["0", "1", "2"]
    assert {row[1] for row in seen} == {"3"}
    assert {(row[5], row[6]) for row in seen} == {("a", "2"), ("b", "1")}
    assert sorted(row[4] for row in seen if row[5] == "a") == ["0", "1"]
    assert sorted(calls(tmp_path, "shutdown")) == sorted([first.pid, second.pid])
    assert len(calls(tmp_path, "timeout=900")) == 2


FAIL_ONCE = (
    FACTS
    + """
import signal, sys
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if os.environ["RANK"] == "1":
        sys.exit(3)
    signal.pause()
"""
)


def test_a_failure_restarts_all_nodes_and_counts_once_for_the_job(start: Start) -> None:
    agents = [start(FAIL_ONCE, "--max-restarts", "1") for _ in range(2)]

    assert [agent.wait() for agent in agents] == [0, 0]
    assert [row[7:] for row in facts(*agents)] == [["0", "1"], ["1", "2"]] * 2


def test_who_spends_the_budget_closes_the_job(start: Start, tmp_path: Path) -> None:
    agent = start(FACTS + "raise SystemExit(7)", "--max-restarts", "1", nnodes="1")

    assert agent.wait() == 7
    assert [row[7] for row in facts(agent)] == ["0", "1"]
    assert calls(tmp_path, "shutdown") == [agent.pid]
    late = start(FACTS, nnodes="1")
    assert late.wait() == 4
    assert "it is closed" in late.output
    assert "Traceback" not in late.output


WAIT = FACTS + "import signal; signal.pause()"


def test_a_signal_closes_nothing(start: Start, tmp_path: Path) -> None:
    agent = start(WAIT, nnodes="1")
    agent.wait_for("facts")
    agent.send(signal.SIGINT)

    assert agent.wait() == 128 + signal.SIGINT
    assert calls(tmp_path, "shutdown") == []


def test_a_signal_while_nodes_meet_ends_the_wait_and_closes_nothing(
    start: Start, tmp_path: Path
) -> None:
    agent = start(WAIT)
    agent.wait_for("acme: meeting")
    agent.send(signal.SIGINT)

    assert agent.wait() == 128 + signal.SIGINT
    assert calls(tmp_path, "shutdown") == []


UNTIL_TWO = FACTS + "import signal\nif os.environ['WORLD_SIZE'] == '1': signal.pause()"


def test_a_node_that_comes_late_is_taken_in(start: Start) -> None:
    first = start(UNTIL_TWO, nnodes="1:2")
    first.wait_for("facts 0 1")
    second = start(UNTIL_TWO, nnodes="1:2")

    assert (first.wait(), second.wait()) == (0, 0), first.output + second.output
    seen = facts(first, second)
    assert [row[1] for row in seen].count("2") == 2
    assert {row[7] for row in seen} == {"0"}  # a newcomer costs no restart
    assert {row[8] for row in seen if row[1] == "2"} == {"2"}


def plugins(site: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "elaunch", *words],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def test_plugins_are_listed(site: Path) -> None:
    listed = json.loads(plugins(site, "plugins", "--json").stdout)
    status = {
        (row["name"], row["status"], row["version"])
        for row in listed
        if row["distribution"] == "acme-rdzv"
    }

    assert status == {
        ("acme", "ok", "1.0"),
        ("broken", "ok", "1.0"),
        ("file", "hidden", "1.0"),
    }


def test_a_plugin_that_cant_be_loaded_is_told(site: Path) -> None:
    ended = plugins(site, "run", "--rdzv-backend", "broken", "--no-python", "/bin/true")

    assert ended.returncode == 3
    assert "'broken' of acme-rdzv 1.0 failed: OSError: no licence" in ended.stderr


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Callable[[Alone], LaunchConfig]:
    """Register a handler for the time of a test; return a configuration with it."""

    def register(handler: Alone) -> LaunchConfig:
        creators = rendezvous_handler_registry._creators
        monkeypatch.setitem(creators, "alone", lambda _: handler)
        return LaunchConfig(1, 1, 2, rdzv_backend="alone")

    return register


def test_a_handler_that_a_program_registers_is_used_and_shut_down_once(
    register: Callable[[Alone], LaunchConfig],
) -> None:
    handler = Alone()

    assert elastic_launch(register(handler), rank_times)(3) == {0: 0, 1: 3}
    assert handler.calls == ["next_rendezvous", "shutdown"]


@pytest.mark.parametrize("error", [ValueError("no luck"), KeyError("none")])
def test_an_error_of_a_handler_reaches_the_caller_as_it_is(
    register: Callable[[Alone], LaunchConfig], error: Exception
) -> None:
    handler = Alone(error)
    with pytest.raises(type(error)) as caught:
        elastic_launch(register(handler), rank_times)(3)

    assert caught.value is error
    assert handler.calls == ["next_rendezvous", "shutdown"]


class Stubborn(Alone):
    """One that can't be shut down."""

    def shutdown(self) -> bool:
        super().shutdown()
        raise OSError("not now")


def test_a_shutdown_that_fails_hides_no_result(
    register: Callable[[Alone], LaunchConfig], caplog: pytest.LogCaptureFixture
) -> None:
    handler = Stubborn()

    assert elastic_launch(register(handler), rank_times)(3) == {0: 0, 1: 3}
    assert "'alone' could not be closed: OSError: not now" in caplog.text


class Hanging(Alone):
    """One that does not answer when it is asked whether nodes wait."""

    def __init__(self, asked: Path) -> None:
        super().__init__()
        self.asked = asked
        self.over = threading.Event()

    def num_nodes_waiting(self) -> int:
        os.close(os.open(self.asked, os.O_WRONLY))  # when a worker has opened it, too
        self.over.wait()
        return 0


def test_a_handler_that_hangs_does_not_hold_up_the_end(
    register: Callable[[Alone], LaunchConfig],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(adapter, "SHUTDOWN_TIMEOUT", 0.1)
    os.mkfifo(tmp_path / "asked")
    handler = Hanging(tmp_path / "asked")
    config = register(handler).evolve(nproc_per_node=1)
    late = threading.Timer(DEADLINE, handler.over.set)
    late.start()
    try:
        values = elastic_launch(config, end_when_asked)(str(handler.asked))
        assert values == {0: "done"}
        assert not handler.over.is_set()
    finally:
        late.cancel()
        handler.over.set()


class Late(Alone):
    """One whose nodes meet when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.met = threading.Event(), threading.Event()
        self.store = Dict()

    def next_rendezvous(self) -> RendezvousInfo:
        self.entered.set()
        self.met.wait(DEADLINE)
        return RendezvousInfo(self.store, 0, 1)


async def give_up(handler: Late) -> None:
    """Begin to join, and be told to stop meanwhile."""
    rendezvous = BlockingRendezvous(
        lambda: handler, RendezvousParameters(backend="alone", run_id="job")
    )
    joining = asyncio.create_task(rendezvous.join())
    await asyncio.to_thread(handler.entered.wait, DEADLINE)
    joining.cancel()
    await asyncio.wait((joining,))
    await rendezvous.aclose()


def test_a_node_that_was_stopped_while_nodes_met_promises_them_nothing() -> None:
    handler = Late()
    asyncio.run(give_up(handler))
    handler.met.set()
    for thread in threading.enumerate():
        if thread.name == "elaunch-blocking":
            thread.join(DEADLINE)

    assert handler.store.values == {}
    assert "shutdown" not in handler.calls


def test_names_are_taken_once() -> None:
    def creator(params: Any) -> Alone:
        raise AssertionError(params)

    def another(params: Any) -> Alone:
        raise AssertionError(params)

    registry = type(rendezvous_handler_registry)()
    registry.register("x", creator)
    registry.register("x", creator)
    with pytest.raises(ValueError, match="'x' is registered already"):
        registry.register("x", another)
    with pytest.raises(ValueError, match="has a name"):
        registry.register("", creator)
