"""Real jobs under the monitors of what workers say of themselves."""

import json
from pathlib import Path
from typing import Any

from agents import Launch
from event_schema import check_events
from places import Script


BEATS = """
import os, time
from elaunch.worker import heartbeat, section

first = os.environ["ELAUNCH_GENERATION"] == "1"
rank = int(os.environ["RANK"])
"""

GOES_SILENT = (
    BEATS
    + """
for step in range(20):
    heartbeat(step=step)
    time.sleep(0.02)
if first and rank == 1:
    print("silent", flush=True)
    time.sleep(600)
while first:
    heartbeat(step=20)
    time.sleep(0.02)
print("done", flush=True)
"""
)

STAYS_IN_A_SECTION = (
    BEATS
    + """
with section("load", limit=60):
    pass
with section("save", limit=0.5):
    while first and rank == 0:
        heartbeat()  # it is not silent
        time.sleep(0.02)
while first:
    time.sleep(0.02)
print("done", flush=True)
"""
)

IS_SLOW = (
    BEATS
    + """
for step in range(100000):
    slow = rank == 1
    heartbeat(step=step, step_time=0.03 if slow else 0.01)
    time.sleep(0.03 if slow else 0.01)
    if os.path.exists("enough"):
        break
"""
)


def events_of(path: Path) -> list[dict[str, Any]]:
    check_events([path])
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_worker_that_goes_silent_is_found_and_the_job_ends_well(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        *("--monitor", "heartbeat:limit=1,startup=60"),
        *("--event-recorder", f"jsonl:path={events}", script(GOES_SILENT)),
    )

    assert agent.wait() == 0, agent.output
    (found,) = agent.wait_for(
        r"rank (\d) unhealthy: silent for (\S+) s, over its limit of 1 s; "
        r"its last step was 19"
    )
    assert found[1] == "1"
    assert float(found[2]) >= 1
    agent.wait_for("generation 2 after restart 1")
    assert len(agent.wait_for("done", 2)) == 2
    told = events_of(events)
    beats = [e for e in told if e["name"] == "worker.first_heartbeat"]
    assert sorted(
        (event["generation"], event["metadata"]["rank"], event["metadata"]["step"])
        for event in beats
    ) == [(1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0)]
    names = [event["name"] for event in told]
    assert names.index("group.started") < names.index("worker.first_heartbeat")


def test_a_limit_that_a_worker_sets_needs_no_flag(
    launch: Launch, script: Script
) -> None:
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        script(STAYS_IN_A_SECTION),
    )

    assert agent.wait() == 0, agent.output
    agent.wait_for(
        r"rank 0 unhealthy: section 'save' has taken 0.\d s, over its limit of 0.5 s"
    )
    agent.wait_for("generation 2 after restart 1")
    assert len(agent.wait_for("done", 2)) == 2


def test_limits_of_sections_can_be_given_to_code_that_has_none(
    launch: Launch, script: Script
) -> None:
    agent = launch(
        *("--standalone", "--nproc-per-node", "2", "--max-restarts", "1"),
        *("--monitor", "sections:limits=lo*=0;save=0.7"),
        script(STAYS_IN_A_SECTION.replace(", limit=0.5", "")),
    )

    assert agent.wait() == 0, agent.output
    agent.wait_for(r"section 'save' has taken 0.\d s, over its limit of 0.7 s")


def test_the_time_of_a_job_is_over_for_good(
    launch: Launch, script: Script, tmp_path: Path
) -> None:
    events = tmp_path / "events.jsonl"
    agent = launch(
        *("--standalone", "--max-restarts", "3", "--monitor", "deadline:job=2"),
        *("--event-recorder", f"jsonl:path={events}"),
        script("import time; time.sleep(600)"),
    )

    assert agent.wait() == 8, agent.output
    agent.wait_for(
        "the node failed: unhealthy: the job has taken 2 s, which is its limit"
    )
    assert "rank -1" not in agent.output
    assert "generation 2" not in agent.output
    (failed,) = [e for e in events_of(events) if e["name"] == "job.failed"]
    assert failed["metadata"]["rank"] == -1


def test_a_generation_that_is_over_its_time_is_followed_by_another(
    launch: Launch, script: Script
) -> None:
    agent = launch(
        *("--standalone", "--max-restarts", "1", "--monitor", "deadline:generation=2"),
        script(BEATS + "if first: time.sleep(600)"),
    )

    assert agent.wait() == 0, agent.output
    agent.wait_for("generation 1 has run for 2 s, which is its limit")
    agent.wait_for("generation 2 after restart 1")


def test_nodes_with_one_worker_each_know_who_is_slow(
    launch: Launch, script: Script, tmp_path: Path, endpoint: str
) -> None:
    worker = script(IS_SLOW.replace('"enough"', repr(str(tmp_path / "enough"))))
    agents = [
        launch(
            *("--nnodes", "2", "--rdzv-endpoint", endpoint, "--rdzv-id", "job"),
            *("--local-addr", "127.0.0.1"),
            *("--monitor", "straggler:interval=0.5,chronic=3"),
            *("--event-recorder", f"jsonl:path={tmp_path / f'{n}.jsonl'}", worker),
        )
        for n in range(2)
    ]
    try:
        slow = next(a for a in agents if slow_here(a))
        slow.wait_for(r"rank 1 degraded: slow: a step takes 0.03 s, 3.00 times the ")
        slow.wait_for("times the median of the job")
    finally:
        (tmp_path / "enough").touch()

    assert [agent.wait() for agent in agents] == [0, 0]
    reports = [
        event["metadata"]
        for n in range(2)
        for event in events_of(tmp_path / f"{n}.jsonl")
        if event["name"] == "straggler.report"
    ]
    assert {report["slowest_rank"] for report in reports} == {0, 1}
    assert any(report["slow"] == [1] and report["of_job"] for report in reports)


def slow_here(agent: Any) -> bool:
    return bool(agent.wait_for(r"rank (\d) here")[0][1] == "1")
