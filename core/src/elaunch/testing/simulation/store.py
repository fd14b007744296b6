"""The simulated store's client: the store port over the simulated network.

It does what a good client does: it comes back after a broken connection, repeats what
was not answered, goes on with its watches where they stopped, and knows that a lease is
lost before others can see it. A client belongs to one store: if another one answers at
the address, it is of no use any more.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import attrs

from elaunch.api import (
    Entry,
    Lease,
    Listing,
    RendezvousUnreachable,
    StoreEvent,
    WatchCompacted,
)
from elaunch.testing.simulation.loop import Process
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


_LOST_AFTER = 0.8
"""Part of its time to live that a lease may go without a renewal."""

_DIAL_TIMEOUT = 5.0
"""Seconds that one try to connect may take."""

_WRITES = frozenset({"put", "compare_and_set", "delete", "grant", "revoke"})
"""Requests that must not be applied twice."""


@attrs.define(eq=False)
class SimulatedLease:
    """A lease of the simulated store, renewed by a task."""

    number: int
    ttl: float
    lost: asyncio.Future[str]
    renewed: float
    store: "SimulatedStore"
    task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    @property
    def deadline(self) -> float:
        """When it counts as lost unless it is renewed before."""
        return self.renewed + _LOST_AFTER * self.ttl

    def lose(self, reason: str) -> None:
        """Stop renewing and tell the holder. Twice is fine."""
        if self.task:
            self.task.cancel()
        self.store.leases.pop(self.number, None)
        if not self.lost.done():
            self.lost.set_result(reason)

    async def revoke(self) -> None:
        """End it and delete its keys now."""
        if not self.lost.done():
            self.lose("it was revoked")
            with contextlib.suppress(RendezvousUnreachable):
                await self.store.request("revoke", self.number)

    async def keep(self) -> None:
        """Renew it until that fails."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(None) as patience:
                while True:
                    patience.reschedule(self.deadline)
                    await asyncio.sleep(self.ttl / 3)
                    sent = loop.time()
                    await self.store.request("renew", self.number)
                    self.renewed = sent
        except TimeoutError:
            self.lose("it could not be renewed in time")
        except RendezvousUnreachable as error:
            self.lose(str(error))


@attrs.define(eq=False)
class _Call:
    request: Request
    answer: asyncio.Future[Any]
    sent: bool = False


@attrs.define(eq=False)
class _Watcher:
    prefix: str
    last: int
    events: asyncio.Queue[StoreEvent | Exception] = attrs.field(factory=asyncio.Queue)


