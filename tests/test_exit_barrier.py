"""A node whose workers have succeeded waits for the others, unless told how long."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest


CODE = """
import json, sys
sys.path.insert(0, {here!r})
from barrier_work import run_node
print(json.dumps(run_node(*json.loads(sys.argv[1]))))
"""


Node = subprocess.Popen[str]


@pytest.fixture
def flag(tmp_path: Path) -> str:
    path = tmp_path / "flag"
    os.mkfifo(path)
    return str(path)


@pytest.fixture
def nodes(
    endpoint: str, flag: str, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[list[Node]]:
    """Two nodes; the parameter is how long the second one waits for the first."""
    code = CODE.format(here=str(Path(__file__).parent))
    found = []
    for number, timeout in enumerate((None, request.param)):
        arguments = [endpoint, timeout, flag, str(tmp_path / f"{number}.jsonl")]
        found.append(
            subprocess.Popen(
                [sys.executable, "-c", code, json.dumps(arguments)],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        if number == 0:
            # Rank 0 is who came first.
            wait_for_event(tmp_path / "0.jsonl", "rendezvous.coordinator")
    yield found
    for node in found:
        node.kill()
        node.communicate(timeout=120)


def wait_for_event(path: Path, name: str) -> None:
    ticks = threading.Event()
    for _ in range(600):
        if path.exists() and f'"{name}"' in path.read_text():
            return
        ticks.wait(0.05)
    raise AssertionError(f"no {name} in {path}")


def result(node: Node) -> dict[str, str]:
    output, _ = node.communicate(timeout=120)
    assert node.returncode == 0
    found: dict[str, str] = json.loads(output)
    return found


@pytest.mark.parametrize("nodes", [0.0], indirect=True)
def test_it_leaves_with_its_values_and_the_others_go_on(
    nodes: list[Node], flag: str, tmp_path: Path
) -> None:
    first, second = nodes

    assert result(second) == {"1": "quick"}
    assert first.poll() is None
    Path(flag).write_text("slow")
    assert result(first) == {"0": "slow"}
    told = [(tmp_path / f"{number}.jsonl").read_text() for number in (0, 1)]
    assert ["job.succeeded" in text for text in told] == [True, False]


@pytest.mark.parametrize("nodes", [None], indirect=True)
def test_without_a_limit_it_waits(nodes: list[Node], flag: str, tmp_path: Path) -> None:
    first, second = nodes
    wait_for_event(tmp_path / "1.jsonl", "group.succeeded")

    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(timeout=0.5)
    Path(flag).write_text("slow")
    assert [result(first), result(second)] == [{"0": "slow"}, {"1": "quick"}]
