"""The laws of a rendezvous, with this store in the simulation.

More seeds: `PYTHONPATH=plugins/rdzv_c10d/tests python -m elaunch.testing.simulation
--backend test_simulation:C10dBackend --seeds 3000`.
"""

import asyncio
import contextlib
import itertools
import random
import socket
from collections.abc import Callable, Iterator
from typing import ClassVar, cast

import attrs
import pytest

from elaunch.api import Keyspace, RendezvousOptions, RendezvousUnreachable
from elaunch.testing.simulation import (
    FAMILIES,
    Network,
    Process,
    Scenario,
    SimulatedLoop,
    SimulatedSocket,
    SimulatedTransport,
    Streams,
    generate,
    run,
    tell,
)
from elaunch_rdzv_c10d.control_connection import ControlConnection
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.job_token import Token
from elaunch_rdzv_c10d.messages import Answer, Compacted, Hello, Request, Unwatch
from elaunch_rdzv_c10d.options import C10dOptions
from elaunch_rdzv_c10d.security import UNPROTECTED, Security
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.sessions import Peer, Session, Sessions


ADDRESS = ("store", 29_500)


class NumberedControlStore(ControlStore):
    number = 0


@attrs.define(eq=False)
class ObservedSessions(Sessions):
    """The real sessions, which tell the laws whom they have given up."""

    backend: "C10dBackend" = attrs.field(kw_only=True)
    _clients: dict[str, Process] = attrs.field(factory=dict, init=False)

    def attach(self, hello: Hello, peer: Peer) -> tuple[Session, bool]:
        session, resumed = super().attach(hello, peer)
        assert isinstance(peer, ControlConnection)
        assert isinstance(peer._transport, SimulatedTransport)
        self._clients[session.id] = peer._transport.end.peer.process
        return session, resumed

    def request(self, session: Session, request: Request) -> Answer:
        self.backend.requests += 1
        return super().request(session, request)

    def compact(self, client: Process) -> None:
        for session in self._sessions.values():
            if session.peer and self._clients[session.id] is client:
                for number in session.watches:
                    session.peer.send(Compacted(number))
                for number in tuple(session.watches):
                    self.unwatch(session, Unwatch(number))

    def _give_up(self, session: Session, due: float) -> None:
        super()._give_up(session, due)
        if session.id not in self._sessions:
            self.backend.on_give_up(self._clients[session.id])


@attrs.define(eq=False)
class C10dBackend:
    """The real server in a process of its own, and the real clients."""

    security: ClassVar[Security] = UNPROTECTED

    loop: SimulatedLoop
    network: Network
    scenario: Scenario
    requests: int = attrs.field(default=0, init=False)
    process: Process = attrs.field(init=False)
    number: int = attrs.field(init=False)
    keyspace: Keyspace = attrs.field(init=False)
    on_give_up: Callable[[Process], None] = attrs.field(
        default=lambda _: None, init=False
    )
    _sessions: ObservedSessions = attrs.field(init=False)
    _stores: dict[str, int] = attrs.field(factory=dict, init=False)
    _numbers: Iterator[int] = attrs.field(
        factory=lambda: itertools.count(1), init=False
    )

    def __attrs_post_init__(self) -> None:
        random.seed(self.scenario.seed)  # what a client waits between two tries
        self.start()

    def start(self, *, forget: bool = True) -> None:  # noqa: ARG002 - it always does
        self.process = self.loop.process("store", self.network.random.uniform(0, 1e6))
        self.keyspace = Keyspace(self.scenario.history)
        self.number = next(self._numbers)
        self._sessions = ObservedSessions("job", self.keyspace, backend=self)
        self._stores[self._sessions.store] = self.number
        listener = cast(socket.socket, SimulatedSocket(ADDRESS))
        server = StoreServer(self._sessions, self.security)
        self.loop.spawn(self.process, server.start([listener]))

    def stop(self) -> None:
        self.loop.kill(self.process)
        self.network.bury(self.process)

    def compact(self, client: Process) -> None:
        self._sessions.compact(client)

    async def open(
        self,
        process: Process,  # noqa: ARG002 - the loop knows who asks
        options: RendezvousOptions,
    ) -> NumberedControlStore:
        store = await NumberedControlStore.connect(
            *ADDRESS,
            timeout=C10dOptions().connect_limit,
            run_id="job",
            reconnect_grace=options.reconnect_grace,
            request_timeout=options.silence_limit,
            security=self.security,
        )
        assert isinstance(store, NumberedControlStore)
        assert store._link.welcome
        store.number = self._stores[store._link.welcome.store]
        return store


class GuardedBackend(C10dBackend):
    """The same with a token."""

    security = Security(Token(b"correct horse battery staple"))


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_is_broken(family: str, seed: int) -> None:
    scenario = generate(family, seed)

    report = run(scenario, C10dBackend)

    assert not report.broken, tell(scenario, C10dBackend)


@pytest.mark.parametrize("seed", range(15, 18))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_is_broken_with_a_token(family: str, seed: int) -> None:
    scenario = generate(family, seed)

    report = run(scenario, GuardedBackend)

    assert not report.broken, tell(scenario, GuardedBackend)


@attrs.define
class Diary:
    """What clients wrote and read while their connections broke.

    Attributes:
        happened: Each value that was written, as the store has it.
        answered: Those whose writers were told so.
        seen: What a watch told.
    """

    happened: list[bytes | None] = attrs.field(factory=list)
    answered: list[bytes] = attrs.field(factory=list)
    seen: list[bytes | None] = attrs.field(factory=list)


