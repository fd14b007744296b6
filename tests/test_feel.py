"""What a run says: a few whole lines, more with -v, nothing with -q until it fails."""

import re
from collections.abc import Callable

import pytest
from agents import Launch


Script = Callable[[str], str]

FAIL = "import os\nif os.environ['RANK'] == '1':\n    raise ValueError('boom')\n"


def ours(output: str) -> list[str]:
    """Return the agent's own lines."""
    return [line for line in output.splitlines() if not re.match(r"\[\d+\] ", line)]


def test_a_good_run_says_two_lines(launch: Launch, script: Script) -> None:
    worker = script("print('hello')")
    agent = launch("--standalone", "--nproc-per-node", "2", worker)

    assert agent.wait() == 0
    assert ours(agent.output) == [
        "elaunch: generation 1: 1 node, 2 workers, ranks 0-1 here",
        "elaunch: the job succeeded",
    ]
    assert sorted(set(agent.lines) - set(ours(agent.output))) == [
        "[0] hello",
        "[1] hello",
    ]


def test_a_single_worker_speaks_for_itself(launch: Launch, script: Script) -> None:
    agent = launch("-q", "--standalone", script("print('hello')"))

    assert agent.wait() == 0
    assert agent.lines == ["hello"]


def test_a_restart_says_why(launch: Launch, script: Script) -> None:
    code = "import os, sys\nif os.environ['ELAUNCH_GENERATION'] == '1': sys.exit(3)\n"
    agent = launch("--standalone", "--max-restarts", "1", script(code))

    assert agent.wait() == 0
    assert agent.lines == [
        "elaunch: generation 1: 1 node, 1 worker, rank 0 here",
        "elaunch: rank 0 failed: ended with exit code 3; stopping the workers",
        "elaunch: generation 2 after restart 1: 1 node, 1 worker, rank 0 here",
        "elaunch: the job succeeded",
    ]


@pytest.mark.parametrize("voice", [(), ("-q",)])
def test_a_failure_ends_with_its_report(
    launch: Launch, script: Script, voice: tuple[str, ...]
) -> None:
    worker = script(FAIL)
    agent = launch(*voice, "--standalone", "--nproc-per-node", "4", worker)

    assert agent.wait() == 1
    said = ours(agent.output)
    report = said.index(next(line for line in said if "root cause" in line))
    assert said[report].startswith("elaunch: error: ")
    assert "rank 1 (local rank 1, role 'default') on host" in said[report]
    assert said[report].endswith("exit code 1")
    assert said[report + 2 : report + 4] == [
        "  error: ValueError: boom",
        f"  at: {worker}:3",
    ]
    assert said[-2] == "    ValueError: boom"
    assert said[-1].startswith("the same as JSON: ")
    assert report == (0 if voice else 2)


def test_verbose_says_every_event(launch: Launch, script: Script) -> None:
    agent = launch("-v", "--standalone", script("pass"))

    assert agent.wait() == 0
    for event in ("agent.started", "worker.started", "worker.succeeded"):
        agent.wait_for(re.escape(event))


def test_lines_of_many_workers_are_never_broken(launch: Launch, script: Script) -> None:
    code = (
        "import os\n"
        "for n in range(500):\n"
        "    print('x' * (n % 97), os.environ['RANK'], n)\n"
    )
    agent = launch("-q", "--standalone", "--nproc-per-node", "6", script(code))

    assert agent.wait() == 0
    expected = [f"[{r}] {'x' * (n % 97)} {r} {n}" for r in range(6) for n in range(500)]
    assert sorted(agent.lines) == sorted(expected)
