"""A worker that hangs is found, shown, and started again; the job ends well."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from agents import Launch, Script


BEGIN = """
import ctypes, os, re, signal, sys, time
from elaunch.worker import heartbeat

def beat():
    global step
    step += 1
    heartbeat(step)
    print("step", step, flush=True)
    time.sleep(0.05)  # those that come faster are left out

def goes_on():
    while True:
        beat()

step, again = 0, os.environ["ELAUNCH_RESTART_COUNT"] != "0"
for _ in range(5):
    beat()
if again:
    sys.exit(0)
if os.environ["RANK"] == "0":
    goes_on()

def hangs_here():
"""

HANGS = {
    "asleep": "time.sleep(3600)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
    "a pattern": "re.match('(a|aa)+$', 'a' * 200 + 'b')",
    "in C with the interpreter's lock": (
        "libc, mutex = ctypes.PyDLL(None), ctypes.create_string_buffer(64)\n"
        "    libc.pthread_mutex_lock(mutex)\n"
        "    libc.pthread_mutex_lock(mutex)"
    ),
}


ROOT = Path(__file__).parent.parent


def told(path: Path, name: str) -> list[dict[str, Any]]:
    """Return what events of a name say."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    return [each["metadata"] for each in events if each["name"] == name]


HEARTBEAT = ("heartbeat:limit=3,startup=25,warmup=1", "its last step was 5")
OUTPUT = ("output:silence=3", "has written nothing for ")


@pytest.mark.parametrize(
    ("how", "watch"),
    [*((how, HEARTBEAT) for how in HANGS), ("asleep", OUTPUT)],
    ids=str,
)
def test_who_hangs_is_found_and_shown_and_the_job_ends_well(
    launch: Launch, script: Script, tmp_path: Path, how: str, watch: tuple[str, str]
) -> None:
    """How it hangs makes no difference to who finds it, but to who shows it."""
    hang, (monitor, reason) = HANGS[how], watch
    events = tmp_path / "events.jsonl"
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        *("--monitor", monitor, "--event-recorder", f"jsonl:path={events}"),
        *("--shutdown-timeout", "5", script(f"{BEGIN}    {hang}\n\nhangs_here()\n")),
        TMPDIR=str(tmp_path),
    )

    assert agent.wait() == 0, agent.output
    found = [f for f in told(events, "monitor.finding") if f["severity"] != "info"]
    assert [(f["rank"], f["severity"]) for f in found] == [(1, "unhealthy")]
    assert reason in found[0]["reason"]
    first, second = (Path(file).read_text() for file in found[0]["stacks"])
    assert "hangs_here" in first
    assert "goes_on" in second
    steps = [f["step"] for f in told(events, "group.stopping") if "step" in f]
    assert "stacks" not in steps  # not again
    agent.wait_for(r"rank 1 unhealthy: .*; wrote the stacks of 2 workers to ")
    agent.wait_for("generation 2 after restart 1")


COLLECTIVE = """
import os, sys, time
import torch, torch.distributed as dist
from elaunch.worker import heartbeat

dist.init_process_group("gloo")
for step in range(3):
    dist.all_reduce(torch.ones(1))
    heartbeat(step)
    time.sleep(0.05)  # those that come faster are left out
if os.environ["ELAUNCH_RESTART_COUNT"] != "0":
    dist.destroy_process_group()
    sys.exit(0)

def loads_for_ever():
    time.sleep(3600)

def waits_for_the_other():
    dist.all_reduce(torch.ones(1))

loads_for_ever() if os.environ["RANK"] == "1" else waits_for_the_other()
"""


@pytest.mark.interop
def test_a_collective_that_never_ends_is_found_and_shown(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    events = tmp_path / "events.jsonl"
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        *("--monitor", "heartbeat:limit=3,startup=60,warmup=1"),
        *("--event-recorder", f"jsonl:path={events}", "--shutdown-timeout", "5"),
        script(COLLECTIVE),
        TMPDIR=str(tmp_path),
    )

    assert agent.wait() == 0, agent.output
    found = [f for f in told(events, "monitor.finding") if f["severity"] == "unhealthy"]
    texts = "".join(Path(file).read_text() for file in found[0]["stacks"])
    assert "waits_for_the_other" in texts
    assert "loads_for_ever" in texts


LIMITED = """
import os, signal, sys
from elaunch.worker import section

def hangs_here():
    signal.pause()

if os.environ["ELAUNCH_RESTART_COUNT"] == "0":
    with section("save", limit=0.5):
        hangs_here()
"""


def test_a_limit_of_the_worker_s_own_holds_and_shows_where_without_a_flag(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    agent = launch(
        *("--standalone", "--max-restarts", "1"),
        *("--event-recorder", f"jsonl:path={events}", script(LIMITED)),
        TMPDIR=str(tmp_path),
    )

    assert agent.wait() == 0, agent.output
    (found,) = told(events, "monitor.finding")
    assert "'save'" in found["reason"]
    (file,) = found["stacks"]
    assert "hangs_here" in Path(file).read_text()


def test_a_line_that_must_not_appear_ends_the_job_by_what_its_rule_asks_for(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text("""
[[rule]]
name = "loss explodes"
pattern = 'loss=(\\S+)'
above = 100
forbidden = true
request = "no-restart"
""")
    code = "import signal\nprint('loss=3\\nloss=1e3', flush=True)\nsignal.pause()\n"
    agent = launch(
        *("--standalone", "--max-restarts", "3", "--redirects", "3"),
        *("--monitor", f"output:rules={rules}", script(code)),
        TMPDIR=str(tmp_path),
    )

    assert agent.wait() == 8, agent.output
    agent.wait_for("root cause: rank 0 .* unhealthy")
    agent.wait_for("rule 'loss explodes' of output is broken: .*'loss=1e3'")
    assert "after restart" not in agent.output


def test_the_example_of_the_readme_hangs_once_and_then_takes_all_its_steps(
    launch: Launch, tmp_path: Path
) -> None:
    text = (ROOT / "README.md").read_text()
    (words,) = re.findall(r"(?m)^\$ .venv/bin/elaunch run (.*--hang-at 30)$", text)
    events = tmp_path / "events.jsonl"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    recorder = ("--event-recorder", f"jsonl:path={events}")
    agent = launch(*recorder, *shlex.split(words), TMPDIR=str(tmp_path))

    assert agent.wait() == 0, agent.output
    (found,) = told(events, "monitor.finding")
    assert "its last step was 29" in found["reason"]
    assert "wait_for_somebody_who_never_comes" in Path(found["stacks"][0]).read_text()
    assert "rank 1 has taken 200 steps" in agent.output
