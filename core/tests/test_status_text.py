"""What people read of an agent: steps, times, and why a node is not in its job."""

from typing import Any

import pytest

from elaunch.cli.status_text import duration, member_lines, status_lines


WORKER: dict[str, Any] = {
    "rank": 0,
    "pid": 7,
    "state": "running",
    "uptime": 303.0,
    "exitcode": None,
    "step": None,
    "step_time": None,
    "heartbeat_age": None,
}
PLACE: dict[str, Any] = {
    "generation": 2,
    "group_rank": 0,
    "group_size": 2,
    "world_size": 2,
    "ranks": [0],
    "restart_count": 1,
    "reason": "node 'b' joined",
}
STATUS: dict[str, Any] = {
    "run_id": "job",
    "pid": 4711,
    "host": "a",
    "backend": "c10d",
    "endpoint": "node-a:29400",
    "max_nodes": 2,
    "max_restarts": 3,
    "state": "running",
    "state_age": 303.0,
    "standstill": 0.0,
    "place": PLACE,
    "waiting": None,
    "workers": [],
    "progress": None,
    "findings": [],
    "decisions": [],
    "requests": [],
}
MEMBER: dict[str, Any] = {
    "group_rank": None,
    "host": "c",
    "state": "ready",
    "generation": 1,
    "local_world_size": 1,
    "decides": False,
    "unfit": "",
    "excluded": "",
    "reason": "",
    "findings": [],
}
SPARE: dict[str, Any] = {
    "spare": True,
    "size": 2,
    "min_nodes": 2,
    "max_nodes": 2,
    "seen": 3,
    "ready": 0,
    "hosts": [],
    "missing": [],
    "gone": [],
    "delay": 0.0,
    "left_out": [],
    "address": "c",
    "store": "c10d a:29400",
}


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({"step": 1234567}, "1234567  -"),
        ({"step": 3, "step_time": 0.10311948}, "3     0.103 s"),
        ({"step": 3, "step_time": 0.000123456}, "3     0.000123 s"),
        ({"step": 3, "step_time": 303.2}, "3     5:03 min"),
        ({"heartbeat_age": 0.0351}, "0.0 s ago"),
        ({"heartbeat_age": 303.2}, "5:03 min ago"),
    ],
)
def test_numbers_are_told_with_the_digits_that_somebody_reads(
    facts: dict[str, Any], shown: str
) -> None:
    lines = status_lines({**STATUS, "workers": [{**WORKER, **facts}]})

    assert shown in lines[-1]


def test_a_node_that_is_left_out_is_shown_with_the_reason() -> None:
    why = "excluded for 60 s: node 'c' has spent its 2 restarts"

    assert member_lines([{**MEMBER, "excluded": why}])[-1].endswith(f"1        {why}")


def test_a_node_that_is_kept_out_says_so_itself_and_that_its_place_is_gone() -> None:
    waiting = {**SPARE, "left_out": ["'c' (excluded for good: bad memory)"]}
    lines = status_lines({**STATUS, "state": "joining", "waiting": waiting})

    assert lines[1] == "  meets by c10d at 'node-a:29400'"
    assert "  before this: generation 2: node 0 of 2, rank 0 of 2; 1 of 3 " in lines[2]
    assert lines[-1] == (
        "  kept out of the job, which runs with 2 nodes: "
        "'c' (excluded for good: bad memory)"
    )


def test_an_agent_that_has_told_nothing_yet_has_no_host() -> None:
    lines = status_lines({**STATUS, "host": "", "state": "joining", "place": None})

    assert "agent 4711, joining" in lines[0]


def test_a_spare_does_not_seem_to_wait_for_nodes() -> None:
    lines = status_lines({**STATUS, "state": "joining", "waiting": SPARE})

    assert lines[-1] == "  waiting as a spare: the job runs with 2 nodes, its most"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.04, "0.0 s"), (59.4, "59 s"), (303.0, "5:03 min"), (93903.0, "26:05:03 h")],
)
def test_a_time_is_told_in_the_unit_that_fits(seconds: float, told: str) -> None:
    assert duration(seconds) == told
