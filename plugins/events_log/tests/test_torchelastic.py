"""A run as its consumers know it from torchelastic."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


STATES = [
    ("RENDEZVOUS", "AGENT"),
    ("ASSIGN_WORKER_RANKS", "AGENT"),
    ("START", "WORKER"),
    ("START", "WORKER"),
    ("SUCCEEDED", "WORKER"),
    ("SUCCEEDED", "WORKER"),
    ("SUCCEEDED", "AGENT"),
]


def ours(cwd: Path, *arguments: str) -> list[dict[str, Any]]:
    recorder = "jsonl:path=e.jsonl,format=torchelastic"
    subprocess.run(
        [
            *(sys.executable, "-m", "elaunch", "run", "--standalone"),
            *("--nproc-per-node", "2", "--event-recorder", recorder, *arguments),
        ],
        cwd=cwd,
        capture_output=True,
        timeout=200,
        check=False,
    )
    return [json.loads(line) for line in (cwd / "e.jsonl").read_text().splitlines()]


def states(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["name"].rpartition(".")[2], e["source"]) for e in events]


def test_a_run_has_the_events_of_torchelastic_each_once(tmp_path: Path) -> None:
    events = ours(tmp_path, "--no-python", "true")

    assert states(events) == STATES
    started = events[2]["metadata"]
    assert (started["global_rank"], started["rdzv_backend"]) == (0, "c10d")
    assert json.loads(started["metadata"])["entry_point"] == "true"


def test_torchruns_console_prints_what_torchelastics_does(tmp_path: Path) -> None:
    told = subprocess.run(
        [
            *(sys.executable, "-m", "elaunch", "run", "-q", "--standalone"),
            *("--nproc-per-node", "2", "--event-log-handler", "console"),
            *("--no-python", "true"),
        ],
        cwd=tmp_path,
        capture_output=True,
        timeout=200,
        check=True,
    )

    assert states([json.loads(line) for line in told.stderr.splitlines()]) == STATES


def test_a_run_with_a_restart_tells_each_workers_end_once(tmp_path: Path) -> None:
    (tmp_path / "w.py").write_text(FAILS_ONCE)
    events = ours(tmp_path, "--max-restarts", "1", "w.py")

    assert states(events) == STATES[:4] + STATES
    assert [e["metadata"]["agent_restarts"] for e in events] == [0] * 4 + [1] * 7


def test_a_run_that_fails_has_the_error_of_its_worker(tmp_path: Path) -> None:
    (tmp_path / "w.py").write_text("raise ValueError('boom')")
    events = ours(tmp_path, "w.py")

    assert states(events)[:4] == STATES[:4]
    assert sorted(states(events)[4:]) in (
        [("FAILED", "WORKER"), ("FAILED", "WORKER"), ("SUCCEEDED", "AGENT")],
        [("FAILED", "WORKER"), ("SUCCEEDED", "AGENT"), ("TERMINATED", "WORKER")],
    )
    failed = next(e for e in events if e["name"].endswith("FAILED"))["metadata"]
    error = json.loads(failed["raw_error"])["message"]
    assert error["message"] == "ValueError: boom"
    assert "ValueError: boom" in error["extraInfo"]["py_callstack"]
    assert json.loads(failed["metadata"])["exit_code"] == [1]


@pytest.mark.interop
def test_torchelastic_records_the_same(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "theirs.py").write_text(THEIRS)
    told = subprocess.run(
        [sys.executable, "theirs.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    theirs = json.loads(told.stdout.splitlines()[-1])
    events = ours(tmp_path, "--no-python", "true")

    assert states(theirs) == states(events)
    for their, our in zip(theirs, events, strict=True):
        assert list(our) == list(their)
        assert list(our["metadata"]) == list(their["metadata"])
        inner = (json.loads(e["metadata"]["metadata"]) for e in (their, our))
        assert len({tuple(facts) for facts in inner}) == 1
        for key in ("global_rank", "role", "state", "rdzv_backend", "agent_restarts"):
            assert our["metadata"][key] == their["metadata"][key]


FAILS_ONCE = """
import os
if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0" and os.environ["RANK"] == "0":
    raise ValueError("boom")
"""

THEIRS = """
import json, logging
from torch.distributed.elastic.events import handlers
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

class Keep(logging.Handler):
    def emit(self, record):
        events.append(json.loads(record.getMessage()))

events = []
handlers._log_handlers["keep"] = Keep()
config = LaunchConfig(
    min_nodes=1, max_nodes=1, nproc_per_node=2, run_id="job", rdzv_backend="c10d",
    rdzv_endpoint="localhost:0", event_log_handler="keep", monitor_interval=0.1,
    role="default",
)
elastic_launch(config, "true")()
print(json.dumps(events))
"""
