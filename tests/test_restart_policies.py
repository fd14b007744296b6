"""What real jobs make of --on-failure and of the budgets of the policy ``default``."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import forks
import pytest
from agents import Agent, Launch, Script
from event_schema import check_events
from lone_rendezvous import Alone

from elaunch import ChildFailedError, HandedBack, LaunchConfig, elastic_launch
from elaunch.blocking.registry import rendezvous_handler_registry


def run(launch: Launch, *words: str, **env: str) -> Agent:
    agent = launch("--standalone", *words, **env)
    agent.wait()
    return agent


def starts(agent: Agent) -> int:
    return sum("worker begins" in line for line in agent.lines)


def decisions(folder: Path) -> list[dict[str, Any]]:
    events = check_events(folder.glob("events-of-*/*"))
    return [e["metadata"] for e in events if e["name"] == "policy.decided"]


@pytest.fixture
def fails(script: Script) -> Callable[[str], str]:
    """Return a script that says that it begins, and then does something."""
    return lambda code: script(f"print('worker begins', flush=True)\n{code}")


@pytest.mark.parametrize(
    ("code", "row"),
    [
        ("raise SystemExit(70)", "exit:64-78=fail"),
        ("raise ValueError('boom')", "exception:ValueError=fail"),
        ("import json; json.loads('')", "exception:json.*=fail"),
        ("raise ValueError('bad batch')", "message:*bad batch*=fail"),
        ("import os; os.kill(os.getpid(), 9)", "signal:SIGKILL=fail"),
        ("import os; os.kill(os.getpid(), 10)", "ending:signal=fail"),
    ],
)
def test_what_a_row_says_is_final_is_not_retried(
    launch: Launch, fails: Callable[[str], str], tmp_path: Path, code: str, row: str
) -> None:
    words = ("--max-restarts", "2", "--on-failure", row)

    agent = run(launch, *words, fails(code))

    assert starts(agent) == 1
    (told,) = decisions(tmp_path)
    assert told["verdict"] == "fail"
    assert told["reason"] == f"on failure {row!r}"
    assert told["on_failure"] == [row]


def test_what_no_row_fits_is_retried(
    launch: Launch, fails: Callable[[str], str], tmp_path: Path
) -> None:
    words = ("--max-restarts", "1", "--on-failure", "exit:3=fail")

    agent = run(launch, *words, fails("raise SystemExit(4)"))

    assert agent.process.returncode == 4
    assert starts(agent) == 2
    told = decisions(tmp_path)
    assert [one["verdict"] for one in told] == ["restart", "fail"]
    assert [one["history"] for one in told] == [[], [1]]


def test_rows_come_from_variables_and_files_too(
    launch: Launch, fails: Callable[[str], str], tmp_path: Path
) -> None:
    worker = fails("raise SystemExit(int(__import__('sys').argv[1]))")
    (tmp_path / "job.toml").write_text(
        'max-restarts = 1\n[on-failure]\n"exit:3,4" = "fail"\n"exit:5" = "hand-back"\n'
    )

    by_variable = run(
        launch, worker, "9", ELAUNCH_ON_FAILURE="exit:8=fail;exit:9=hand-back"
    )
    by_file = run(launch, "--config", "job.toml", worker, "4")

    assert by_variable.process.returncode == 93
    assert (by_file.process.returncode, starts(by_file)) == (4, 1)


def test_a_job_is_handed_back_to_its_scheduler(
    launch: Launch, fails: Callable[[str], str], tmp_path: Path
) -> None:
    words = ("--max-restarts", "3", "--on-failure", "exception:MemoryError=hand-back")
    report = tmp_path / "failure.json"

    agent = run(
        launch, *words, "--failure-file", str(report), fails("raise MemoryError('no')")
    )

    assert agent.process.returncode == 93
    assert "the job is handed back to its scheduler: rank 0 on" in agent.output
    assert "exception:MemoryError=hand-back" in agent.output
    kept = json.loads(report.read_text())
    assert (kept["status"], kept["handed_back"]) == (93, True)
    assert kept["root_cause"]["exception"] == "MemoryError"
    story = subprocess.run(
        [sys.executable, "-m", "elaunch", "events", f"{tmp_path}/events-of-*/*"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert re.match("job .*: handed back after ", story)
    assert "  decided: hand back: " in story


def test_a_worker_with_that_exit_code_hands_nothing_back(
    launch: Launch, fails: Callable[[str], str], tmp_path: Path
) -> None:
    report = tmp_path / "failure.json"
    worker = fails("raise SystemExit(93)")

    agent = run(launch, "--failure-file", str(report), worker)

    assert agent.process.returncode == 93
    assert json.loads(report.read_text())["handed_back"] is False
    (failed,) = [
        event["metadata"]
        for event in check_events(tmp_path.glob("events-of-*/*"))
        if event["name"] == "job.failed"
    ]
    assert failed["handed_back"] is False


def test_workers_that_die_at_their_start_are_not_tried_again(
    launch: Launch, fails: Callable[[str], str], tmp_path: Path
) -> None:
    words = ("--max-restarts", "3", "--restart-policy", "default:min_uptime=60")

    agent = run(launch, *words, fails("raise SystemExit(1)"))

    assert starts(agent) == 1
    (told,) = decisions(tmp_path)
    assert "failed within 60 s of the start of the workers" in told["reason"]
    (failure,) = json.loads(told["report"])["failures"]
    assert 0 < failure["uptime"] < 60


def test_a_row_that_makes_no_sense_is_told_with_who_said_it(
    launch: Launch, fails: Callable[[str], str]
) -> None:
    worker = fails("pass")

    typed = run(launch, "--on-failure", "exit:3", worker)
    set_ = run(launch, worker, ELAUNCH_ON_FAILURE="exti:3=fail")

    assert typed.process.returncode == set_.process.returncode == 2
    assert "--on-failure: 'exit:3' is not of the form WHEN=THEN" in typed.output
    assert "did you mean 'exit'?" in set_.output
    assert "(ELAUNCH_ON_FAILURE says so)" in set_.output


class TestNodes:
    """What a policy decides holds on all nodes of a job."""

    @pytest.fixture
    def start(
        self, launch: Launch, endpoint: str, fails: Callable[[str], str]
    ) -> Callable[..., list[Agent]]:
        """Start two agents, given the flags of each; rank 1 fails once all run."""
        code = (
            "import os, pathlib, time\n"
            "runs = pathlib.Path('runs-' + os.environ['ELAUNCH_RESTART_COUNT'])\n"
            "if os.environ['RANK'] == '1':\n"
            "    while not runs.exists(): time.sleep(0.01)\n"
            "    raise SystemExit(3)\n"
            "runs.touch()\n"
            "time.sleep(60)"
        )
        where = ("--rdzv-endpoint", endpoint, "--rdzv-id", "job", "--nnodes", "2")

        def start(*flags: tuple[str, ...]) -> list[Agent]:
            return [launch(*where, *own, fails(code)) for own in flags]

        return start

    def test_all_nodes_are_handed_back(
        self, start: Callable[..., list[Agent]], tmp_path: Path
    ) -> None:
        flags = ("--max-restarts", "1", "--restart-policy", "default:spent=hand-back")
        agents = start(flags, flags)

        assert [agent.wait() for agent in agents] == [93, 93]
        assert [starts(agent) for agent in agents] == [2, 2]
        told = decisions(tmp_path)  # by whichever node it was
        assert [one["verdict"] for one in told] == ["restart", "hand back"]
        report = json.loads(told[1]["report"])
        assert (report["group_size"], report["min_nodes"]) == (2, 2)
        assert report["failures"][0]["node"]

    def test_a_node_with_other_rows_is_refused(
        self, start: Callable[..., list[Agent]]
    ) -> None:
        (first,) = start(("--on-failure", "exit:3=fail"))
        first.wait_for("waiting: 1/2 nodes")

        (other,) = start(())

        assert other.wait() == 4
        other.wait_for("--on-failure is not given here and 'exit:3=fail' in the job")

    def test_a_real_job_can_be_replayed(
        self, start: Callable[..., list[Agent]], tmp_path: Path
    ) -> None:
        flags = ("--max-restarts", "2")
        for agent in start(flags, flags):
            agent.wait()
        files = [str(path) for path in tmp_path.glob("events-of-*/*")]

        same, other = (
            forks.run(["replay", "--json", *words, *files])
            for words in ((), ("--on-failure", "exit:3=retry:1"))
        )

        (recorded,), (replayed,) = json.loads(same.stdout), json.loads(other.stdout)
        assert [f["differs"] for f in recorded["failures"]] == [False] * 3
        assert (recorded["replayed"], recorded["ended_after"]) == ("failed", 3)
        assert (replayed["replayed"], replayed["ended_after"]) == ("failed", 2)


class TestAlone:
    """Where a plugin of torchelastic lets nodes meet, each asks its own policy."""

    @pytest.fixture
    def launched(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> Callable[..., list[dict[str, Any]]]:
        """Run workers that fail; return the decisions about them."""
        creators = rendezvous_handler_registry._creators
        monkeypatch.setitem(creators, "alone", lambda _: Alone())
        path = tmp_path / "events.jsonl"

        def launched(
            expected: type[ChildFailedError], **given: Any
        ) -> list[dict[str, Any]]:
            config = LaunchConfig(
                1,
                1,
                1,
                rdzv_backend="alone",
                event_recorders=(f"jsonl:path={path}",),
                **given,
            )
            with pytest.raises(ChildFailedError) as caught:
                elastic_launch(config, boom)()
            assert type(caught.value) is expected
            events = check_events([path])
            return [e["metadata"] for e in events if e["name"] == "policy.decided"]

        return launched

    def test_a_job_is_handed_back(
        self, launched: Callable[..., list[dict[str, Any]]]
    ) -> None:
        (told,) = launched(HandedBack, on_failure="exception:ValueError=hand-back")

        assert told["verdict"] == "hand back"

    def test_its_history_is_that_of_the_node(
        self, launched: Callable[..., list[dict[str, Any]]]
    ) -> None:
        policy = "default:min_uptime=60,quick_failures=2,backoff=0.1"

        told = launched(ChildFailedError, restart_policy=policy)

        assert [one["verdict"] for one in told] == ["restart", "fail"]
        assert [one["history"] for one in told] == [[], [1]]
        assert told[0]["delay"] == 0.1

    def test_no_node_can_be_left_out(
        self, launched: Callable[..., list[dict[str, Any]]]
    ) -> None:
        rows: Mapping[str, Any] = {"on_failure": "exception:*=exclude:5"}

        (told,) = launched(ChildFailedError, **rows)

        assert told["verdict"] == "exclude"


def boom() -> None:
    raise ValueError("boom")
