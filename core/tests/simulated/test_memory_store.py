import asyncio
from contextlib import aclosing

import pytest

from elaunch.api import Keyspace, MemoryStore, RendezvousUnreachable, Store
from elaunch.testing import NewStore, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def new_store(self) -> NewStore:
        keyspace = Keyspace()

        async def new() -> MemoryStore:
            return MemoryStore(keyspace)

        return new

    async def silence(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        store.abandon()


@pytest.mark.asyncio
async def test_an_abandoned_client_dies_when_its_lease_is_over() -> None:
    keyspace = Keyspace()
    killed, other = MemoryStore(keyspace), MemoryStore(keyspace)
    lease = await killed.lease(0.05)
    await killed.put("/leased", b"", lease=lease)

    async with aclosing(other.watch("/", keyspace.revision)) as events:
        killed.abandon()
        present = await other.get("/leased")
        async with asyncio.timeout(10):
            gone = await anext(events)

    assert present is not None
    assert (gone.key, gone.value) == ("/leased", None)
    assert lease.lost.result() == "the client is gone"
    with pytest.raises(RendezvousUnreachable):
        await killed.get("/leased")
