"""The control store's side of its clients: sessions over one keyspace. No sockets.

A session is what a client is to the store while its connections come and go. Leases
and watches belong to it. A connection that breaks without goodbye leaves its session
alive for a short grace; after that its leases end at once, so that a killed process is
seen as dead long before its leases would expire. A client that is back in time repeats
what was not answered, and the session's last answers make sure that nothing is applied
twice.
"""

import asyncio
import os
from typing import Protocol

import attrs

from elaunch.api import (
    Keyspace,
    KeyspaceFull,
    StoreEvent,
    Subscription,
    UnknownLease,
    WatchCompacted,
)
from elaunch_rdzv_c10d.door import Door
from elaunch_rdzv_c10d.messages import (
    MAX_IN_FLIGHT,
    TOO_LONG,
    WRITES,
    Answer,
    BrokenFrameError,
    Changed,
    Compacted,
    CompareAndSet,
    Delete,
    Deleted,
    Done,
    Found,
    Get,
    Goodbye,
    Grant,
    Granted,
    Hello,
    List,
    Listed,
    Operation,
    Put,
    Refused,
    Renew,
    Request,
    Result,
    Revoke,
    ServerMessage,
    Unwatch,
    Watch,
    Watching,
    Written,
    may_fit,
)


MAX_GRACE = 60.0
"""Most seconds that a session outlives its connection, whatever its client asks for."""


MAX_SESSIONS = 65_536
"""Most sessions at a time, those included whose connection is broken."""

_LATE = 0.1
"""Seconds a timer may be late; more means that this loop has been kept from serving."""


class SessionsFullError(Exception):
    """There are as many sessions as there may be."""


class Peer(Protocol):
    """The connection of a session, as far as the session knows."""

    def send(self, message: ServerMessage, /) -> None:
        """Send a message to the client."""

    def drop(self) -> None:
        """Break the connection."""


@attrs.define(eq=False, repr=False)
class Session:
    """One client, over all its connections.

    Attributes:
        id: A secret that only its client knows.
        grace: Seconds it outlives a connection that breaks.
        peer: The connection it has now, if it has one.
        leases: Numbers of the leases that it was granted.
        watches: Its subscriptions, by the client's number.
        answers: The last answers to what must not be applied twice, oldest first.
        timer: Ends the session while it has no connection.
        last_caller: Number of the last connection that can be its client's, since its
            grace is over.
    """

    id: str = attrs.field(repr=False)
    grace: float
    peer: Peer | None = attrs.field(default=None, init=False)
    leases: set[int] = attrs.field(factory=set, init=False)
    watches: dict[int, Subscription] = attrs.field(factory=dict, init=False)
    answers: dict[int, Answer] = attrs.field(factory=dict, init=False)
    timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    last_caller: int | None = attrs.field(default=None, init=False)


