"""The endpoint's answers, asked over real sockets, of an agent on a loop of its own."""

import asyncio
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from prometheus_client.parser import text_string_to_metric_families

from elaunch.endpoint import bridge as bridge_module
from elaunch.endpoint.book import Book
from elaunch.endpoint.bridge import Bridge
from elaunch.endpoint.client import Contact
from elaunch.endpoint.identity import Identity
from elaunch.endpoint.service import FRESH, Service
from elaunch.endpoint.token import ControlToken
from elaunch.endpoint.waiting import has_ended
from elaunch.errors import ControlFailed, RendezvousUnreachable
from elaunch.events import Event
from elaunch.http_server import HttpServer, Response, json_response
from elaunch.vitals import MemberStatus
from elaunch.worker_message import MessageKind, WorkerMessage


IDENTITY = Identity(
    run_id="job",
    agent="a1",
    version="1.2",
    max_restarts=3,
    min_nodes=1,
    max_nodes=2,
    backend="c10d",
    endpoint="node-a:29400",
)
MEMBER = MemberStatus(
    node="h", host="h", address="h", role="r", local_world_size=2, state="running"
)
TOKEN = ControlToken("0123456789abcdef")


class Agent:
    """An agent on a loop in a thread of its own, which the test can hold up."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []
        self.error: Exception | None = None
        self.reads = self.answering = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function on the loop."""

        async def work() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(work(), self.loop).result(20)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(20)
        self.loop.close()

    async def members(self) -> Sequence[MemberStatus]:
        self.reads += 1
        self.answering += 1
        try:
            await self.answers.wait()
        finally:
            self.answering -= 1
        if self.error:
            raise self.error
        return [MEMBER]

    async def drain(self, reason: str, peer: str) -> None:
        self._take("drain", reason, peer)

    async def restart(self, reason: str, peer: str) -> None:
        self._take("restart", reason, peer)

    async def stop(self, reason: str, peer: str) -> None:
        self._take("stop", reason, peer)

    def _take(self, *told: str) -> None:
        if self.error:
            raise self.error
        self.told.append(told)


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.close()


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def bridge(agent: Agent) -> Bridge:
    made: Bridge = agent.call(Bridge)
    made.attach(agent)
    return made


@pytest.fixture
def service(book: Book, bridge: Bridge) -> Service:
    return Service(identity=IDENTITY, book=book, bridge=bridge, clock=lambda: 50.0)


@pytest.fixture
def contact(service: Service, tmp_path: Path) -> Iterator[Contact]:
    path = os.path.relpath(tmp_path / "s")  # shorter than the limit
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    server = HttpServer(listener, service.answer, "endpoint")
    server.start()
    yield Contact("the agent", path)
    server.stop()


@pytest.fixture
def guarded(service: Service) -> Iterator[Contact]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = HttpServer(listener, lambda r: service.answer(r, TOKEN), "endpoint")
    server.start()
    yield Contact("the agent", listener.getsockname(), TOKEN)
    server.stop()


def started(book: Book) -> None:
    """Let an agent tell the book of a worker."""
    facts = {
        "generation": 2,
        "group_rank": 0,
        "group_size": 1,
        "world_size": 1,
        "ranks": [0],
        "restart_count": 1,
        "reason": "x",
        "duration_ms": 250.0,
    }
    worker = {"rank": 0, "local_rank": 0, "pid": 7}
    for name, told in (("generation.joined", facts), ("worker.started", worker)):
        book.record(Event(name=name, run_id="job", metadata=told))
    book.record(Event(name="group.started", run_id="job", sequence=1))


def test_the_status_has_the_identity_too(contact: Contact) -> None:
    status = contact.ask("GET", "/status")

    assert status["run_id"] == "job"
    assert status["max_restarts"] == 3
    assert status["standstill"] == 0.0
    assert status["state"] == "joining"


def test_an_agent_that_hangs_is_told_of(contact: Contact, agent: Agent) -> None:
    assert contact.ask("GET", "/healthz") == {"healthy": True, "standstill": 0.0}
    go_on = threading.Event()
    agent.loop.call_soon_threadsafe(go_on.wait, 20)
    first = contact.ask("GET", "/healthz")
    second = contact.ask("GET", "/status")["standstill"]
    go_on.set()

    assert first["healthy"] is True
    assert 0 < first["standstill"] < second
    agent.call(int)
    assert contact.ask("GET", "/healthz") == {"healthy": True, "standstill": 0.0}


