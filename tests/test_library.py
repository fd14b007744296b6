"""`elastic_launch` as programs use it."""

import asyncio
import functools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import work
from work import ask, fail_once, raise_on_rank_one, rank_times, vanish

from elaunch import (
    ChildFailedError,
    LaunchConfig,
    PluginError,
    SpawnError,
    UnknownBackend,
    UsageError,
    elastic_launch,
    launch_agent,
)
from elaunch.health import HealthCheckServer, create_healthcheck_server
from elaunch.launcher.api import make_entry
from elaunch.workers import FunctionEntry


def config(workers: int = 2, **changes: Any) -> LaunchConfig:
    return LaunchConfig(
        **{"min_nodes": 1, "max_nodes": 1, "nproc_per_node": workers, **changes}
    )


def test_a_function_gives_its_values_by_global_rank() -> None:
    assert elastic_launch(config(3), rank_times)(7) == {0: 0, 1: 7, 2: 14}


def test_a_closure_travels() -> None:
    offset = 40

    def add() -> int:
        return offset + int(os.environ["RANK"])

    assert elastic_launch(config(), add)() == {0: 40, 1: 41}


def test_a_command_gives_none() -> None:
    launched = elastic_launch(config(), sys.executable)("-c", "print('hi')")

    assert launched == {0: None, 1: None}


def test_an_agent_is_launched_with_torchelastics_call_or_an_entry() -> None:
    entry = FunctionEntry(rank_times, (3,), name="times")

    assert launch_agent(LaunchConfig(1, 1, 2), rank_times, [2]) == {0: 0, 1: 2}
    assert launch_agent(config(), entry) == {0: 0, 1: 3}
    with pytest.raises(UsageError, match="'times' is an entry with arguments of its"):
        launch_agent(config(), entry, [2])
    for nothing in (None, ""):
        with pytest.raises(UsageError, match="a function or the path of a program"):
            launch_agent(config(), nothing)


@pytest.fixture
def health() -> Iterator[HealthCheckServer]:
    """A server of the program's own."""
    server = create_healthcheck_server(time.time, 0, 60)
    server.start()
    yield server
    server.stop()


def test_a_health_check_server_of_a_program_is_stopped_at_the_end(
    health: HealthCheckServer,
) -> None:
    place = f"127.0.0.1:{health.port}"

    assert elastic_launch(config(), ask, health)(place) == {0: 200, 1: 200}
    with pytest.raises(urllib.error.URLError):
        ask(place)


def test_a_health_check_server_of_a_program_is_stopped_after_an_error(
    health: HealthCheckServer,
) -> None:
    with pytest.raises(UsageError):
        launch_agent(config(), None, (), health)
    assert health.port == 0


@pytest.mark.parametrize(
    ("entrypoint", "args", "name"),
    [
        (rank_times, (), "rank_times"),
        (functools.partial(rank_times, 1), (), "functools.partial("),
        (sys.executable, ("-u", "train.py", "--fast"), "train.py"),
        (sys.executable, ("-u",), sys.executable),
        ("/bin/true", ("x",), "/bin/true"),
    ],
)
def test_what_is_launched_has_torchelastics_names(
    entrypoint: Any, args: tuple[str, ...], name: str
) -> None:
    assert make_entry(entrypoint, args).name.startswith(name)


def test_an_error_of_a_port_reaches_the_caller_as_it_is() -> None:
    launch = elastic_launch(config(event_log_handler="nowhere"), rank_times)
    with pytest.raises(UnknownBackend, match=r"no event recorder .* 'nowhere'"):
        launch(1)


def test_a_function_that_raises_is_the_root_cause() -> None:
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(config(max_restarts=0), raise_on_rank_one)()

    rank, first = caught.value.get_first_failure()
    assert rank == 1
    assert first.message == "KeyError: 'nope'"
    assert first.location.startswith(work.__file__)
    assert caught.value.name == "raise_on_rank_one"
    assert "KeyError: 'nope'" in str(caught.value)