@attrs.define(eq=False)
class SimulatedStore:
    """A client of a `StoreServer`. Made by `connect`.

    Attributes:
        network: Over which it reaches the store.
        process: The process it runs in.
        address: Address of the store.
        random: Draws the pauses between tries.
        grace: Seconds its session outlives a broken connection.
        request_timeout: Seconds a request may take.
        repeats: Whether it repeats a write that was not answered; a client that does
            not, since its server could apply it twice, reports it as lost.
        leases: The leases it holds, by number.
    """

    network: Network
    process: Process
    address: str
    random: random.Random
    grace: float = 0.5
    request_timeout: float = 15.0
    repeats: bool = True
    leases: dict[int, SimulatedLease] = attrs.field(factory=dict, init=False)
    _end: End | None = attrs.field(default=None, init=False)
    _welcome: Welcome | None = attrs.field(default=None, init=False)
    _returning: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _over: str = attrs.field(default="", init=False)
    _calls: dict[int, _Call] = attrs.field(factory=dict, init=False)
    _watchers: dict[int, _Watcher] = attrs.field(factory=dict, init=False)
    _numbers: Iterator[int] = attrs.field(
        factory=lambda: itertools.count(1), init=False
    )

    async def connect(self, timeout: float) -> "SimulatedStore":  # noqa: ASYNC109 - the message tells how long it tried
        """Open a session; while nobody listens, try again.

        Raises:
            RendezvousUnreachable: If there is none after ``timeout`` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self._insist()
        except TimeoutError:
            raise RendezvousUnreachable(
                f"no store at {self.address!r} within {timeout:g} s"
            ) from None
        return self

    @property
    def number(self) -> int:
        """Number of the store that it belongs to, 0 before it is connected."""
        return self._welcome.store if self._welcome else 0

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        entry: Entry | None = await self.request("get", key)
        return entry

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key and return its new revision."""
        revision: int = await self.request("put", key, value, _number(lease))
        return revision

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``."""
        revision: int | None = await self.request(
            "compare_and_set", key, value, expected, _number(lease)
        )
        return revision

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        return bool(await self.request("delete", key, expected))

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""
        listing: Listing = await self.request("list", prefix)
        return listing

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield every change under ``prefix`` after ``since``, in order."""
        self._check()
        number = next(self._numbers)
        watcher = self._watchers[number] = _Watcher(prefix, since)
        self._send(Watch(number, prefix, since))
        try:
            while True:
                event = await watcher.events.get()
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            if self._watchers.pop(number, None):
                self._send(Unwatch(number))

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease and keep it alive until it is revoked."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        number = await self.request("grant", ttl)
        lease = SimulatedLease(number, ttl, loop.create_future(), sent, self)
        self.leases[number] = lease
        lease.task = asyncio.create_task(lease.keep())
        return lease

    async def close(self) -> None:
        """Say goodbye: end all leases and watches of this client. Twice is fine."""
        if self._over:
            return
        for lease in tuple(self.leases.values()):
            lease.lose("the store client was closed")
        if self._end:
            with contextlib.suppress(RendezvousUnreachable, TimeoutError):
                async with asyncio.timeout(2.0):
                    await self.request("goodbye")
        self._finish("the store client is closed")

    async def request(self, operation: str, *arguments: Any) -> Any:
        """Ask the server.

        Raises:
            RendezvousUnreachable: If it does not answer in time, or refuses.
        """
        self._check()
        number = next(self._numbers)
        answer = asyncio.get_running_loop().create_future()
        call = _Call(Request(number, operation, arguments), answer)
        self._calls[number] = call
        try:
            self._transmit(call)
            async with asyncio.timeout(self.request_timeout):
                return await answer
        except TimeoutError:
            raise RendezvousUnreachable(
                f"the store did not answer within {self.request_timeout:g} s"
            ) from None
        finally:
            self._calls.pop(number, None)

    def _transmit(self, call: _Call) -> None:
        if self._end:
            call.sent = True
            self._end.send(call.request)

    def _send(self, message: Watch | Unwatch) -> None:
        if self._end:
            self._end.send(message)

    def _check(self) -> None:
        if self.network.closed:
            self._finish("the network is gone")
        if self._over:
            raise RendezvousUnreachable(self._over)
        if not self._end and not self._returning:
            self._returning = asyncio.create_task(self._come_back())

    def _on_message(self, message: Answer | Changed | Compacted) -> None:
        match message:
            case Answer(number, result, refused):
                call = self._calls.get(number)
                if call and not call.answer.done():
                    if refused:
                        call.answer.set_exception(RendezvousUnreachable(refused))
                    else:
                        call.answer.set_result(result)
            case Changed(number, event):
                watcher = self._watchers.get(number)
                if watcher:
                    watcher.last = event.revision
                    watcher.events.put_nowait(event)
            case Compacted(number):
                watcher = self._watchers.pop(number, None)
                if watcher:
                    watcher.events.put_nowait(WatchCompacted("changes are forgotten"))

    def _on_lost(self, end: End) -> None:
        if end is not self._end:
            return
        self._end = None
        if not self.repeats:
            self._fail_sent("the connection broke")
        if not self._over and not self._returning:
            self._returning = asyncio.create_task(self._come_back())

    async def _come_back(self) -> None:
        loop = asyncio.get_running_loop()
        deadlines = [lease.deadline for lease in self.leases.values()]
        patience = max(deadlines, default=loop.time() + self.request_timeout)
        try:
            async with asyncio.timeout_at(patience):
                await self._insist()
        except TimeoutError:
            self._fail("the store is lost")
        except RendezvousUnreachable as error:
            self._finish(str(error))
        finally:
            self._returning = None

    async def _insist(self) -> None:
        delay = 0.05
        while True:
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_DIAL_TIMEOUT):
                    return await self._dial()
            await asyncio.sleep(delay * self.random.uniform(0.5, 1.0))
            delay = min(2 * delay, 1.0)

    async def _dial(self) -> None:
        end = await self.network.connect(self.process, self.address)
        greeted: asyncio.Future[Welcome] = asyncio.get_running_loop().create_future()

        def welcome(message: Welcome) -> None:
            # A process that is slow can have given up by now.
            if not greeted.done():
                greeted.set_result(message)

        def lost(reason: str) -> None:
            if not greeted.done():
                greeted.set_exception(ConnectionResetError(reason))
            self._on_lost(end)

        end.on_message, end.on_lost = welcome, lost
        before = self._welcome
        try:
            end.send(Hello(before.session if before else 0, self.grace))
            self._greet(end, await greeted)
        finally:
            if end is not self._end:
                end.close()

    def _greet(self, end: End, welcome: Welcome) -> None:
        before, self._welcome = self._welcome, welcome
        if before and before.store != welcome.store:
            raise RendezvousUnreachable("another store answers at its address")
        if before and not welcome.resumed:
            for lease in tuple(self.leases.values()):
                lease.lose("the session was ended: the connection was away too long")
            self._fail_sent("the session was ended")
        self._end = end
        end.on_message = self._on_message
        for number, watcher in self._watchers.items():
            end.send(Watch(number, watcher.prefix, watcher.last))
        for call in self._calls.values():
            self._transmit(call)

    def _fail_sent(self, reason: str) -> None:
        error = RendezvousUnreachable(f"{reason}; a write may be lost")
        for call in self._calls.values():
            written = call.sent and call.request.operation in _WRITES
            if written and not call.answer.done():
                call.answer.set_exception(error)

    def _fail(self, reason: str) -> None:
        """Tell everybody who waits."""
        for call in self._calls.values():
            if not call.answer.done():
                call.answer.set_exception(RendezvousUnreachable(reason))
        for watcher in self._watchers.values():
            watcher.events.put_nowait(RendezvousUnreachable(reason))
        self._watchers.clear()

    def _finish(self, reason: str) -> None:
        """Be of no use from now on."""
        self._over = self._over or reason
        for lease in tuple(self.leases.values()):
            lease.lose(reason)
        self._fail(reason)
        if self._returning:
            self._returning.cancel()
        end, self._end = self._end, None
        if end:
            end.close()


def _number(lease: Lease | None) -> int | None:
    if lease is None:
        return None
    if not isinstance(lease, SimulatedLease):
        raise TypeError(f"{lease!r} is not a lease of this kind of store")
    if lease.lost.done():
        raise RendezvousUnreachable(f"the lease is lost: {lease.lost.result()}")
    return lease.number
