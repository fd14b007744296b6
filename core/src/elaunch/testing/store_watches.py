"""The part of the store contract about watches."""

import asyncio
from contextlib import aclosing

import pytest

from elaunch.api import RendezvousUnreachable
from elaunch.testing.store_clients import NewStore, StoreFixtures, next_event


class WatchTests(StoreFixtures):
    """Whoever watches misses nothing."""

    async def test_a_watch_goes_on_where_a_listing_ends(self, client: NewStore) -> None:
        """Nothing is missed and nothing comes twice between the two."""
        store, writer = await client(), await client()
        await writer.put("/a/old", b"")
        listing = await store.list("/a/")
        await writer.put("/a/between", b"")

        async with aclosing(store.watch("/a/", listing.revision)) as events:
            first = await next_event(events)
            await writer.put("/a/later", b"")
            second = await next_event(events)

        assert [entry.key for entry in listing.entries] == ["/a/old"]
        assert [first.key, second.key] == ["/a/between", "/a/later"]

    async def test_a_watch_of_a_part_goes_on_where_a_listing_of_all_ends(
        self, client: NewStore
    ) -> None:
        """What was deleted since is told; what lies elsewhere is not."""
        store, writer = await client(), await client()
        for key in ("/a/x/kept", "/a/x/gone", "/a/y"):
            await writer.put(key, b"")
        listing = await store.list("/a/")
        await writer.delete("/a/x/gone")
        await writer.delete("/a/y")
        await writer.put("/a/y", b"")

        async with aclosing(store.watch("/a/x/", listing.revision)) as events:
            first = await next_event(events)
            await writer.put("/a/x/new", b"")
            second = await next_event(events)

        assert [(e.key, e.value) for e in (first, second)] == [
            ("/a/x/gone", None),
            ("/a/x/new", b""),
        ]

    async def test_a_watch_tells_changes_in_order(self, client: NewStore) -> None:
        """Each value that stays for a while, and deletions as changes to `None`."""
        store, writer = await client(), await client()
        start = (await store.list("/a/")).revision
        async with aclosing(store.watch("/a/", start)) as events:
            put = [await writer.put("/a/key", b"0")]
            seen = [await next_event(events)]
            await writer.put("/elsewhere", b"")
            put.append(await writer.put("/a/key", b"1"))
            seen.append(await next_event(events))
            await writer.delete("/a/key")
            seen.append(await next_event(events))
            put.append(await writer.put("/a/key", b"2"))
            seen.append(await next_event(events))

        assert [event.value for event in seen] == [b"0", b"1", None, b"2"]
        assert [e.revision for e in seen if e.value is not None] == put
        assert put[1] < seen[2].revision < put[2]

    async def test_a_watch_tells_every_change_in_order(self, client: NewStore) -> None:
        """Overwritten values are told, too; a deletion is a change to `None`."""
        if not self.tells_every_change:
            pytest.skip("this store tells the last of several quick changes")
        store, writer = await client(), await client()
        start = (await store.list("/a/")).revision
        async with aclosing(store.watch("/a/", start)) as events:
            revisions = [await writer.put("/a/key", b"0")]
            await writer.put("/elsewhere", b"")
            revisions.append(await writer.put("/a/key", b"1"))
            await writer.delete("/a/key")
            revisions.append(await writer.put("/a/key", b"2"))
            seen = [await next_event(events) for _ in range(4)]

        assert [event.value for event in seen] == [b"0", b"1", None, b"2"]
        assert {event.key for event in seen} == {"/a/key"}
        assert [e.revision for e in seen if e.value is not None] == revisions
        assert sorted({event.revision for event in seen}) == [
            event.revision for event in seen
        ]

    async def test_every_watch_gets_everything(self, client: NewStore) -> None:
        """Two watches, of one client or of two, don't share the changes."""
        store, other = await client(), await client()
        start = (await store.list("/")).revision
        others = (await other.list("/")).revision
        async with (
            aclosing(store.watch("/a", start)) as first,
            aclosing(store.watch("/a", start)) as second,
            aclosing(other.watch("/", others)) as third,
        ):
            await other.put("/a/0", b"0")
            await store.put("/a/1", b"1")
            seen = [
                [(await next_event(events)).value for _ in range(2)]
                for events in (first, second, third)
            ]

        assert seen == [[b"0", b"1"]] * 3

    async def test_a_watch_ends_with_its_client(self, client: NewStore) -> None:
        """Whoever waits for changes that can't come any more is told."""
        store = await client()
        start = (await store.list("/")).revision
        await store.put("/a", b"first")
        events = store.watch("/", start)
        first = await next_event(events)
        waiting = asyncio.create_task(next_event(events))
        await store.close()

        assert first.value == b"first"
        with pytest.raises(RendezvousUnreachable):
            await waiting
