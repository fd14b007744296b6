"""The simulated store's server: sessions over a keyspace, as real stores have them.

A session outlives the connection of its client for a short grace; what the client
repeats after that is applied once. A restart either keeps everything, as a database
does, and then extends every lease by the time that was lost, or forgets everything.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from elaunch.api import Keyspace, StoreEvent, Subscription, UnknownLease, WatchCompacted
from elaunch.testing.simulation.loop import Process, SimulatedLoop
from elaunch.testing.simulation.messages import (
    Answer,
    Changed,
    Compacted,
    Hello,
    Request,
    Unwatch,
    Watch,
    Welcome,
)
from elaunch.testing.simulation.network import End, Network


_REMEMBERED = 256
"""How many answers a session keeps for repetitions."""


@attrs.define(eq=False)
class _Session:
    number: int
    grace: float
    end: End | None = None
    client: Process | None = None
    leases: dict[int, None] = attrs.field(factory=dict)
    watches: dict[int, Subscription] = attrs.field(factory=dict)
    answers: dict[int, Answer] = attrs.field(factory=dict)
    ended: bool = False


@attrs.define(eq=False)
class StoreServer:
    """A store at an address of the simulated network.

    Attributes:
        loop: The loop.
        network: Where it listens.
        address: Its address.
        history: How many changes it remembers for watches.
        keyspace: What it holds.
        requests: How many requests it has served.
        process: The process it runs in; another one after a restart.
        number: Number of this store: one that forgot everything is another.
        on_give_up: Told of a client that did not come back within its grace.
    """

    loop: SimulatedLoop
    network: Network
    address: str = "store"
    history: int = 65_536
    keyspace: Keyspace = attrs.field(init=False)
    requests: int = attrs.field(default=0, init=False)
    process: Process = attrs.field(init=False)
    number: int = attrs.field(default=0, init=False)
    on_give_up: Callable[[Process], None] = attrs.field(
        default=lambda _: None, init=False
    )
    _sessions: dict[int, _Session] = attrs.field(factory=dict, init=False)
    _numbers: Iterator[int] = attrs.field(
        factory=lambda: itertools.count(1), init=False
    )
    _expiry: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _stopped: float = attrs.field(default=0.0, init=False)
    _down: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.start()

    def start(self, *, forget: bool = True) -> None:
        """Start serving, with an empty store or with what an earlier start left."""
        self.process = self.loop.process("store")
        if forget:
            self.number = next(self._numbers)
            self.keyspace = Keyspace(self.history)
            self._sessions = {}
        # Nobody could renew while it was down, so that time does not count.
        self._down += self.loop.now - self._stopped
        for session in self._sessions.values():
            self._detach(session)
        self.network.listen(self.address, self.process, self._accept)
        self._expiry = None
        self._expire()

    def stop(self) -> None:
        """Die, as a killed process does."""
        self._stopped = self.loop.now
        self.loop.kill(self.process)
        self.network.bury(self.process)

    def compact(self, client: Process) -> None:
        """Tell a client that what its watches wait for is forgotten."""
        for session in self._sessions.values():
            if session.client is client and session.end:
                for number in session.watches:
                    session.end.send(Compacted(number))
                self._silence(session)

    def _now(self) -> float:
        """Return the time by which leases are judged: it stood still while down."""
        return self.loop.now - self._down

    def _accept(self, end: End) -> None:
        end.on_message = lambda message: self._open(end, message)

    def _open(self, end: End, hello: Hello) -> None:
        session = self._sessions.get(hello.session)
        resumed = session is not None and not session.ended
        if session is None or session.ended:
            session = _Session(next(self._numbers), hello.grace)
            self._sessions[session.number] = session
        elif session.end:
            stale, session.end = session.end, None
            stale.cut("another connection took over")
            self._silence(session)
        session.end, session.client = end, end.peer.process
        for lease in session.leases:
            self.keyspace.renew(lease, self._now())
        serving = session
        end.on_message = lambda message: self._serve(serving, end, message)
        end.on_lost = lambda _: self._lost(serving, end)
        end.send(Welcome(session.number, resumed, self.number))

    def _lost(self, session: _Session, end: End) -> None:
        if session.end is end:
            self._detach(session)

    def _detach(self, session: _Session) -> None:
        session.end = None
        self._silence(session)

        def end_unless_back() -> None:
            if session.end is None and not session.ended:
                if session.client:
                    self.on_give_up(session.client)
                self._end(session)

        self._later(session.grace, end_unless_back)

    def _end(self, session: _Session) -> None:
        session.ended = True
        self._silence(session)
        self._sessions.pop(session.number, None)
        for lease in sorted(session.leases):
            self.keyspace.revoke(lease)

    def _silence(self, session: _Session) -> None:
        for subscription in session.watches.values():
            self.keyspace.unsubscribe(subscription)
        session.watches.clear()

    def _serve(
        self, session: _Session, end: End, message: Request | Watch | Unwatch
    ) -> None:
        match message:
            case Request():
                self.requests += 1
                end.send(self._answer(session, message))
            case Watch(number, prefix, since):
                self._watch(session, end, number, prefix, since)
            case Unwatch(number):
                subscription = session.watches.pop(number, None)
                if subscription:
                    self.keyspace.unsubscribe(subscription)

    def _answer(self, session: _Session, request: Request) -> Answer:
        known = session.answers.get(request.number)
        if known:
            return known
        try:
            result, refused = self._apply(session, request), ""
        except UnknownLease:
            result, refused = None, "the lease is over"
        answer = Answer(request.number, result, refused)
        session.answers[request.number] = answer
        if len(session.answers) > _REMEMBERED:
            del session.answers[next(iter(session.answers))]
        return answer

    def _apply(self, session: _Session, request: Request) -> Any:
        keyspace, now = self.keyspace, self._now()
        match request.operation:
            case "grant":
                (ttl,) = request.arguments
                lease = keyspace.grant(ttl, now)
                session.leases[lease] = None
                self._expire()
                return lease
            case "renew" | "revoke":
                (lease,) = request.arguments
                if request.operation == "revoke":
                    session.leases.pop(lease, None)
                    return keyspace.revoke(lease)
                if lease not in session.leases or not keyspace.renew(lease, now):
                    raise UnknownLease
                return None
            case "goodbye":
                return self._end(session)
            case _:
                return getattr(keyspace, request.operation)(*request.arguments)

    def _watch(
        self, session: _Session, end: End, number: int, prefix: str, since: int
    ) -> None:
        def deliver(event: StoreEvent) -> None:
            end.send(Changed(number, event))

        try:
            subscription = self.keyspace.subscribe(prefix, since, deliver)
        except WatchCompacted:
            end.send(Compacted(number))
        else:
            session.watches[number] = subscription

    def _expire(self) -> None:
        """End the leases that are over, now and whenever the next one could be."""
        self.keyspace.expire(self._now())
        if self._expiry:
            self._expiry.cancel()
        deadline = self.keyspace.next_deadline()
        if deadline is not None:
            delay = deadline - self._now() + _LATE
            self._expiry = self._later(delay, self._expire)

    def _later(self, delay: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(delay, callback, context=self.process.context)


_LATE = 0.001
"""Seconds that a lease is over when the store sees it: no rounding hides that then."""
