"""The connections of a server, above all those that have not said who they are.

They cost a bounded amount: each has a deadline, and when there are too many, the one
that has been silent for longest goes. So whoever speaks at once, as our clients do,
gets in beside any number of those who don't. A connection that is known is never
dropped.
"""

import asyncio
import logging
from collections.abc import Callable

import attrs

from elaunch_rdzv_c10d.addresses import BACKLOG, Endpoint
from elaunch_rdzv_c10d.complaints import Complaints
from elaunch_rdzv_c10d.limits import Limits
from elaunch_rdzv_c10d.receiver import Receiver


logger = logging.getLogger(__name__)

_LAST_WORD = 1.0
"""Seconds that a peer has to read why it is refused."""


@attrs.define(eq=False, repr=False)
class Caller:
    """One connection, as far as the door knows it.

    Attributes:
        door: The door that it came to.
        transport: Its bytes.
        number: How many had come when it came, itself included.
        since: When it came or last came a step further, by the loop's clock.
    """

    door: "Door"
    transport: asyncio.Transport
    number: int
    since: float
    _deadline: asyncio.TimerHandle = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._expire_in(self.door.limits.handshake_timeout)

    @property
    def peer(self) -> str:
        """Its address, for messages."""
        name = self.transport.get_extra_info("peername")
        return str(Endpoint(*name[:2])) if name else "a peer that is gone"

    def advance(self) -> None:
        """Note that it came a step further in saying who it is."""
        self.since = asyncio.get_running_loop().time()
        self.door.requeue(self)

    def admit(self) -> None:
        """Note that it has said who it is."""
        self._deadline.cancel()
        self.door.admit(self)

    def leave(self) -> None:
        """Note that it is gone."""
        self._deadline.cancel()
        self.door.forget(self)

    def turn_away(self, reason: str) -> None:
        """Close the connection, and say why in the log."""
        self.door.complain(f"closing the connection of {self.peer}: {reason}")
        self.transport.close()

    def drop(self, reason: str) -> None:
        """End the connection at once, and say why in the log."""
        self.door.complain(f"dropping the connection of {self.peer}: {reason}")
        self.transport.abort()

    def see_off(self, reason: str) -> None:
        """Leave it a moment to read what it was told, and say why in the log.

        If it were closed now, what it may have sent meanwhile would make the system
        throw away the answer.
        """
        self.door.complain(f"refusing the connection of {self.peer}: {reason}")
        self.transport.set_protocol(_Deaf(self.transport.get_protocol()))
        self._deadline.cancel()
        self._expire_in(_LAST_WORD)

    def _expire_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(seconds, self._expire)

    def _expire(self) -> None:
        if isinstance(self.transport.get_protocol(), _Deaf):
            self.transport.abort()
        else:
            self.drop("no handshake in time")


@attrs.define(eq=False, repr=False)
class _Deaf(Receiver):
    """Listens to nothing that a refused peer still sends.

    Attributes:
        before: Who listened, and still wants to know when it is gone.
    """

    before: asyncio.BaseProtocol

    def data_received(self, data: bytes) -> None:
        """Ignore it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        self.before.connection_lost(exc)


@attrs.define(eq=False, repr=False)
class Door:
    """All connections of one server; lives in the loop that serves them.

    Attributes:
        limits: What strangers may cost.
        has_queue: Tells whether connections wait to be accepted.
        complain: Writes to the log about peers that misbehave.
        arrivals: How many have come so far.
    """

    limits: Limits = attrs.field(factory=Limits)
    has_queue: Callable[[], bool] = attrs.field(default=lambda: False)
    complain: Complaints = attrs.field(factory=lambda: Complaints(logger), init=False)
    arrivals: int = attrs.field(default=0, init=False)
    _callers: set[Caller] = attrs.field(factory=set, init=False)
    # The longest silent first.
    _strangers: dict[Caller, None] = attrs.field(factory=dict, init=False)
    _departure: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    def receive(self, transport: asyncio.Transport) -> Caller:
        """Note a new connection; make room for it if there is none."""
        self.arrivals += 1
        now = asyncio.get_running_loop().time()
        caller = Caller(self, transport, self.arrivals, now)
        self._callers.add(caller)
        self._strangers[caller] = None
        number = transport.get_extra_info("socket").fileno()
        if number >= self.limits.descriptors:
            self._drop_one(
                f"this process has {number} files and connections open, as many as "
                "it may; 'ulimit -n' sets how many"
            )
        elif len(self._strangers) > self.limits.strangers:
            self._drop_one(f"{self.limits.strangers} others are as silent as it is")
        return caller

    def requeue(self, caller: Caller) -> None:
        """Put a stranger behind all others: it was the last to say something."""
        if caller in self._strangers:
            del self._strangers[caller]
            self._strangers[caller] = None

    def admit(self, caller: Caller) -> None:
        """Note that a stranger is none any more."""
        self._strangers.pop(caller, None)

    def forget(self, caller: Caller) -> None:
        """Forget a connection that is gone."""
        self._strangers.pop(caller, None)
        self._callers.discard(caller)
        self._departure.set()

    def last_caller(self) -> int:
        """Return the number of the last that can have called by now."""
        return self.arrivals + (BACKLOG if self.has_queue() else 0)

    def may_bring(self, last: int, since: float) -> bool:
        """Whether a client of ours can be among the strangers.

        Our clients say who they are at once, so who has been silent is none.

        Args:
            last: Number of the last stranger that it can be.
            since: Time after which it has come or said something.
        """
        if self.arrivals < last:
            return True
        for stranger in reversed(self._strangers):
            if stranger.since < since:
                return False
            if stranger.number <= last:
                return True
        return False

    async def close(self) -> None:
        """Abort all connections and wait until they are gone."""
        for caller in tuple(self._callers):
            caller.transport.abort()
        while self._callers:
            self._departure.clear()
            await self._departure.wait()  # an abort ends in the next turn of the loop
        self.complain.tell_the_rest()

    def _drop_one(self, reason: str) -> None:
        oldest = next(iter(self._strangers))
        del self._strangers[oldest]  # the next to go is another one
        oldest.drop(reason)
