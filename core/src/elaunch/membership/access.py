"""How a node comes to its store: opened when needed, kept for as long as it answers."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import attrs

from elaunch.errors import RendezvousUnreachable
from elaunch.membership.progress import Patience
from elaunch.store import Lease, Store


REUSE_TIMEOUT = 2.0
"""Seconds that a store which was just lost gets to prove that it is there."""


@attrs.define(eq=False, repr=False)
class StoreAccess:
    """The store of one node, which may be another one after a loss.

    Attributes:
        open_store: Connects to it, or raises `RendezvousUnreachable`.
        ttl: Seconds of a lease.
        on_open: Called when it was opened: it may know nothing of the job.
        store: The store, `None` while it is not open.
    """

    open_store: Callable[[], Awaitable[Store]]
    ttl: float
    on_open: Callable[[], None]
    store: Store | None = attrs.field(default=None, init=False)

    async def hold_lease(self, patience: Patience) -> tuple[Store, Lease]:
        """Return a store that answers, with a lease of it.

        A store that was in use before is tried first: whoever hosts it must keep it.
        If it is gone, opening it again may find it elsewhere, or host it here.

        Raises:
            RendezvousUnreachable: If it can't be opened, or does not answer for as long
                as a join waits.
        """
        while True:
            if self.store:
                with contextlib.suppress(RendezvousUnreachable, TimeoutError):
                    async with asyncio.timeout(REUSE_TIMEOUT):
                        return self.store, await self.store.lease(self.ttl)
                await self.close()
            self.store = await self.open_store()
            self.on_open()
            try:
                return self.store, await self.store.lease(self.ttl)
            except RendezvousUnreachable as error:
                await patience.endure(error)

    async def close(self) -> None:
        """Close it. Twice is fine."""
        store, self.store = self.store, None
        if store:
            await store.close()
