"""A lease as its holder keeps it: a record that is written again and again."""

import asyncio
import contextlib
from collections.abc import Callable

import attrs

from elaunch.errors import RendezvousError, RendezvousUnreachable
from elaunch.polling.backend import KEYS, LEASES, Backend, Kept
from elaunch.polling.judge import LOOKS
from elaunch.store import ABSENT


RENEWALS = 4
"""Renewals in one time to live."""

TRUSTED = 0.8
"""Part of its time to live for which a renewal counts.

Less than all of it, so that its holder knows before others see its keys vanish.
"""

RETRIES = 20
"""Attempts in one time to live while renewing fails."""


@attrs.define(eq=False)
class PollingLease:
    """A lease of a polling store.

    Attributes:
        id: Its id, used once.
        ttl: Its time to live.
        lost: Done, with the reason, as soon as the lease can't be counted on.
    """

    id: str
    ttl: float
    lost: asyncio.Future[str]
    _backend: Backend
    _on_trouble: Callable[[], None]
    _keys: set[str] = attrs.field(factory=set, init=False)
    _revision: int = attrs.field(default=ABSENT, init=False)
    _keeper: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def grant(self) -> None:
        """Write the record, and renew it from now on."""
        sent = asyncio.get_running_loop().time()
        self._revision = await self._write(ABSENT) or ABSENT
        self._keeper = asyncio.create_task(self._keep(sent))

    def attach(self, key: str) -> None:
        """Remember a key that is about to be put under the lease.

        Raises:
            RendezvousUnreachable: If the lease is lost.
        """
        if self.lost.done():
            raise self.unusable(key)
        self._keys.add(key)

    async def confirm(self, key: str, revision: int) -> None:
        """Make sure that the lease was there when a key was put under it.

        Raises:
            RendezvousUnreachable: If it was not; the key is removed.
        """
        if await self._backend.read(LEASES + self.id) is None:
            self._lose("it expired")
            await self._backend.remove(KEYS + key, revision)
            raise self.unusable(key)

    def unusable(self, key: str) -> RendezvousUnreachable:
        """Return the error for a key that can't be put under a lost lease."""
        return RendezvousUnreachable(
            f"the lease of {key!r} is lost: {self.lost.result()}; join again"
        )

    async def revoke(self) -> None:
        """End the lease and remove its keys, those that nobody has overwritten.

        Without the record the keys count as absent, so what can't be removed now is in
        nobody's way.
        """
        self._lose("it was revoked")
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        with contextlib.suppress(RendezvousError):
            await self._backend.remove(LEASES + self.id, None)
            for key in sorted(self._keys):
                raw = await self._backend.read(KEYS + key)
                if raw and Kept.read(raw).lease == self.id:
                    await self._backend.remove(raw.key, raw.revision)
            self._keys.clear()

    async def _keep(self, confirmed: float) -> None:
        loop = asyncio.get_running_loop()
        while not self.lost.done():
            await asyncio.sleep(confirmed + self.ttl / RENEWALS - loop.time())
            try:
                async with asyncio.timeout_at(confirmed + self.ttl * TRUSTED):
                    confirmed = await self._renew()
            except TimeoutError:
                silence = loop.time() - confirmed
                self._lose(f"it could not be renewed for {silence:.1f} s")
            except RendezvousError as error:
                self._lose(str(error))

    async def _renew(self) -> float:
        """Renew and return when that was sent; try until it works."""
        loop = asyncio.get_running_loop()
        while True:
            sent = loop.time()
            try:
                revision = await self._attempt()
            except RendezvousUnreachable:
                # Whoever can't renew here is not the only one: others' leases must not
                # be judged by this time either.
                self._on_trouble()
                await asyncio.sleep(self.ttl / RETRIES)
                continue
            if loop.time() - sent > self.ttl / LOOKS:
                self._on_trouble()
            if revision is None:
                self._lose("it expired")
                return sent
            self._revision = revision
            return sent

    async def _attempt(self) -> int | None:
        """Write the record anew; `None` if it is gone."""
        while True:
            revision = await self._write(self._revision)
            if revision is not None:
                return revision
            # An attempt whose answer was lost may have been carried out after all.
            record = await self._backend.read(LEASES + self.id)
            if record is None:
                return None
            self._revision = record.revision

    async def _write(self, expected: int) -> int | None:
        value = repr(self.ttl).encode()
        return await self._backend.write(LEASES + self.id, value, expected)

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
