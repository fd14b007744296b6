"""The simplest real store: one keyspace shared by the tasks of one process."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterator

import attrs

from elaunch.errors import RendezvousUnreachable, UsageError
from elaunch.keyspace import Keyspace, KeyspaceFull, UnknownLease
from elaunch.store import Entry, Lease, Listing, StoreEvent


CLOSED = "the store client is closed"


@attrs.define(eq=False, repr=False)
class MemoryLease:
    """A lease on a shared keyspace, renewed by the loop's own timer."""

    number: int
    ttl: float
    lost: asyncio.Future[str]
    _store: "MemoryStore"
    _timer: asyncio.TimerHandle | None = None

    def keep(self) -> None:
        """Renew now and again after a third of the time to live."""
        loop = asyncio.get_running_loop()
        if self._store.keyspace.renew(self.number, loop.time()):
            self._timer = loop.call_later(self.ttl / 3, self.keep)
        else:
            self.lose("it expired")

    def lose(self, reason: str) -> None:
        """Stop renewing and tell the holder."""
        if self._timer:
            self._timer.cancel()
        if not self.lost.done():
            self.lost.set_result(reason)

    async def revoke(self) -> None:
        """End the lease and delete its keys now."""
        self._store.keyspace.revoke(self.number)
        self.lose("it was revoked")


@attrs.define(eq=False, repr=False)
class MemoryStore:
    """A client of a keyspace in the same process and event loop.

    Attributes:
        keyspace: The keyspace; clients that share it see each other.
    """

    keyspace: Keyspace = attrs.field(factory=Keyspace)
    _leases: list[MemoryLease] = attrs.field(factory=list, init=False)
    _watching: list[asyncio.Queue[StoreEvent | None]] = attrs.field(
        factory=list, init=False
    )
    _closed: bool = attrs.field(default=False, init=False)

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        return self._ready().get(key)

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key and return its new revision."""
        with _refusals(key):
            return self._ready().put(key, value, _number(lease))

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``."""
        with _refusals(key):
            return self._ready().compare_and_set(key, value, expected, _number(lease))

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        return self._ready().delete(key, expected)

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""
        return self._ready().list(prefix)

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield every change under ``prefix`` after ``since``, in order."""
        events: asyncio.Queue[StoreEvent | None] = asyncio.Queue()
        keyspace = self._ready()
        with _refusals(prefix):
            subscription = keyspace.subscribe(prefix, since, events.put_nowait)
        self._watching.append(events)
        try:
            while (event := await events.get()) is not None:
                yield event
        finally:
            keyspace.unsubscribe(subscription)
            self._watching.remove(events)
        raise RendezvousUnreachable(CLOSED)

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease and keep it alive until it is revoked."""
        loop = asyncio.get_running_loop()
        with _refusals("a lease"):
            number = self._ready().grant(ttl, loop.time())
        lease = MemoryLease(number, ttl, loop.create_future(), self)
        lease.keep()
        self._leases.append(lease)
        return lease

    async def close(self) -> None:
        """End all leases of this client."""
        for lease in self._leases:
            await lease.revoke()
        self._end()

    def abandon(self) -> None:
        """Vanish without goodbye, as a killed process does: leases stop being renewed.

        Their keys stay until the time to live is over.
        """
        loop = asyncio.get_running_loop()
        for lease in self._leases:
            lease.lose("the client is gone")
            loop.call_later(lease.ttl, lambda: self.keyspace.expire(now=loop.time()))
        self._end()

    def _end(self) -> None:
        self._closed = True
        for events in self._watching:
            events.put_nowait(None)

    def _ready(self) -> Keyspace:
        if self._closed:
            raise RendezvousUnreachable(CLOSED)
        self.keyspace.expire(asyncio.get_running_loop().time())
        return self.keyspace


def _number(lease: Lease | None) -> int | None:
    if lease is None:
        return None
    if not isinstance(lease, MemoryLease):
        raise UsageError(f"{lease!r} is not a lease of this kind of store")
    return lease.number


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    try:
        yield
    except UnknownLease:
        raise RendezvousUnreachable(f"the lease of {what!r} is lost") from None
    except KeyspaceFull:
        raise RendezvousUnreachable(f"there is no room for {what!r}") from None
