"""One node for each rank: a key that lives exactly as long as its node's lease."""

import asyncio
import contextlib

import attrs

from elaunch.api import (
    ABSENT,
    EventName,
    Lease,
    NodeNotAdmitted,
    Record,
    Store,
    WatchCompacted,
)


@attrs.frozen
class RankClaim:
    """A node's claim to its rank; called with each lease of the node.

    Attributes:
        store: Where the ranks are held.
        run_id: Id of the job.
        rank: The rank.
        owner: Tells the node from every other.
        record: Told when another node is in the way.
    """

    store: Store
    run_id: str
    rank: int
    owner: str
    record: Record

    @property
    def key(self) -> str:
        """Where the rank is held; below the job's root, so that its end removes it."""
        return f"/{self.run_id}/ranks/{self.rank}"

    async def __call__(self, lease: Lease) -> None:
        """Hold the rank for as long as the lease lasts.

        A node that is dead can look alive for as long as a lease; whoever takes its
        place waits so long.

        Raises:
            NodeNotAdmitted: If another node has the rank and is alive.
            RendezvousUnreachable: If the store is lost.
        """
        deadline = asyncio.get_running_loop().time() + lease.ttl
        told = ""
        while True:
            listing = await self.store.list(self.key)
            entry = next((e for e in listing.entries if e.key == self.key), None)
            holder = entry.value.decode(errors="replace") if entry else self.owner
            if holder == self.owner:
                expected = entry.revision if entry else ABSENT
                if await self.store.compare_and_set(
                    self.key, self.owner.encode(), expected=expected, lease=lease
                ):
                    return
                continue
            if holder != told:
                told = holder
                self.record(
                    EventName.STORE_NOTE,
                    reason=f"rank {self.rank} belongs to node {holder!r}; waiting "
                    f"{lease.ttl:g} s for its end",
                )
            try:
                async with asyncio.timeout_at(deadline):
                    await self._wait_for_change(listing.revision)
            except TimeoutError:
                raise NodeNotAdmitted(
                    f"rank {self.rank} of job {self.run_id!r} belongs to node "
                    f"{holder!r}; give each node a --node-rank of its own"
                ) from None

    async def _wait_for_change(self, since: int) -> None:
        watch = self.store.watch(self.key, since)
        with contextlib.suppress(WatchCompacted):
            async with contextlib.aclosing(watch) as events:
                async for event in events:
                    if event.key == self.key:
                        return
