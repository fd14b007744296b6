"""What every store must do."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from elaunch.api import ABSENT, Entry, RendezvousUnreachable, Store, StoreEvent


NewStore = Callable[[], Awaitable[Store]]
"""Gives another client of the store under test each time it is called."""

_EVENT_TIMEOUT = 10.0  # seconds


async def _next(events: AsyncGenerator[StoreEvent, None]) -> StoreEvent:
    async with asyncio.timeout(_EVENT_TIMEOUT):
        return await anext(events)


@pytest.mark.asyncio
class StoreContract:
    """Inherit, override the fixture ``new_store``, and run.

    Attributes:
        min_lease_ttl: Shortest lease of this store, in seconds; the tests take a few
            times as long.
    """

    min_lease_ttl: float = 0.3

    if TYPE_CHECKING:
        new_store: Any  # a fixture of any kind overrides it
    else:

        @pytest.fixture
        def new_store(self):  # noqa: ANN201 - see above
            """Return what makes independent clients of one store; must be overridden.

            The store starts empty, and the tests close the clients.
            """
            raise NotImplementedError("override the fixture 'new_store'")

    @pytest_asyncio.fixture
    async def client(self, new_store: NewStore) -> AsyncIterator[NewStore]:
        """Like ``new_store``, but closes what it made when the test is over."""
        made: list[Store] = []

        async def make() -> Store:
            made.append(await new_store())
            return made[-1]

        yield make
        for store in made:
            await store.close()

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
        revision = await store.put("/put", value)
        await store.compare_and_set("/set", value, expected=ABSENT)

        entries = [await store.get("/put"), await store.get("/set")]
        async with aclosing(store.watch("/put", revision - 1)) as events:
            event = await _next(events)

        assert [entry.value for entry in entries if entry] == [value, value]
        assert event.value == value

    async def test_a_watch_goes_on_where_a_listing_ends(self, client: NewStore) -> None:
        """Nothing is missed and nothing comes twice between the two."""
        store, writer = await client(), await client()
        await writer.put("/a/old", b"")
        listing = await store.list("/a/")
        await writer.put("/a/between", b"")

        async with aclosing(store.watch("/a/", listing.revision)) as events:
            first = await _next(events)
            await writer.put("/a/later", b"")
            second = await _next(events)

        assert [entry.key for entry in listing.entries] == ["/a/old"]
        assert [first.key, second.key] == ["/a/between", "/a/later"]

    async def test_a_watch_tells_every_change_in_order(self, client: NewStore) -> None:
        """Overwritten values are told, too; a deletion is a change to `None`."""
        store, writer = await client(), await client()
        start = (await store.list("/a/")).revision
        async with aclosing(store.watch("/a/", start)) as events:
            revisions = [await writer.put("/a/key", b"0")]
            await writer.put("/elsewhere", b"")
            revisions.append(await writer.put("/a/key", b"1"))
            await writer.delete("/a/key")
            revisions.append(await writer.put("/a/key", b"2"))
            seen = [await _next(events) for _ in range(4)]

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
        async with (
            aclosing(store.watch("/a", start)) as first,
            aclosing(store.watch("/a", start)) as second,
            aclosing(other.watch("/", start)) as third,
        ):
            await other.put("/a", b"0")
            await store.put("/a", b"1")
            seen = [
                [(await _next(events)).value for _ in range(2)]
                for events in (first, second, third)
            ]

        assert seen == [[b"0", b"1"]] * 3

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
        revision = await store.put("/a/kept", b"")

        async with aclosing(other.watch("/a/", revision)) as events:
            await lease.revoke()
            gone = [await _next(events) for _ in range(2)]
        await lease.revoke()

        assert {(e.key, e.value) for e in gone} == {
            ("/a/leased", None),
            ("/a/too", None),
        }
        assert [entry.key for entry in (await other.list("/a/")).entries] == ["/a/kept"]
        async with asyncio.timeout(_EVENT_TIMEOUT):
            assert await lease.lost

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
        revision = await store.put("/a/kept", b"")

        async with aclosing(other.watch("/a/", revision)) as events:
            await store.close()
            gone = await _next(events)

        assert (gone.key, gone.value) == ("/a/leased", None)
        assert [entry.key for entry in (await other.list("/a/")).entries] == ["/a/kept"]
        assert lease.lost.done()

    async def test_a_watch_ends_with_its_client(self, client: NewStore) -> None:
        """Whoever waits for changes that can't come any more is told."""
        store = await client()
        revision = await store.put("/a", b"first")
        events = store.watch("/", revision - 1)
        first = await _next(events)
        waiting = asyncio.create_task(_next(events))
        await store.close()

        assert first.value == b"first"
        with pytest.raises(RendezvousUnreachable):
            await waiting

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
            await _next(store.watch("/", 0))
