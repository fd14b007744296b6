"""The laws of a rendezvous, with this store in the simulation.

More seeds: `PYTHONPATH=plugins/rdzv_c10d/tests python -m elaunch.testing.simulation
--backend test_simulation:C10dBackend --seeds 3000`.
"""

import itertools
import random
import socket
from collections.abc import Callable, Iterator
from typing import ClassVar, cast

import attrs
import pytest

from elaunch.api import Keyspace, RendezvousOptions
from elaunch.testing.simulation import (
    FAMILIES,
    Backend,
    Network,
    Process,
    Scenario,
    SimulatedLoop,
    SimulatedSocket,
    SimulatedTransport,
    endure_outage,
    generate,
    keep_diary,
    lose_packets,
    run,
    stand_still,
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
    options: type[RendezvousOptions] = attrs.field(default=C10dOptions, init=False)
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


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_is_broken(family: str, seed: int) -> None:
    scenario = generate(family, seed)

    report = run(scenario, C10dBackend)

    assert not report.broken, tell(scenario, C10dBackend)


@pytest.mark.parametrize("seed", range(5, 7))
@pytest.mark.parametrize("family", FAMILIES)
def test_no_law_is_broken_with_a_token(family: str, seed: int) -> None:
    scenario = generate(family, seed)

    report = run(scenario, GuardedBackend)

    assert not report.broken, tell(scenario, GuardedBackend)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("grace", [0.1, 60.0])
def test_nothing_is_done_twice_and_no_change_is_missed(seed: int, grace: float) -> None:
    keep_diary(C10dBackend, seed, RendezvousOptions(reconnect_grace=grace)).check()


@pytest.mark.parametrize("phase", [n / 8 for n in range(16)])
@pytest.mark.parametrize("trouble", [stand_still, lose_packets])
def test_an_outage_of_ten_seconds_ends_no_lease(
    trouble: Callable[[Backend, Process], Callable[[], None]], phase: float
) -> None:
    """Whenever it begins between two renewals, with the options of a job by default."""
    endure_outage(C10dBackend, trouble, seconds=10, phase=phase).check()


@pytest.mark.parametrize("family", ["network", "store", "everything"])
def test_a_run_can_be_run_again(family: str) -> None:
    scenario = generate(family, 7)

    reports = [run(scenario, C10dBackend) for _ in range(2)]

    # Stories differ in process ids, which are counted on.
    once, again = (attrs.evolve(report, story=()) for report in reports)
    assert once == again
