"""A worker that launches a job of its own, with its agent's variables around it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agents import Launch


Script = Callable[[str], str]

INNER = """
import os
print("inner", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], flush=True)
"""

OUTER = """
import os, subprocess, sys
print("outer of", os.environ["WORLD_SIZE"], flush=True)
sys.exit(subprocess.call([sys.executable, "-m", "elaunch", "run", *{flags}, {inner!r}]))
"""


@pytest.fixture
def inner(tmp_path: Path) -> str:
    path = tmp_path / "inner.py"
    path.write_text(INNER)
    return str(path)


def test_a_job_alone_in_a_worker_hears_nothing_of_the_outer_jobs_place(
    launch: Launch, endpoint: str, script: Script, inner: str
) -> None:
    outer = script(OUTER.format(flags=["--standalone"], inner=inner))
    place = {
        "PET_NNODES": "2",
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": endpoint,
        "PET_RDZV_ID": "outer",
        "ELAUNCH_RDZV_CONF": "last_call_timeout=0",
    }
    agents = [launch(outer, PET_NODE_RANK=str(rank), **place) for rank in range(2)]

    assert [agent.wait() for agent in agents] == [0, 0]
    for agent in agents:
        assert agent.output.count("outer of 2") == 1
        assert agent.output.count("inner 0 of 1") == 1


def test_a_flag_counts_before_what_a_worker_has_inherited(
    script: Script, inner: str
) -> None:
    outer = script(OUTER.format(flags=["--nproc-per-node", "1"], inner=inner))
    ended = subprocess.run(
        [sys.executable, "-m", "elaunch", "run", "-q", outer],
        env={"PET_NPROC_PER_NODE": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )

    assert ended.stdout.count("outer of 2") == 2
    assert ended.stdout.count("inner 0 of 1") == 2
