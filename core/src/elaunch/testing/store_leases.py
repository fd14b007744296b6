"""The part of the store contract about leases."""

import asyncio
from contextlib import aclosing

import pytest

from elaunch.api import ABSENT, RendezvousUnreachable
from elaunch.testing.store_clients import SOON, NewStore, StoreFixtures, next_event


class LeaseTests(StoreFixtures):
    """Keys live as long as who put them."""

    async def test_a_lease_is_kept_alive(self, client: NewStore) -> None:
        """Its keys live on after its time to live, as long as its holder does."""
        store, other = await client(), await client()
        lease = await store.lease(self.min_lease_ttl)
        await store.put("/leased", b"", lease=lease)

        await asyncio.wait({lease.lost}, timeout=2.5 * self.min_lease_ttl)

        assert not lease.lost.done()
        assert lease.ttl >= self.min_lease_ttl
        assert await other.get("/leased") is not None

    async def test_renewing_a_lease_changes_no_key(self, client: NewStore) -> None:
        """Who holds a revision can still replace it, however old the key is."""
        store = await client()
        lease = await store.lease(self.min_lease_ttl)
        revision = await store.put("/leased", b"old", lease=lease)
        await asyncio.wait({lease.lost}, timeout=1.5 * self.min_lease_ttl)

        entry = await store.get("/leased")
        replaced = await store.compare_and_set("/leased", b"new", expected=revision)

        assert not lease.lost.done()
        assert entry is not None
        assert entry.revision == revision
        assert replaced is not None

    async def test_a_revoked_lease_takes_its_keys_with_it(
        self, client: NewStore
    ) -> None:
        """At once, and watchers see it; other keys stay."""
        store, other = await client(), await client()
        lease = await store.lease(self.min_lease_ttl)
        await store.put("/a/leased", b"", lease=lease)
        await store.compare_and_set("/a/too", b"", expected=ABSENT, lease=lease)
        await store.put("/a/kept", b"")
        start = (await other.list("/a/")).revision

        async with aclosing(other.watch("/a/", start)) as events:
            await lease.revoke()
            gone = [await next_event(events) for _ in range(2)]
        await lease.revoke()

        assert {(e.key, e.value) for e in gone} == {
            ("/a/leased", None),
            ("/a/too", None),
        }
        assert [entry.key for entry in (await other.list("/a/")).entries] == ["/a/kept"]
        async with asyncio.timeout(SOON):
            assert await lease.lost

    async def test_the_keys_of_a_silent_client_vanish(self, client: NewStore) -> None:
        """When its time to live is over; watchers see it, and others go on."""
        silent, other = await client(), await client()
        lease = await silent.lease(self.min_lease_ttl)
        await silent.put("/a/leased", b"", lease=lease)
        held = await other.lease(10 * self.min_lease_ttl)
        await other.put("/a/kept", b"", lease=held)
        start = (await other.list("/a/")).revision

        async with aclosing(other.watch("/a/", start)) as events:
            await self.silence(silent)
            present = await other.get("/a/leased")
            gone = await next_event(events)
        created = await other.compare_and_set("/a/leased", b"", expected=ABSENT)

        assert present is not None
        assert (gone.key, gone.value) == ("/a/leased", None)
        assert created is not None
        assert await other.get("/a/kept") is not None
        assert not held.lost.done()

    async def test_an_overwritten_key_leaves_its_lease(self, client: NewStore) -> None:
        """The last write decides what a key lives by."""
        store, other = await client(), await client()
        lease = await store.lease(self.min_lease_ttl)
        await store.put("/key", b"leased", lease=lease)
        await other.put("/key", b"kept")
        await lease.revoke()

        entry = await other.get("/key")

        assert entry is not None
        assert entry.value == b"kept"

    async def test_nothing_can_be_put_under_a_revoked_lease(
        self, client: NewStore
    ) -> None:
        """A write that nobody would clean up is refused."""
        store = await client()
        lease = await store.lease(self.min_lease_ttl)
        await lease.revoke()

        with pytest.raises(RendezvousUnreachable):
            await store.put("/put", b"", lease=lease)
        with pytest.raises(RendezvousUnreachable):
            await store.compare_and_set("/set", b"", expected=ABSENT, lease=lease)
        assert (await store.list("/")).entries == ()

    async def test_the_keys_of_a_closed_client_vanish(self, client: NewStore) -> None:
        """Goodbye ends all leases at once; what has none stays."""
        store, other = await client(), await client()
        lease = await store.lease(60.0)
        await store.put("/a/leased", b"", lease=lease)
        await store.put("/a/kept", b"")
        start = (await other.list("/a/")).revision

        async with aclosing(other.watch("/a/", start)) as events:
            await store.close()
            gone = await next_event(events)

        assert (gone.key, gone.value) == ("/a/leased", None)
        assert [entry.key for entry in (await other.list("/a/")).entries] == ["/a/kept"]
        assert lease.lost.done()
