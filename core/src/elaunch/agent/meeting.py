"""Where the workers of a generation meet: opened in time, closed after the last worker.

What this agent hosts for a generation serves the workers of all nodes. It is closed

- when this node is a member of another generation: that is sealed only when no worker
  of the one before is left;
- while this node waits for a place, as soon as the others have stopped theirs;
- when this node leaves, likewise, but not later than they must have stopped.
"""

import asyncio
import contextlib
from collections.abc import Mapping

import attrs

from elaunch.bootstrap import Bootstrap
from elaunch.errors import RendezvousTimeout, RendezvousUnreachable
from elaunch.events import EventName, Record
from elaunch.rendezvous import Membership, RendezvousHandler


BOOTSTRAP_TIMEOUT = 60.0
"""Seconds that members wait for what group rank 0 publishes; its death ends it."""

NOTICE_MARGIN = 10.0
"""Seconds in which the others notice that this node is lost, when none can be asked."""


@attrs.define(eq=False, repr=False, kw_only=True)
class MeetingPoint:
    """What the workers of one generation after the other need to find each other.

    Attributes:
        bootstrap: Opens it.
        handler: Tells it to the members, and who of them still runs workers.
        stop_time: Seconds in which any node stops its workers.
        record: Told what is known.
    """

    bootstrap: Bootstrap
    handler: RendezvousHandler
    stop_time: float
    record: Record
    _over_since: float | None = attrs.field(default=None, init=False)

    async def find(self, membership: Membership) -> Mapping[str, str]:
        """Open or learn it; return the variables that tell the workers.

        Raises:
            RendezvousTimeout: If group rank 0 publishes nothing.
            RendezvousUnreachable: If the store is lost.
            SpawnError: If it can't be opened.
        """
        self._over_since = None
        if membership.group_rank == 0:
            peers = await self.handler.member_addresses()
            info = await self.bootstrap.open(membership.generation, peers)
            await self.handler.publish_bootstrap(info)
        else:
            # Rank 0 may have been ours; those workers are gone, and so is their store.
            await self.bootstrap.close()
            info = await self._learn(membership)
        self.record(
            EventName.BOOTSTRAP_READY, generation=membership.generation, **dict(info)
        )
        return self.bootstrap.environment(info)

    async def _learn(self, membership: Membership) -> Mapping[str, str]:
        try:
            async with asyncio.timeout(BOOTSTRAP_TIMEOUT):
                return await self.handler.bootstrap()
        except TimeoutError:
            raise RendezvousTimeout(
                f"the node of group rank 0 published no way to meet for generation "
                f"{membership.generation} within {BOOTSTRAP_TIMEOUT:g} s"
            ) from None

    def is_over(self) -> None:
        """Note that the generation is over: its workers are being stopped."""
        if self._over_since is None:
            self._over_since = asyncio.get_running_loop().time()

    async def close_after_others(self) -> None:
        """Close it when no worker is left; this node waits for a place meanwhile."""
        if not self.bootstrap.is_open:
            return
        try:
            await self.handler.others_stopped()
        except RendezvousUnreachable:
            await asyncio.sleep(self.stop_time + NOTICE_MARGIN)
        await self.bootstrap.close()

    async def close_and_go(self) -> None:
        """Close it when no worker is left, or must be: this node leaves."""
        self.is_over()
        if self.bootstrap.is_open and self._over_since is not None:
            with contextlib.suppress(RendezvousUnreachable, TimeoutError):
                async with asyncio.timeout_at(self._over_since + self.stop_time):
                    await self.handler.others_stopped()
        await self.close()

    async def close(self) -> None:
        """Close it now, whoever still uses it. Twice is fine."""
        await self.bootstrap.close()
