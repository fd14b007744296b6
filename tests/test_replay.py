"""``elaunch replay`` asks another policy about failures that were recorded."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import forks
import pytest
from event_schema import validator


ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "node-failures.jsonl"
PAGE = ROOT / "docs" / "policies.md"


def run(*words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return forks.run(["replay", *words], stdin=stdin)


def replayed(*words: str) -> dict[str, Any]:
    ended = run("--json", *words)
    assert ended.returncode == 0, ended.stderr
    (job,) = json.loads(ended.stdout)
    assert isinstance(job, dict)
    return job


def test_the_example_is_what_agents_record() -> None:
    for line in EXAMPLE.read_text().splitlines():
        assert [e.message for e in validator().iter_errors(json.loads(line))] == []


def test_the_output_in_the_documentation_is_what_the_command_prints() -> None:
    text = PAGE.read_text().split("## What another policy")[1]
    (command,) = re.findall(r"^\$ \S+ replay (.+) \S+$", text, re.MULTILINE)
    (block,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    head, tail = block.split("...\n")

    printed = run(*command.split(), str(EXAMPLE)).stdout

    assert printed.startswith(head)
    assert printed.endswith(tail)


def test_without_flags_the_recorded_policy_is_asked() -> None:
    job = replayed(str(EXAMPLE))

    assert (job["policy"], job["max_restarts"]) == ("default", 5)
    assert (job["recorded"], job["replayed"]) == ("failed", "failed")
    assert not any(failure["differs"] for failure in job["failures"])


def test_two_policies_come_to_different_ends() -> None:
    out = ("--policy", "default:node_restarts=1,cool_down=600", str(EXAMPLE))
    progress = ("--policy", "default:no_progress=2", str(EXAMPLE))
    rows = ("--on-failure", "ending:out-of-memory=hand-back", str(EXAMPLE))

    ends = [replayed(*words) for words in (out, progress, rows)]

    assert [(job["replayed"], job["ended_after"]) for job in ends] == [
        ("went on", None),
        ("failed", 4),
        ("handed back", 1),
    ]
    excluded = [f["replayed"]["exclude"] for f in ends[0]["failures"] if f["replayed"]]
    assert excluded == [[], [], ["node-2"], [], ["node-2"]]
    assert ends[0]["failures"][3]["instead"] == "node 'node-2' is left out"


def test_events_may_come_by_a_pipe_and_with_those_of_other_jobs() -> None:
    text = EXAMPLE.read_text()
    other = text.replace('"shaky"', '"other"').replace("4711", "4712")

    both = run("--json", "-", stdin=text + other)
    one = run("--json", "--run", "other", "-", stdin=text + other)

    assert [job["run_id"] for job in json.loads(both.stdout)] == ["shaky", "other"]
    assert [job["run_id"] for job in json.loads(one.stdout)] == ["other"]


def test_a_line_that_is_no_decision_is_told_and_left_out(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text().splitlines()
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join([*lines[:-1], lines[-1][:-40]]))

    ended = run(str(file))

    assert ended.returncode == 0
    assert f"{file}:6 is no decision: " in ended.stderr
    assert "job shaky: 5 failures" in ended.stdout


def test_what_a_worker_said_does_nothing_to_a_terminal() -> None:
    text = EXAMPLE.read_text().replace("NCCL error", r"\\u001b[2Jgone")

    ended = run("-", stdin=text)

    assert "\x1b" not in ended.stdout
    assert r"\x1b[2Jgone" in ended.stdout


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("missing.jsonl",), 2, "can't read 'missing.jsonl': No such file"),
        ((str(PAGE),), 2, "no decision of a restart policy; no worker failed, or"),
        (("--run", "x", str(EXAMPLE)), 2, "no decision about 'x'; there are 'shaky'"),
        (("--policy", "wise", str(EXAMPLE)), 3, "no restart policy backend is named"),
        (("--policy", "default:x=1", str(EXAMPLE)), 2, "there is no option 'x'"),
        (("--on-failure", "x", str(EXAMPLE)), 2, "is not of the form WHEN=THEN"),
        (("--max-restarts", "-1", str(EXAMPLE)), 2, "must not be negative"),
        ((), 2, "the following arguments are required: FILE"),
    ],
)
def test_what_can_not_be_replayed_is_told(
    words: tuple[str, ...], status: int, complaint: str
) -> None:
    ended = run(*words)

    assert ended.returncode == status
    assert complaint in ended.stderr


def test_a_budget_that_was_not_recorded_is_asked_for() -> None:
    text = EXAMPLE.read_text().replace('"max_restarts": 5', '"max_restarts": null')

    assert "give --max-restarts" in run("-", stdin=text).stderr
    assert run("--max-restarts", "3", "-", stdin=text).returncode == 0
