"""Leases of etcd, kept alive by a task each."""

import asyncio
import contextlib

import attrs

from elaunch.api import RendezvousError, RendezvousUnreachable
from elaunch_rdzv_etcd.leases import (
    RENEWALS,
    TRUSTED,
    check_held,
    stood_still,
    whole_seconds,
)
from elaunch_rdzv_etcd.link import Link
from elaunch_rdzv_etcd.v3.gateway import Gateway


@attrs.define(eq=False)
class EtcdLease:
    """A lease that is renewed until it is revoked, or lost.

    Attributes:
        id: Its id in etcd.
        ttl: Seconds without renewal after which etcd deletes its keys.
        lost: Done, with the reason, as soon as it can't be counted on.
    """

    id: int
    ttl: float
    _confirmed: float
    _link: Link[Gateway]
    lost: asyncio.Future[str] = attrs.field(init=False)
    _keeper: asyncio.Task[None] = attrs.field(init=False)

    @classmethod
    async def grant(
        cls, ttl: float, requests: Link[Gateway], renewals: Link[Gateway]
    ) -> "EtcdLease":
        """Return a new lease. etcd counts in whole seconds, from 1.5 elections.

        One whose answer is lost has no keys, and ends by itself.

        Raises:
            RendezvousUnreachable: If etcd grants none.
        """
        seconds = whole_seconds(ttl)
        (lease, granted), began = await requests.timed(lambda etcd: etcd.grant(seconds))
        return cls(lease, float(granted), began, renewals)

    def __attrs_post_init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep())

    def check(self, key: str) -> None:
        """Refuse a key if the lease is over.

        Raises:
            RendezvousUnreachable: If it is.
        """
        check_held(self.lost, key)

    def lose(self, reason: str) -> None:
        """Note that the lease can't be counted on any more."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self._keeper is not asyncio.current_task():
            self._keeper.cancel()

    async def revoke(self) -> None:
        """End the lease and delete its keys now; if that fails they end with it."""
        self.lose("it was revoked")
        limit = min(self.ttl, self._link.ring.target.timeout)
        with contextlib.suppress(RendezvousUnreachable, TimeoutError):
            async with asyncio.timeout(limit):
                await self._link.call(lambda etcd: etcd.revoke(self.id), limit)

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._confirmed + self.ttl / RENEWALS - loop.time())
            limit = self._confirmed + self.ttl * TRUSTED
            left = limit - loop.time()
            if left <= 0:
                self.lose(stood_still(loop.time() - self._confirmed))
                return
            try:
                async with asyncio.timeout_at(limit):
                    alive, began = await self._link.timed(
                        lambda etcd: etcd.keep_alive(self.id), left
                    )
            except TimeoutError:
                silence = loop.time() - self._confirmed
                self.lose(str(self._link.ring.unreachable(silence)))
                return
            except RendezvousError as error:
                self.lose(str(error))
                return
            if not alive:
                self.lose("etcd let it expire")
                return
            self._confirmed = began