def test_an_agent_that_hangs_for_long_is_not_healthy(
    contact: Contact, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elaunch.endpoint.service.STANDSTILL_LIMIT", 0.1)
    go_on = threading.Event()
    agent.loop.call_soon_threadsafe(go_on.wait, 20)
    with pytest.raises(ControlFailed, match="the agent: status 503"):
        contact.ask("GET", "/healthz")
    go_on.set()


def test_all_nodes_are_told(contact: Contact) -> None:
    (member,) = contact.ask("GET", "/members")["members"]

    assert member["host"] == "h"
    assert member["state"] == "running"


def test_the_store_is_not_asked_by_everybody_who_asks(
    contact: Contact, agent: Agent
) -> None:
    agent.call(agent.answers.clear)
    asking = [
        threading.Thread(target=contact.ask, args=("GET", "/members")) for _ in range(9)
    ]
    for thread in asking:
        thread.start()
    agent.call(agent.answers.set)
    for thread in asking:
        thread.join(20)

    assert agent.reads == 1


def test_what_the_store_said_is_not_told_for_ever(
    agent: Agent, bridge: Bridge, book: Book
) -> None:
    now = [50.0]
    service = Service(identity=IDENTITY, book=book, bridge=bridge, clock=lambda: now[0])
    reads = []
    for now[0] in (50.0, 50.0 + FRESH, 50.1 + FRESH):
        service.members()
        reads.append(agent.reads)

    assert reads == [1, 1, 2]


def test_nobody_waits_for_ever_for_what_another_has_asked(
    contact: Contact, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elaunch.endpoint.service.PATIENCE", 0.05)
    agent.call(agent.answers.clear)
    asking = threading.Thread(target=contact.ask, args=("GET", "/members"))
    asking.start()
    while not agent.reads:
        agent.call(int)
    with pytest.raises(ControlFailed, match=r"has not answered for 0\.05 s"):
        contact.ask("GET", "/members")
    agent.call(agent.answers.set)
    asking.join(20)

    assert agent.reads == 1


@pytest.mark.parametrize("order", ["drain", "restart", "stop"])
def test_an_order_is_handed_to_the_agent(
    contact: Contact, agent: Agent, bridge: Bridge, order: str
) -> None:
    contact.ask("POST", f"/{order}", {"reason": "a\nkernel\x1b[31m"})
    contact.ask("POST", f"/{order}")

    peer = f"process {os.getpid()} of user {os.getuid()}"
    assert agent.told == [(order, "a\\nkernel", peer), (order, "", peer)]
    assert not bridge._pending


@pytest.mark.parametrize(
    ("error", "status"),
    [(ControlFailed("not now"), 409), (RendezvousUnreachable("no store"), 503)],
)
def test_what_the_agent_refuses_is_told(
    contact: Contact, agent: Agent, error: Exception, status: int
) -> None:
    agent.error = error
    with pytest.raises(ControlFailed, match=f"the agent: {error}"):
        contact.ask("POST", "/drain")
    assert contact._exchange("POST", "/drain", None)[0] == status


@pytest.mark.parametrize(
    "body", [b"nonsense", b"[]", b'{"reason": 1}', b'{"x": ""}', b"[" * 4000]
)
def test_a_body_of_another_kind_is_refused(
    contact: Contact, agent: Agent, body: bytes
) -> None:
    head = f"POST /drain HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
    with contact._connect() as own:
        own.sendall(head.encode() + body)
        said = own.recv(4096)

    assert said.startswith(b"HTTP/1.1 400 ")
    assert agent.told == []


def test_an_answer_that_takes_too_long_is_given_up(
    contact: Contact, agent: Agent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bridge_module, "PATIENCE", 0.05)
    agent.call(agent.answers.clear)
    with pytest.raises(ControlFailed, match="the agent has not answered"):
        contact.ask("GET", "/members")
    while agent.answering:
        agent.call(int)


def test_nobody_waits_for_an_agent_that_ends(
    contact: Contact, agent: Agent, bridge: Bridge
) -> None:
    agent.call(agent.answers.clear)
    failed: list[str] = []

    def ask() -> None:
        with pytest.raises(ControlFailed) as told:
            contact.ask("GET", "/members")
        failed.append(str(told.value))

    asking = threading.Thread(target=ask)
    asking.start()
    while not agent.reads:
        agent.call(int)
    bridge.detach()
    asking.join(20)

    assert failed == ["the agent: the agent has ended meanwhile"]
    with pytest.raises(ControlFailed, match="not any more"):
        contact.ask("POST", "/stop")
    assert contact.ask("GET", "/status")["run_id"] == "job"


def test_an_agent_that_has_ended_since_it_was_found_is_told_of(tmp_path: Path) -> None:
    path = os.path.relpath(tmp_path / "s")
    with pytest.raises(ControlFailed, match="it does not run: nobody listens"):
        Contact("it", path).ask("POST", "/drain")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with pytest.raises(ControlFailed, match="it does not run: nobody listens"):
        Contact("it", path).ask("POST", "/drain")


def test_there_is_nothing_else(contact: Contact) -> None:
    with pytest.raises(ControlFailed, match=r"there is no '/x', but GET /status, .*"):
        contact.ask("GET", "/x")
    with pytest.raises(ControlFailed, match="'/stop' is asked with the method POST"):
        contact.ask("GET", "/stop")


def test_on_the_network_a_token_is_wanted(guarded: Contact, agent: Agent) -> None:
    for token in (None, ControlToken("another-token-that-is-long")):
        for method, path in (("GET", "/status"), ("POST", "/stop"), ("GET", "/x")):
            with pytest.raises(ControlFailed, match="show the token"):
                Contact("the agent", guarded.address, token).ask(method, path)
    assert agent.told == []
    assert guarded.ask("GET", "/status")["run_id"] == "job"


def test_metrics_are_what_prometheus_reads(contact: Contact, book: Book) -> None:
    started(book)
    kind = MessageKind.HEARTBEAT
    book.hear(WorkerMessage(local_rank=0, kind=kind, time=49.5, step=9, step_time=0.25))
    found = {"monitor": "m", "severity": "degraded", "reason": "x"}
    book.record(Event(name="monitor.finding", run_id="job", metadata=found))
    silent = {"rank": 1, "local_rank": 1, "pid": 8, "exitcode": -15}
    for name in ("worker.started", "worker.terminated"):
        book.record(Event(name=name, run_id="job", metadata=silent))
    book.hear(
        WorkerMessage(local_rank=0, kind=MessageKind.PROGRESS, time=49.0, marker=7.0)
    )
    text = contact.fetch("/metrics").decode()
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    job = ("run_id", "job")
    worker = ("local_rank", "0"), ("rank", "0"), job

    assert samples["elaunch_generation", job] == 2
    assert samples["elaunch_restart_count", job] == 1
    assert samples["elaunch_max_restarts", job] == 3
    assert samples["elaunch_join_seconds", job] == 0.25
    assert samples["elaunch_generations_total", job] == 1
    assert samples["elaunch_agent_state", ("elaunch_agent_state", "running"), job] == 1
    assert samples["elaunch_agent_state", ("elaunch_agent_state", "joining"), job] == 0
    assert samples["elaunch_progress", job] == 7
    assert samples["elaunch_worker_ends_total", ("how", "terminated"), job] == 1
    info = ("agent", "a1"), job, ("version", "1.2")
    assert samples["elaunch_agent_info", *info] == 1
    assert samples["elaunch_worker_up", *worker] == 1
    assert samples["elaunch_worker_up", ("local_rank", "1"), ("rank", "1"), job] == 0
    assert ("elaunch_worker_step", ("local_rank", "1"), ("rank", "1"), job) not in (
        samples
    )
    assert samples["elaunch_worker_step", *worker] == 9
    assert samples["elaunch_worker_step_seconds", *worker] == 0.25
    assert samples["elaunch_worker_heartbeat_age_seconds", *worker] == 0.5
    assert (
        samples[
            "elaunch_findings_total", ("monitor", "m"), job, ("severity", "degraded")
        ]
        == 1
    )
    assert samples["process_resident_memory_bytes",] > 0


def test_without_what_metrics_need_it_is_told_how_to_get_it(
    contact: Contact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "elaunch.endpoint.exposition", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(ControlFailed, match=r"pip install 'elaunch\[prometheus\]'"):
        contact.fetch("/metrics")


def test_metrics_of_an_agent_that_has_told_nothing_can_be_read(
    contact: Contact,
) -> None:
    text = contact.fetch("/metrics").decode()

    assert list(text_string_to_metric_families(text))


def test_who_waits_for_the_end_of_an_agent_hears_of_it(
    contact: Contact, bridge: Bridge
) -> None:
    ends: list[bool] = []
    waiting = threading.Thread(
        target=lambda: ends.append(has_ended(contact, time.monotonic() + 60))
    )
    waiting.start()
    bridge.detach()
    waiting.join(60)

    assert ends == [True]


def test_who_waits_for_long_asks_again(
    contact: Contact, bridge: Bridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that one who has left does not hold a thread of the agent for ever."""
    monkeypatch.setattr("elaunch.endpoint.service.PATIENCE", 0.01)
    answers = []

    def counted(status: int, facts: Mapping[str, object]) -> Response:
        answers.append(facts)
        if len(answers) == 4:
            bridge.detach()
        return json_response(status, facts)

    monkeypatch.setattr("elaunch.endpoint.service.json_response", counted)

    assert contact.ask("GET", "/end") == {"ended": False}
    assert has_ended(contact, time.monotonic() + 60)
    assert len(answers) >= 4


def test_a_wait_ends_in_time_also_where_no_answer_comes(contact: Contact) -> None:
    assert not has_ended(contact, time.monotonic() + 0.05)


def test_an_agent_that_is_not_there_has_ended(tmp_path: Path) -> None:
    gone = Contact("the agent", os.path.relpath(tmp_path / "gone"))

    assert has_ended(gone, time.monotonic() + 20)


def test_an_agent_that_can_not_be_asked_is_not_taken_for_one_that_has_ended(
    guarded: Contact,
) -> None:
    stranger = attrs.evolve(guarded, token=None)
    with pytest.raises(ControlFailed, match="show the token"):
        has_ended(stranger, time.monotonic() + 20)
