"""A job in a worker of another job, and jobs in threads: each is one of its own."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agents import Launch
from nested_work import (
    config,
    launch_inner,
    launch_refusing,
    launch_refusing_once,
    place,
    refuse,
)
from places import Script

from elaunch import ChildFailedError, elastic_launch
from elaunch.environ import BY_AGENT, BY_BOOTSTRAP, BY_SPAWNER, TABLE


BY_PARTS = BY_AGENT.keys() | BY_BOOTSTRAP.keys() | BY_SPAWNER.keys()
OURS = {variable.name for variable in TABLE} | BY_PARTS
"""All variables that say something of a worker or its job."""


def test_values_of_inner_jobs_come_up_through_the_outer_one() -> None:
    assert elastic_launch(config(), launch_inner)(3) == {
        0: {0: (0, "3"), 1: (1, "3"), 2: (2, "3")},
        1: {0: (100, "3"), 1: (101, "3"), 2: (102, "3")},
    }


def test_what_fails_in_an_inner_job_is_the_root_cause_of_the_outer_one() -> None:
    with pytest.raises(ChildFailedError) as caught:
        elastic_launch(config(), launch_refusing)()

    rank, first = caught.value.get_first_failure()
    assert rank == 1
    assert "ArithmeticError: the inner one refused" in first.message


def test_a_failure_of_an_inner_job_costs_a_restart_of_the_outer_one(
    tmp_path: Path,
) -> None:
    """The inner one begins anew, with a counter of its own."""
    flag = str(tmp_path / "flag")
    launched = elastic_launch(config(1, max_restarts=1), launch_refusing_once)(flag)

    assert launched == {0: ("1", {0: "0"})}


def test_threads_launch_jobs_side_by_side() -> None:
    def launch(base: int) -> dict[int, Any]:
        return elastic_launch(config(), place)(base)

    with ThreadPoolExecutor(3) as pool:
        values = list(pool.map(launch, (10, 20, 30)))

    assert values == [{0: (n, "2"), 1: (n + 1, "2")} for n in (10, 20, 30)]


def test_a_failure_reaches_the_thread_that_launched() -> None:
    with ThreadPoolExecutor(1) as pool:
        failed = pool.submit(elastic_launch(config(), refuse), "1")
        error = failed.exception(timeout=120)

    assert isinstance(error, ChildFailedError)
    assert error.get_first_failure()[0] == 1


INNER = """
import json, os, sys
print("inner", json.dumps(dict(os.environ)), flush=True)
sys.exit(int(os.environ.get("INNER_STATUS", "0")))
"""

OUTER = """
import json, os, subprocess, sys
print("outer", json.dumps(dict(os.environ)), flush=True)
command = [sys.executable, "-m", "elaunch", "run", *os.environ["INNER"].split()]
sys.exit(subprocess.run(command).returncode)
"""


def run_nested(
    launch: Launch, script: Script, tmp_path: Path, flags: str
) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Run a job of two workers, each of which runs one, too.

    Returns:
        The exit status, and the environments of outer and inner workers.
    """
    inner = tmp_path / "inner.py"
    inner.write_text(INNER)
    agent = launch(
        *("--nproc-per-node", "2", "--role", "around", script(OUTER)),
        INNER=f"{flags} {inner}",
    )
    status = agent.wait()
    return status, {
        which: [json.loads(m[1]) for m in agent.wait_for(f"{which} ({{.*}})", count)]
        for which, count in (("outer", 2), ("inner", 2))
    }


JAX = {name for name in BY_BOOTSTRAP if name.startswith("JAX_")}
TORCH = BY_BOOTSTRAP.keys() - JAX


@pytest.mark.parametrize(
    ("bootstrap", "names"),
    [("c10d", TORCH), ("port", TORCH), ("jax", JAX), ("none", set())],
)
def test_a_worker_of_an_inner_job_is_told_nothing_of_the_outer_one(
    launch: Launch, script: Script, tmp_path: Path, bootstrap: str, names: set[str]
) -> None:
    status, seen = run_nested(launch, script, tmp_path, f"--bootstrap {bootstrap}")
    around = seen["outer"]
    own = {"ELAUNCH_RUN_ID", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_ERROR_FILE"}

    assert status == 0
    assert sorted(worker["RANK"] for worker in around) == ["0", "1"]
    for worker in seen["inner"]:
        assert OURS & worker.keys() == OURS - (BY_BOOTSTRAP.keys() - names)
        assert (worker["RANK"], worker["WORLD_SIZE"]) == ("0", "1")
        assert worker["ROLE_NAME"] == "default"
        files = {"ELAUNCH_CHANNEL", "ELAUNCH_NOTICE_FILE"}
        for name in own | files | (names & {"MASTER_PORT"}):
            assert worker[name] not in {outer[name] for outer in around}


def test_the_exit_status_of_an_inner_job_is_that_of_the_outer_one(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    inner = tmp_path / "inner.py"
    inner.write_text(INNER)
    agent = launch(script(OUTER), INNER=f"-q {inner}", INNER_STATUS="42")

    assert agent.wait() == 42