def keep_diary(seed: int, grace: float) -> Diary:
    loop = SimulatedLoop(seed)
    draw = random.Random(seed)  # noqa: S311 - reproducible
    network = Network(loop, draw, slowest=0.05)
    loop.streams = Streams(network)
    scenario = attrs.evolve(generate("network", seed), history=65_536)
    backend = C10dBackend(loop, network, scenario)
    options = RendezvousOptions(reconnect_grace=grace)
    diary = Diary()
    backend.keyspace.subscribe("/", 0, lambda event: diary.happened.append(event.value))

    async def write(process: Process) -> None:
        store = await backend.open(process, options)
        for number in range(20):
            value = f"{process.name} {number}".encode()
            with contextlib.suppress(RendezvousUnreachable):
                await store.put(f"/{process.name}", value)
                diary.answered.append(value)
            await asyncio.sleep(draw.uniform(0, 0.3))
        await store.close()

    async def read(process: Process) -> None:
        store = await backend.open(process, options)
        try:
            async for event in store.watch("/", 0):
                diary.seen.append(event.value)
        finally:
            await store.close()

    async def direct() -> None:
        reader, *writers = [loop.process(name) for name in ("reader", *"abc")]
        reading = loop.spawn(reader, read(reader))
        writing = [loop.spawn(process, write(process)) for process in writers]
        for _ in range(20):
            await asyncio.sleep(draw.uniform(0, 0.5))
            trouble = draw.choice((network.reset, network.silence, loop.pause))
            process = draw.choice([reader, *writers])
            trouble(process)
            await asyncio.sleep(draw.uniform(0, 0.3))
            network.heal(process)
            loop.resume(process)
        await asyncio.gather(*writing)
        await asyncio.sleep(10)
        reading.cancel()
        await asyncio.wait([reading])

    loop.run_until_complete(direct())
    loop.close()
    assert loop.faults == []
    return diary


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("grace", [0.1, 60.0])
def test_nothing_is_done_twice_and_no_change_is_missed(seed: int, grace: float) -> None:
    diary = keep_diary(seed, grace)

    assert len(diary.answered) > 20
    assert len(set(diary.happened)) == len(diary.happened)
    assert set(diary.answered) <= set(diary.happened)
    assert diary.seen == diary.happened


def stand_still(backend: C10dBackend, _: Process) -> Callable[[], None]:
    """Stop the store's process, as SIGSTOP does; return what ends that."""
    backend.loop.pause(backend.process)
    return lambda: backend.loop.resume(backend.process)


def lose_packets(backend: C10dBackend, client: Process) -> Callable[[], None]:
    """Cut a client off, and its connections for ever: TCP tries ever more rarely."""
    backend.network.silence(client)
    backend.network.vanish(client)
    return lambda: backend.network.heal(client)


@pytest.mark.parametrize("phase", [n / 8 for n in range(16)])
@pytest.mark.parametrize("trouble", [stand_still, lose_packets])
def test_an_outage_of_ten_seconds_ends_no_lease(
    trouble: Callable[[C10dBackend, Process], Callable[[], None]], phase: float
) -> None:
    """Whenever it begins between two renewals, with the options of a job by default."""
    loop = SimulatedLoop(0)
    network = Network(loop, random.Random(0), slowest=0.05)  # noqa: S311 - reproducible
    loop.streams = Streams(network)
    backend = C10dBackend(loop, network, generate("network", 0))
    options = RendezvousOptions()
    losses: list[str] = []
    seen: list[bytes | None] = []
    lives: asyncio.Future[None] = loop.create_future()

    async def live(process: Process) -> None:
        store = await backend.open(process, options)
        lease = await store.lease(options.silence_limit)
        await store.put("/here", b"", lease=lease)
        lease.lost.add_done_callback(lambda lost: losses.append(lost.result()))
        lives.set_result(None)
        try:
            async with contextlib.aclosing(store.watch("/told", 0)) as events:
                async for event in events:
                    seen.append(event.value)  # noqa: PERF401 - it never ends
        finally:
            await store.close()

    async def direct() -> tuple[bool, tuple[str, ...]]:
        node = loop.process("node")
        living = loop.spawn(node, live(node))
        await lives
        await asyncio.sleep(10 + phase * options.silence_limit / 8)
        heal = trouble(backend, node)
        backend.keyspace.put("/told", b"meanwhile")
        await asyncio.sleep(10)
        heal()
        await asyncio.sleep(30)
        backend.keyspace.put("/told", b"later")
        await asyncio.sleep(1)
        outcome = backend.keyspace.get("/here") is not None, tuple(losses)
        living.cancel()
        await asyncio.wait({living})
        return outcome

    lives_on, lost = loop.run_until_complete(direct())
    loop.close()
    assert loop.faults == []
    assert lost == ()
    assert seen == [b"meanwhile", b"later"]
    assert lives_on


@pytest.mark.parametrize("family", ["network", "store", "everything"])
def test_a_run_can_be_run_again(family: str) -> None:
    scenario = generate(family, 7)

    reports = [run(scenario, C10dBackend) for _ in range(2)]

    # Stories differ in process ids, which are counted on.
    once, again = (attrs.evolve(report, story=()) for report in reports)
    assert once == again