def test_a_failure_is_retried_while_the_budget_lasts(tmp_path: Path) -> None:
    flag = str(tmp_path / "flag")

    assert elastic_launch(config(1, max_restarts=1), fail_once)(flag) == {0: "1"}


def test_a_worker_that_vanishes_without_a_value_has_failed() -> None:
    with pytest.raises(ChildFailedError, match="without returning a value") as caught:
        elastic_launch(config(1, max_restarts=0), vanish)()

    assert caught.value.status == 8


def test_a_program_that_does_not_exist() -> None:
    with pytest.raises(SpawnError, match="no-such-program"):
        elastic_launch(config(), "no-such-program")()


def test_an_unknown_backend() -> None:
    with pytest.raises(PluginError, match="no spawner backend is named 'x'"):
        elastic_launch(config(spawner="x"), rank_times)(1)


def test_it_works_in_another_thread() -> None:
    results: list[dict[int, Any]] = []
    thread = threading.Thread(
        target=lambda: results.append(elastic_launch(config(), rank_times)(2))
    )
    thread.start()
    thread.join(timeout=120)

    assert results == [{0: 0, 1: 2}]


def test_it_works_inside_a_running_loop() -> None:
    async def notebook() -> dict[int, Any]:
        return elastic_launch(config(), rank_times)(3)

    assert asyncio.run(notebook()) == {0: 0, 1: 3}


def test_signal_handlers_are_given_back() -> None:
    def mine(*_: object) -> None:
        raise AssertionError("nobody sends it")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    own = signal.signal(signal.SIGUSR1, mine)
    try:
        before = [signal.getsignal(number) for number in numbers]
        elastic_launch(config(1), rank_times)(1)
        after = [signal.getsignal(number) for number in numbers]
    finally:
        signal.signal(signal.SIGUSR1, own)

    assert after == before


def test_jobs_run_side_by_side() -> None:
    code = (
        "from elaunch import *; import os;"
        "c = LaunchConfig(min_nodes=1, max_nodes=1, nproc_per_node=2);"
        "print(elastic_launch(c, os.getenv)('WORLD_SIZE'))"
    )
    jobs = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]

    assert [job.communicate(timeout=120)[0] for job in jobs] == [
        "{0: '2', 1: '2'}\n"
    ] * 4


def test_events_tell_the_whole_story(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    elastic_launch(
        config(1, max_restarts=1, event_recorders=(f"jsonl:path={path}",)), fail_once
    )(str(tmp_path / "flag"))
    events = [json.loads(line) for line in path.read_text().splitlines()]

    # The coordinator tells what it decided while its own node hears of it.
    told = [event["name"] for event in events]
    told.remove("policy.decided")

    assert told == [
        "node.address",
        "agent.started",
        "store.hosted",
        "rendezvous.joining",
        "rendezvous.coordinator",
        "generation.joined",
        "bootstrap.ready",
        "worker.started",
        "group.started",
        "worker.failed",
        "group.stopping",
        "generation.superseded",
        "group.stopped",
        "generation.joined",
        "bootstrap.ready",
        "worker.started",
        "group.started",
        "worker.succeeded",
        "group.succeeded",
        "rendezvous.left",
        "job.succeeded",
        "agent.finished",
    ]
    assert {event["schema"] for event in events} == {1}
    assert len({event["run_id"] for event in events}) == 1
    stamps = [event["timestamp"] for event in events]
    assert stamps == sorted(stamps)
    assert [e["source"] for e in events if e["name"] == "worker.failed"] == ["WORKER"]


def test_a_recorder_that_raises_is_disabled_and_the_job_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def record(self, _: object) -> None:
            raise OSError("disk full")

        def close(self) -> None:
            raise OSError("still full")

    launched = elastic_launch(config(1), rank_times, recorders=[Broken()])(1)

    assert launched == {0: 0}
    assert caplog.text.count("OSError: disk full") == 1
    assert caplog.text.count("OSError: still full") == 1
