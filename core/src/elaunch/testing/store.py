"""What every store must do."""

import asyncio
from contextlib import aclosing

import pytest

from elaunch.api import ABSENT, Entry, RendezvousUnreachable
from elaunch.testing.store_clients import NewStore, next_event
from elaunch.testing.store_leases import LeaseTests
from elaunch.testing.store_watches import WatchTests


@pytest.mark.asyncio
class StoreContract(WatchTests, LeaseTests):
    """Inherit, override the fixture ``new_store``, and run.

    Attributes:
        min_lease_ttl: Shortest lease of this store, in seconds; the tests take a few
            times as long.
        tells_every_change: Whether a watch tells each of several quick changes of one
            key, and not only the last.
    """

    async def test_an_absent_key_is_none(self, client: NewStore) -> None:
        """Asking for what is not there is no error."""
        store = await client()

        assert await store.get("/absent") is None
        assert (await store.list("/absent")).entries == ()

    async def test_what_one_client_puts_another_gets(self, client: NewStore) -> None:
        """Clients share one store."""
        writer, reader = await client(), await client()

        revision = await writer.put("/key", b"value")
        entry = await reader.get("/key")

        assert entry is not None
        assert (entry.key, entry.value, entry.revision) == ("/key", b"value", revision)

    async def test_only_one_creates(self, client: NewStore) -> None:
        """The loser of a creation gets `None` and changes nothing."""
        first, second = await client(), await client()

        created = await first.compare_and_set("/key", b"first", expected=ABSENT)
        lost = await second.compare_and_set("/key", b"second", expected=ABSENT)
        entry = await second.get("/key")

        assert lost is None
        assert entry is not None
        assert (entry.value, entry.revision) == (b"first", created)

    async def test_only_the_latest_revision_can_be_replaced(
        self, client: NewStore
    ) -> None:
        """Each change has a greater revision; an older one is stale."""
        store = await client()

        old = await store.put("/key", b"0")
        new = await store.compare_and_set("/key", b"1", expected=old)
        stale = await store.compare_and_set("/key", b"2", expected=old)
        entry = await store.get("/key")

        assert new is not None
        assert new > old
        assert stale is None
        assert entry is not None
        assert (entry.value, entry.revision) == (b"1", new)

    async def test_a_missing_key_has_no_revision_to_expect(
        self, client: NewStore
    ) -> None:
        """Comparing with the revision of a deleted key fails."""
        store = await client()
        revision = await store.put("/key", b"0")
        await store.delete("/key")

        assert await store.compare_and_set("/key", b"1", expected=revision) is None
        assert await store.get("/key") is None

    async def test_a_race_has_one_winner(self, client: NewStore) -> None:
        """Of many who compare at once, one sets."""
        stores = [await client() for _ in range(8)]
        start = await stores[0].put("/key", b"start")

        revisions = await asyncio.gather(
            *(
                store.compare_and_set("/key", b"%d" % number, expected=start)
                for number, store in enumerate(stores)
            )
        )
        winners = [number for number, won in enumerate(revisions) if won is not None]
        entry = await stores[0].get("/key")

        assert len(winners) == 1
        assert entry is not None
        assert entry.value == b"%d" % winners[0]
        assert entry.revision == revisions[winners[0]]

    async def test_delete_tells_whether_it_deleted(self, client: NewStore) -> None:
        """A second deletion, or one of another revision, deletes nothing."""
        store = await client()
        old = await store.put("/key", b"0")
        new = await store.put("/key", b"1")

        assert not await store.delete("/key", expected=old)
        assert await store.delete("/key", expected=new)
        assert not await store.delete("/key")
        assert not await store.delete("/key", expected=new)
        assert await store.get("/key") is None

    async def test_list_is_sorted_and_keeps_to_its_prefix(
        self, client: NewStore
    ) -> None:
        """The prefix is text: it needs not end at a slash."""
        store = await client()
        for key in ("/a/2", "/b/1", "/a/10", "/ab", "/a/1"):
            await store.put(key, key.encode())

        listing = await store.list("/a/")

        assert [entry.key for entry in listing.entries] == ["/a/1", "/a/10", "/a/2"]
        assert [entry.value for entry in listing.entries] == [
            b"/a/1",
            b"/a/10",
            b"/a/2",
        ]
        assert [entry.key for entry in (await store.list("/a")).entries] == [
            "/a/1",
            "/a/10",
            "/a/2",
            "/ab",
        ]

    @pytest.mark.parametrize(
        "value", [b"", b"\x00", bytes(range(256)), "ü€".encode(), b"x" * 100_000]
    )
    async def test_bytes_come_back_as_they_went(
        self, client: NewStore, value: bytes
    ) -> None:
        """Values are opaque."""
        store = await client()
        start = (await store.list("/")).revision
        await store.put("/put", value)
        await store.compare_and_set("/set", value, expected=ABSENT)

        entries = [await store.get("/put"), await store.get("/set")]
        async with aclosing(store.watch("/put", start)) as events:
            event = await next_event(events)

        assert [entry.value for entry in entries if entry] == [value, value]
        assert event.value == value

    @pytest.mark.parametrize("key", ["/job id/_x", "/a//b", "/a/../b", "/ü/%2F", "a"])
    async def test_any_text_is_a_key(self, client: NewStore, key: str) -> None:
        """Keys are only text to a store; prefixes are only text, too."""
        store = await client()
        revision = await store.put(key, b"value")

        assert await store.get(key) == Entry(key, b"value", revision)
        assert [e.key for e in (await store.list(key[:-1])).entries] == [key]
        assert await store.delete(key)

    async def test_a_closed_client_is_of_no_use(self, client: NewStore) -> None:
        """Closing twice is fine; every other use raises."""
        store = await client()
        await store.close()
        await store.close()

        with pytest.raises(RendezvousUnreachable):
            await store.get("/key")
        with pytest.raises(RendezvousUnreachable):
            await store.put("/key", b"")
        with pytest.raises(RendezvousUnreachable):
            await store.compare_and_set("/key", b"", expected=ABSENT)
        with pytest.raises(RendezvousUnreachable):
            await store.delete("/key")
        with pytest.raises(RendezvousUnreachable):
            await store.list("/")
        with pytest.raises(RendezvousUnreachable):
            await store.lease(60.0)
        with pytest.raises(RendezvousUnreachable):
            await next_event(store.watch("/", 0))
