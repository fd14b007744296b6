"""What tests of watches over etcd share."""

import asyncio
import threading
from collections.abc import AsyncGenerator

from elaunch.api import StoreEvent
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


_LIMIT = 30.0  # seconds


async def following(events: AsyncGenerator[StoreEvent, None]) -> StoreEvent:
    """Wait for the next event of a watch."""
    async with asyncio.timeout(_LIMIT):
        return await anext(events)


async def compact(store: EtcdV3Store) -> int:
    """Make etcd forget everything but what is there now."""
    revision = (await store.list("/")).revision
    request = {"revision": str(revision), "physical": True}
    await store.link.call(lambda etcd: etcd._post("/kv/compaction", request, {}))
    return revision


def streams() -> int:
    """Return how many threads read streams of changes."""
    return sum(t.name == "elaunch-etcd-watch" for t in threading.enumerate())