@attrs.define(eq=False, repr=False)
class Sessions:
    """All clients of one control store; lives in the loop that serves them.

    Attributes:
        run_id: Id of the job that hosts the store.
        keyspace: What they share.
        store: Id of this store, different for every store that ever was.
        door: Who is connected and has not said whose client it is.
    """

    run_id: str
    keyspace: Keyspace = attrs.field(factory=Keyspace)
    store: str = attrs.field(factory=lambda: os.urandom(8).hex(), init=False)
    door: Door = attrs.field(factory=Door, init=False)
    _sessions: dict[str, Session] = attrs.field(factory=dict, init=False)
    _expiry: asyncio.TimerHandle | None = attrs.field(default=None, init=False)
    _departure: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def attach(self, hello: Hello, peer: Peer) -> tuple[Session, bool]:
        """Give a connection its session: the old one if it is still alive, or a new.

        Returns:
            The session, and whether it is the old one.

        Raises:
            SessionsFullError: If there is no room for a new one.
        """
        session = self._sessions.get(hello.session or "")
        resumed = session is not None
        if session is None:
            if len(self._sessions) >= MAX_SESSIONS:
                raise SessionsFullError(f"the store has {MAX_SESSIONS} sessions")
            grace = min(hello.grace, MAX_GRACE)
            session = Session(os.urandom(16).hex(), grace)
            self._sessions[session.id] = session
        elif session.peer:
            # The client knew that its connection broke before we do.
            stale = session.peer
            self._silence(session)
            stale.drop()
        if session.timer:
            session.timer.cancel()
            session.timer = None
        session.peer = peer
        now = asyncio.get_running_loop().time()
        for lease in session.leases:
            self.keyspace.renew(lease, now)
        return session, resumed

    def detach(self, session: Session, peer: Peer) -> None:
        """Note that a connection broke, which may not be the latest of its session."""
        if session.peer is not peer:
            return
        self._silence(session)
        loop = asyncio.get_running_loop()
        due = loop.time() + session.grace
        session.last_caller = None
        session.timer = loop.call_at(due, self._give_up, session, due)

    def end(self, session: Session) -> None:
        """End a session, its watches and its leases with their keys. Twice is fine."""
        self._silence(session)
        if session.timer:
            session.timer.cancel()
            session.timer = None
        self._sessions.pop(session.id, None)
        for lease in sorted(session.leases):
            self.keyspace.revoke(lease)
        session.leases.clear()
        self._departure.set()

    def shut_down(self) -> None:
        """Forget all timers: the store is going away."""
        if self._expiry:
            self._expiry.cancel()
        for session in self._sessions.values():
            if session.timer:
                session.timer.cancel()

    async def drained(self, timeout: float, besides: str | None = None) -> bool:  # noqa: ASYNC109 - the answer tells whether it passed
        """Wait until no session is left but the one with the id ``besides``.

        Returns:
            Whether that came true within ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                while self._sessions.keys() - {besides}:
                    self._departure.clear()
                    await self._departure.wait()
        except TimeoutError:
            return False
        return True

    def request(self, session: Session, request: Request) -> Answer:
        """Apply an operation, or find the answer it got when it came before."""
        known = session.answers.get(request.id)
        if known is not None:
            return known
        try:
            result = self._apply(session, request.operation)
        except UnknownLease:
            result = Refused("the lease is over")
        except KeyspaceFull:
            result = Refused("the store is full")
        answer = Answer(request.id, result, self.keyspace.revision)
        if isinstance(request.operation, WRITES):
            session.answers[request.id] = answer
            if len(session.answers) > MAX_IN_FLIGHT:
                del session.answers[next(iter(session.answers))]
        return answer

    def watch(self, session: Session, watch: Watch) -> ServerMessage:
        """Subscribe, or go on with a subscription of an earlier connection.

        Raises:
            BrokenFrameError: If there are more watches than any job has.
        """
        self.unwatch(session, Unwatch(watch.id))

        def deliver(event: StoreEvent) -> None:
            if session.peer:
                session.peer.send(Changed(watch.id, event))

        try:
            subscription = self.keyspace.subscribe(watch.prefix, watch.since, deliver)
        except WatchCompacted:
            return Compacted(watch.id)
        except KeyspaceFull:
            raise BrokenFrameError("there is no room for another watch") from None
        session.watches[watch.id] = subscription
        return Watching(watch.id, self.keyspace.revision)

    def unwatch(self, session: Session, unwatch: Unwatch) -> None:
        """End a subscription. An unknown one is ended already."""
        subscription = session.watches.pop(unwatch.id, None)
        if subscription:
            self.keyspace.unsubscribe(subscription)

    def _apply(self, session: Session, operation: Operation) -> Result:  # noqa: C901, PLR0911 - one case for each operation
        keyspace = self.keyspace
        match operation:
            case Get(key):
                return Found(keyspace.get(key))
            case Put(key, value, lease):
                self._check(session, lease)
                return Written(keyspace.put(key, value, lease))
            case CompareAndSet(key, value, expected, lease):
                self._check(session, lease)
                return Written(keyspace.compare_and_set(key, value, expected, lease))
            case Delete(key, expected):
                return Deleted(keyspace.delete(key, expected))
            case List(prefix):
                listing = keyspace.list(prefix)
                if not may_fit(listing.entries):
                    return TOO_LONG
                return Listed(listing.entries, listing.revision)
            case Grant(ttl):
                return self._grant(session, ttl)
            case Renew(lease):
                return self._renew(session, lease)
            case Revoke(lease):
                if lease in session.leases:
                    session.leases.discard(lease)
                    keyspace.revoke(lease)
                return Done()
            case Goodbye():
                self.end(session)
                return Done()

    def _check(self, session: Session, lease: int | None) -> None:
        if lease is not None and lease not in session.leases:
            raise UnknownLease

    def _grant(self, session: Session, ttl: float) -> Result:
        now = asyncio.get_running_loop().time()
        lease = self.keyspace.grant(ttl, now)
        session.leases.add(lease)
        self._expire_by(now + ttl)
        return Granted(lease)

    def _renew(self, session: Session, lease: int) -> Result:
        self._check(session, lease)
        if not self.keyspace.renew(lease, asyncio.get_running_loop().time()):
            session.leases.discard(lease)
            raise UnknownLease
        return Done()

    def _expire_by(self, when: float) -> None:
        if self._expiry and self._expiry.when() <= when:
            return
        if self._expiry:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_at(when, self._expire)

    def _expire(self) -> None:
        # After a stall of this loop everybody is overdue. Nobody is lost by it: asyncio
        # reads what has arrived, renewals among it, before it runs overdue timers.
        self._expiry = None
        self.keyspace.expire(asyncio.get_running_loop().time())
        when = self.keyspace.next_deadline()
        if when is not None:
            self._expire_by(when)

    def _give_up(self, session: Session, due: float) -> None:
        """End a session whose grace is over, unless its client may be here already.

        When a thousand come back in one moment, or this loop has been kept from
        serving, those who are at the door must not be taken for dead. But who has come
        after the grace is not waited for, nor who was silent for as long as that: it
        could be anybody.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = now - due
        last = self.door.last_caller()
        if session.last_caller is not None:
            last = min(last, session.last_caller)
        session.last_caller = last
        patience = max(session.grace, _LATE)
        if late > _LATE or self.door.may_bring(last, now - patience):
            again = now + max(patience, late)
            session.timer = loop.call_at(again, self._give_up, session, again)
        else:
            self.end(session)

    def _silence(self, session: Session) -> None:
        session.peer = None
        for subscription in session.watches.values():
            self.keyspace.unsubscribe(subscription)
        session.watches.clear()
