"""The store port over a connection to the job's control store."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

import attrs

from elaunch.api import (
    Entry,
    Lease,
    Listing,
    RendezvousUnreachable,
    StoreEvent,
    UsageError,
)
from elaunch_rdzv_c10d.addresses import Endpoint
from elaunch_rdzv_c10d.link import Link
from elaunch_rdzv_c10d.messages import (
    CompareAndSet,
    Delete,
    Deleted,
    Found,
    Get,
    Grant,
    Granted,
    List,
    Listed,
    Operation,
    Put,
    Refused,
    Renew,
    Result,
    Revoke,
    Written,
)
from elaunch_rdzv_c10d.security import UNPROTECTED, Security
from elaunch_rdzv_c10d.wire import MAX_KEY, MAX_VALUE


_Answer = TypeVar("_Answer", bound=Result)

_LOST_AFTER = 0.8
"""Part of its time to live that a lease may go without a renewal.

Less than all of it, so that its holder knows before others see its keys vanish.
"""

_RENEWALS = 8
"""Renewals in one time to live.

What is left of it after the last one must outlast an outage: with the lease that a job
has by default and with one renewal just missed, it outlasts 13 s of silence.
"""

_RETRY = 0.02
"""Part of its time to live between a renewal that failed and the next try."""


@attrs.define(eq=False, repr=False)
class ControlLease:
    """A lease of the control store, renewed by a task.

    Attributes:
        number: Its number at the store.
        ttl: Seconds of silence after which the store ends it.
        lost: Done, with the reason, when it can't be counted on any more.
        renewed: When the last renewal that was answered was sent, by the loop's clock.
        link: The session that it belongs to.
        patience: Seconds that one renewal may take before it is tried again.
    """

    number: int
    ttl: float
    lost: asyncio.Future[str]
    renewed: float
    link: Link
    patience: float
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    @property
    def deadline(self) -> float:
        """When it counts as lost unless it is renewed before."""
        return self.renewed + _LOST_AFTER * self.ttl

    def keep(self) -> None:
        """Renew it from now on."""
        self._task = asyncio.create_task(self._keep())

    def lose(self, reason: str) -> None:
        """Stop renewing it and tell its holder. Twice is fine."""
        if self._task:
            self._task.cancel()
        if not self.lost.done():
            self.lost.set_result(reason)

    async def revoke(self) -> None:
        """End it and delete its keys now."""
        if self.lost.done():
            return
        self.lose("it was revoked")
        try:
            await self.link.request(Revoke(self.number))
        except RendezvousUnreachable:
            # Nobody renews it any more, so it ends by itself.
            return

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        interval = self.ttl / _RENEWALS
        pause = interval
        while True:
            try:
                async with asyncio.timeout_at(self.deadline):
                    await asyncio.sleep(pause)
                    sent = loop.time()
                    result = await self.link.request(Renew(self.number), self.patience)
            except TimeoutError:
                # A link without a connection gives up in this moment, too. It goes
                # first, in the next turn: its reason names the store.
                await asyncio.sleep(0)
                self.lose(
                    f"it could not be renewed for {_LOST_AFTER * self.ttl:g} s: "
                    f"{self.link.trouble or 'the store did not answer'}"
                )
                return
            except RendezvousUnreachable:
                pause = _RETRY * self.ttl
                continue
            if isinstance(result, Refused):
                self.lose(f"the store says: {result.reason}")
                return
            self.renewed = sent
            pause = max(0.0, sent + interval - loop.time())


@attrs.define(eq=False, repr=False)
class ControlStore:
    """A client of a control store: one session. Made by `connect`.

    Attributes:
        endpoint: Where the store is.
        run_id: Id of the client's job.
        grace: Seconds a broken connection may take to come back before the store
            counts this client as dead.
        request_timeout: Seconds a request may take.
        renew_timeout: Seconds the renewal of a lease may take before it is tried again;
            `None` for a third of the lease.
        security: What this client shows, and asks the store to show.
        after_lease: Awaited with each lease before it is handed out; if it raises,
            the lease is revoked.
        after_close: Awaited once at the end of `close`.
    """

    endpoint: Endpoint
    run_id: str
    grace: float = 0.5
    request_timeout: float = 30.0
    renew_timeout: float | None = None
    security: Security = UNPROTECTED
    after_lease: Callable[[Lease], Awaitable[None]] | None = attrs.field(
        default=None, init=False
    )
    after_close: Callable[[], Awaitable[None]] | None = attrs.field(
        default=None, init=False
    )
    _link: Link = attrs.field(init=False)
    # In the order of granting, so that the same run loses them in the same order.
    _leases: dict[ControlLease, None] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._link = Link(
            self.endpoint,
            self.run_id,
            self.grace,
            self.request_timeout,
            self.security,
            patience=self._patience,
            on_session_lost=self._lose_all,
        )

    @classmethod
    async def connect(  # noqa: PLR0913 - all by name but the two that say where
        cls,
        host: str,
        port: int,
        *,
        timeout: float,  # noqa: ASYNC109 - the message tells how long it tried
        run_id: str,
        reconnect_grace: float = 0.5,
        request_timeout: float = 30.0,
        renew_timeout: float | None = None,
        security: Security = UNPROTECTED,
        on_waiting: Callable[[str], None] = lambda _: None,
    ) -> "ControlStore":
        """Open a session; while the host is not there yet, try again.

        Args:
            host: Name or address of the host.
            port: Its port.
            timeout: Seconds to try.
            run_id: Id of the client's job.
            reconnect_grace: Seconds a broken connection may take to come back before
                the store counts this client as dead.
            request_timeout: Seconds a request may take.
            renew_timeout: Seconds the renewal of a lease may take before it is tried
                again; `None` for a third of the lease.
            security: What this client shows, and asks the store to show.
            on_waiting: Told why there is no connection yet: first when the first try
                failed, then every ten seconds.

        Raises:
            NodeNotAdmitted: At once if the store refuses this client.
            RendezvousUnreachable: If there is none after ``timeout``, or at once if
                what answers is not an elaunch store, or not the job's.
        """
        store = cls(
            Endpoint(host, port),
            run_id,
            reconnect_grace,
            request_timeout,
            renew_timeout,
            security,
        )
        await store._link.open(timeout, on_waiting)
        return store

    @property
    def session(self) -> str:
        """Id of the session at the store: a secret."""
        return self._link.welcome.session if self._link.welcome else ""

    @property
    def host_run_id(self) -> str:
        """Id of the job that hosts the store."""
        return self._link.welcome.run_id if self._link.welcome else ""

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        return (await self._ask(Get(key), Found)).entry

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key and return its new revision.

        Raises:
            RendezvousUnreachable: Also if the lease is lost.
            UsageError: If key or value is too long.
        """
        _check_size(key, value)
        number = self._number(key, lease)
        revision = (await self._ask(Put(key, value, number), Written)).revision
        if revision is None:
            raise RendezvousUnreachable(f"the store did not write {key!r}")
        return revision

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``.

        Raises:
            RendezvousUnreachable: Also if the lease is lost.
            UsageError: If key or value is too long.
        """
        _check_size(key, value)
        number = self._number(key, lease)
        operation = CompareAndSet(key, value, expected, number)
        return (await self._ask(operation, Written)).revision

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        return (await self._ask(Delete(key, expected), Deleted)).deleted

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""
        listed = await self._ask(List(prefix), Listed)
        return Listing(listed.entries, listed.revision)

    def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield every change under ``prefix`` after ``since``, in order.

        Survives reconnects without missing a change. Close the generator to end it.

        Raises:
            WatchCompacted: If changes after ``since`` are no longer known.
            RendezvousUnreachable: If the store is lost, or this client is closed.
        """
        return self._link.watch(prefix, since)

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease of ``ttl`` seconds and keep it alive until it is revoked."""
        loop = asyncio.get_running_loop()
        sent = loop.time()
        number = (await self._ask(Grant(ttl), Granted)).lease
        patience = self.renew_timeout or ttl / 3
        lost = loop.create_future()
        lease = ControlLease(number, ttl, lost, sent, self._link, patience)
        self._leases[lease] = None
        lease.lost.add_done_callback(lambda _: self._leases.pop(lease, None))
        lease.keep()
        if self.after_lease:
            try:
                await self.after_lease(lease)
            except BaseException:
                await lease.revoke()
                raise
        return lease

    async def close(self) -> None:
        """Say goodbye: end all leases and watches of this client. Twice is fine."""
        self._lose_all("the store client was closed")
        after, self.after_close = self.after_close, None
        try:
            await self._link.close()
        finally:
            if after:
                await after()

    async def _ask(self, operation: Operation, kind: type[_Answer]) -> _Answer:
        result = await self._link.request(operation)
        if isinstance(result, kind):
            return result
        reason = result.reason if isinstance(result, Refused) else "a wrong answer"
        raise RendezvousUnreachable(f"the store refused {operation!r:.80}: {reason}")

    def _number(self, key: str, lease: Lease | None) -> int | None:
        if lease is None:
            return None
        if not isinstance(lease, ControlLease) or lease.link is not self._link:
            raise UsageError(f"the lease for {key!r} is not one of this store client")
        if lease.lost.done():
            raise RendezvousUnreachable(
                f"the lease for {key!r} is lost: {lease.lost.result()}"
            )
        return lease.number

    def _patience(self) -> float:
        otherwise = asyncio.get_running_loop().time() + self.request_timeout
        return max((lease.deadline for lease in self._leases), default=otherwise)

    def _lose_all(self, reason: str) -> None:
        for lease in tuple(self._leases):
            lease.lose(reason)


def _check_size(key: str, value: bytes) -> None:
    if len(key) > MAX_KEY:
        raise UsageError(f"a key of {len(key)} characters; the limit is {MAX_KEY}")
    if len(value) > MAX_VALUE:
        raise UsageError(
            f"the value for {key!r} has {len(value)} bytes; the limit is {MAX_VALUE}"
        )
