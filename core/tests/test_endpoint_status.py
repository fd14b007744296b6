"""What an agent is said to be: the meaning of what it has told."""

from collections.abc import Sequence
from typing import Any

import pytest

from elaunch.endpoint.book import LATEST, Book
from elaunch.endpoint.status import status_of
from elaunch.events import Event, EventName, Source, Value
from elaunch.worker_message import MessageKind, WorkerMessage


NOW = 1000.0
CLOCK = 50.0

JOINED: dict[str, Value] = {
    "group_rank": 1,
    "group_size": 2,
    "world_size": 4,
    "ranks": [2, 3],
    "restart_count": 0,
    "reason": "first generation",
    "duration_ms": 12.5,
}


class Agent:
    """Tells a book what an agent would."""

    def __init__(self) -> None:
        self.book = Book()
        self.sequence = 0

    def tell(self, name: EventName | str, at: float = 900.0, **facts: Value) -> None:
        worker = name.startswith("worker.")
        self.book.record(
            Event(
                name=str(name),
                run_id="job",
                host="h",
                metadata=facts,
                timestamp=at,
                sequence=self.sequence,
                source=Source.WORKER if worker else Source.AGENT,
            )
        )
        self.sequence += 1

    def start(self, generation: int = 1, at: float = 900.0) -> None:
        self.tell("generation.joined", at, generation=generation, **JOINED)
        for local in (1, 0):
            self.tell(
                *("worker.started", at),
                rank=2 + local,
                local_rank=local,
                pid=70 + local,
            )
        self.tell("group.started", at)

    def end(self, name: str, at: float, exitcode: int = 0) -> None:
        facts: dict[str, Value] = {"rank": 2, "local_rank": 0, "exitcode": exitcode}
        self.tell(name, at, **facts)

    @property
    def status(self) -> dict[str, Any]:
        return status_of(self.book.read(), NOW, CLOCK)


def beat(local: int, time: float, **facts: Any) -> WorkerMessage:
    kind = MessageKind.HEARTBEAT
    return WorkerMessage(local_rank=local, kind=kind, time=time, **facts)


def test_nothing_is_known_of_an_agent_that_has_told_nothing() -> None:
    status = Agent().status

    assert status["state"] == "joining"
    assert status["pid"] is None
    assert status["place"] is None
    assert status["workers"] == []


def test_the_state_follows_what_the_agent_tells() -> None:
    agent, states = Agent(), []
    for name in (
        *("agent.started", "generation.joined", "group.started", "group.stopping"),
        *("group.stopped", "rendezvous.joining", "generation.joined", "group.started"),
        *("group.succeeded", "rendezvous.left", "agent.finished"),
    ):
        facts = {"generation": 1, **JOINED} if name == "generation.joined" else {}
        agent.tell(name, 990.0, **facts, pid=7)
        states.append(agent.status["state"])

    assert states == [
        *("joining", "starting", "running", "stopping"),
        *("joining", "joining", "starting", "running"),
        *("waiting", "leaving", "finished"),
    ]
    assert agent.status["state_age"] == 10.0
    assert agent.status["pid"] == 7


def test_workers_are_told_with_what_they_have_said_last() -> None:
    agent = Agent()
    agent.start()
    agent.book.hear(beat(0, CLOCK - 51, step=6))
    agent.book.hear(beat(0, CLOCK - 50.5, step=7, step_time=0.25, values={"loss": 1.5}))
    agent.book.hear(beat(1, CLOCK - 2, step=7))
    agent.end("worker.failed", NOW - 50, exitcode=3)
    first, second = agent.status["workers"]

    assert first == {
        "rank": 2,
        "local_rank": 0,
        "pid": 70,
        "state": "failed",
        "uptime": 50.0,
        "exitcode": 3,
        "heartbeat_age": 0.5,
        "step": 7,
        "step_time": 0.25,
        "values": {"loss": 1.5},
    }
    assert second["state"] == "running"
    assert second["uptime"] == 100.0
    assert second["heartbeat_age"] == 2.0


def test_the_next_generation_has_workers_of_its_own() -> None:
    agent = Agent()
    agent.start()
    agent.book.hear(beat(0, 49.0, step=6))
    agent.end("worker.terminated", 950.0)
    agent.start(2, at=990.0)

    assert [w["state"] for w in agent.status["workers"]] == ["running", "running"]
    assert [w["step"] for w in agent.status["workers"]] == [None, None]
    assert [w["uptime"] for w in agent.status["workers"]] == [10.0, 10.0]
    assert [g["generation"] for g in agent.status["generations"]] == [1, 2]
    assert agent.status["place"]["generation"] == 2


def test_what_a_join_waits_for_is_told_while_it_does() -> None:
    agent = Agent()
    agent.tell("agent.started", pid=7)
    agent.tell("rendezvous.waiting", ready=1, min_nodes=2, hosts=["a"])
    told = agent.status["waiting"]
    agent.start()
    while_running = agent.status["waiting"]
    agent.tell("group.stopped", reason="x")

    assert told == {"ready": 1, "min_nodes": 2, "hosts": ["a"]}
    assert while_running is None
    assert agent.status["waiting"] is None


def test_only_the_latest_findings_are_kept_and_all_are_counted() -> None:
    agent = Agent()
    for number in range(LATEST + 2):
        facts: dict[str, Value] = {"rank": None, "local_rank": None, "disk": "full"}
        reason, severity = f"finding {number}", "degraded"
        agent.tell(
            "monitor.finding",
            990.0,
            monitor="m",
            severity=severity,
            reason=reason,
            **facts,
        )
    found = agent.status["findings"]

    assert [f["reason"] for f in found] == [
        f"finding {n}" for n in range(2, LATEST + 2)
    ]
    assert found[-1] == {
        "age": 10.0,
        "monitor": "m",
        "severity": "degraded",
        "rank": None,
        "reason": f"finding {LATEST + 1}",
        "evidence": {"disk": "full"},
    }
    assert agent.book.read().findings == {("m", "degraded"): LATEST + 2}


def test_decisions_and_requests_are_told() -> None:
    agent = Agent()
    agent.tell("policy.decided", 990.0, verdict="restart", reason="1 of 3", delay=2.0)
    request: dict[str, Value] = {"request": "drain", "reason": "", "peer": "p"}
    agent.tell("control.request", 995.0, refused="", **request)

    assert agent.status["decisions"] == [
        {"age": 10.0, "verdict": "restart", "reason": "1 of 3", "delay": 2.0}
    ]
    assert agent.status["requests"] == [{"age": 5.0, "refused": "", **request}]


@pytest.mark.parametrize(
    ("markers", "farthest"), [((-3, 0, 5, 4), 5), ((-3, -4), -3), ((0, -4), 0)]
)
def test_progress_is_the_farthest_marker(
    markers: Sequence[float], farthest: float
) -> None:
    agent, kind = Agent(), MessageKind.PROGRESS
    for marker in markers:
        agent.book.hear(WorkerMessage(local_rank=0, kind=kind, time=1.0, marker=marker))

    assert agent.status["progress"] == farthest


def test_a_clock_that_was_set_back_makes_no_time_negative() -> None:
    agent = Agent()
    agent.start(at=NOW + 100)
    agent.book.hear(beat(0, CLOCK + 1))
    first, _ = agent.status["workers"]

    assert first["uptime"] == 0.0
    assert first["heartbeat_age"] == 0.0
    assert agent.status["state_age"] == 0.0
