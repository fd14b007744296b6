"""Watches and leases for the simplest backend, where tests come between its steps."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import attrs
import pytest
import pytest_asyncio

from elaunch.api import (
    ABSENT,
    Entry,
    Listing,
    MemoryStore,
    PollingStore,
    RendezvousCorrupt,
    RendezvousUnreachable,
    Store,
    StoreEvent,
    UsageError,
    WatchCompacted,
)
from elaunch.polling.lease import PollingLease
from elaunch.testing import NewStore, StoreContract


@attrs.define(eq=False)
class Shelf:
    """What all clients share."""

    entries: dict[str, Entry] = attrs.field(factory=dict)
    revision: int = 0
    removed: asyncio.Queue[str] = attrs.field(factory=asyncio.Queue)


@attrs.define(eq=False)
class ShelfStore(PollingStore):
    """A client of a shelf.

    Attributes:
        shelf: The shelf.
        before: Called before each step, with its name, its key and what is expected.
        down: Whether the shelf can't be reached.
        steps: Name and key of each step taken.
    """

    shelf: Shelf
    before: Callable[[str, str, int | None], Awaitable[None]] | None = None
    down: bool = False
    steps: list[tuple[str, str]] = attrs.field(factory=list)

    async def read(self, key: str) -> Entry | None:
        await self._step("read", key)
        return self.shelf.entries.get(key)

    async def write(self, key: str, value: bytes, expected: int | None) -> int | None:
        await self._step("write", key, expected)
        if expected not in (None, self._revision(key)):
            return None
        self.shelf.revision += 1
        self.shelf.entries[key] = Entry(key, value, self.shelf.revision)
        return self.shelf.revision

    async def remove(self, key: str, expected: int | None) -> bool:
        await self._step("remove", key, expected)
        if expected not in (None, self._revision(key)):
            return False
        if self.shelf.entries.pop(key, None) is None:
            return False
        self.shelf.revision += 1
        self.shelf.removed.put_nowait(key)
        return True

    async def scan(self, prefix: str) -> Listing:
        await self._step("scan", prefix)
        found = [e for key, e in self.shelf.entries.items() if key.startswith(prefix)]
        found.sort(key=lambda entry: entry.key)
        return Listing(tuple(found), self.shelf.revision)

    async def disconnect(self) -> None:
        self.down = True

    def fall_silent(self) -> None:
        """Renew nothing any more, as a client does that was killed."""
        for lease in self._leases:
            if lease._keeper:
                lease._keeper.cancel()

    def _revision(self, key: str) -> int:
        entry = self.shelf.entries.get(key)
        return entry.revision if entry else ABSENT

    async def _step(self, name: str, key: str, expected: int | None = None) -> None:
        if self.before:
            await self.before(name, key, expected)
        if self.down:
            raise RendezvousUnreachable("the shelf is down")
        self.steps.append((name, key))


class TestPollingStore(StoreContract):
    tells_every_change = False

    @pytest.fixture
    def new_store(self) -> NewStore:
        shelf = Shelf()

        async def new() -> Store:
            return ShelfStore(shelf, poll_interval=0.01)

        return new

    async def silence(self, store: Store) -> None:
        assert isinstance(store, ShelfStore)
        store.fall_silent()


NewClient = Callable[[], ShelfStore]

SHORT = 0.3  # seconds that a lease lives
LONG = 60.0  # seconds that a lease lives which is not to be renewed meanwhile


@pytest_asyncio.fixture
async def client() -> AsyncIterator[NewClient]:
    shelf, made = Shelf(), []

    def new() -> ShelfStore:
        made.append(ShelfStore(shelf, poll_interval=0.01))
        return made[-1]

    yield new
    for store in made:
        store.before = None
        await store.close()


async def leased(store: ShelfStore, key: str, ttl: float = LONG) -> PollingLease:
    lease = await store.lease(ttl)
    assert isinstance(lease, PollingLease)
    await store.put(key, b"leased", lease=lease)
    return lease


async def next_of(events: AsyncIterator[StoreEvent]) -> tuple[str, bytes | None]:
    async with asyncio.timeout(10):
        event = await anext(events)
    return event.key, event.value


async def drop_record(store: ShelfStore, lease: PollingLease) -> None:
    """Do what is the first half of ending a lease."""
    assert await store.remove(f"lease:{lease.id}", None)


@pytest.mark.asyncio
class TestLeases:
    async def test_an_outage_expires_nobody(self, client: NewClient) -> None:
        holder, reader = client(), client()
        lease = await leased(holder, "/key", 1.5)
        start = (await reader.list("/")).revision
        async with aclosing(reader.watch("/", start)) as events:
            told = asyncio.ensure_future(anext(events))
            holder.down = reader.down = True
            await asyncio.wait({lease.lost}, timeout=0.7)
            holder.down = reader.down = False
            await asyncio.wait((told,), timeout=2.0)

            assert not lease.lost.done()
            assert not told.done()
            told.cancel()
            await asyncio.gather(told, return_exceptions=True)

    async def test_a_holder_that_cannot_renew_knows_before_others(
        self, client: NewClient
    ) -> None:
        holder, reader = client(), client()
        lease = await leased(holder, "/key", SHORT)
        start = (await reader.list("/")).revision
        async with aclosing(reader.watch("/", start)) as events:
            holder.down = True
            gone = await next_of(events)

            assert gone == ("/key", None)
            assert lease.lost.result().startswith("it could not be renewed for")

    async def test_a_holder_that_renews_in_time_is_not_ended(
        self, client: NewClient
    ) -> None:
        """Whoever found it dead is about to remove its record when it wakes up."""
        holder, reader = client(), client()
        lease = await leased(holder, "/key", SHORT)
        holder.fall_silent()
        present: list[Entry | None] = []

        async def renew_first(name: str, _: str, expected: int | None) -> None:
            if name == "remove" and expected != ABSENT and not present:
                await lease._renew()
                present.append(None)

        async def see_it_there(name: str, key: str, _: int | None) -> None:
            if name == "scan" and key == "key:/" and present == [None]:
                present.append(await holder.get("/key"))

        async def come_between(name: str, key: str, expected: int | None) -> None:
            await renew_first(name, key, expected)
            await see_it_there(name, key, expected)

        reader.before = come_between
        start = (await holder.list("/")).revision
        async with aclosing(reader.watch("/", start)) as events:
            gone = await next_of(events)

        assert gone == ("/key", None)
        assert len(present) == 2
        assert present[1] is not None
        assert present[1].value == b"leased"

    async def test_a_store_that_takes_no_writes_expires_nobody(
        self, client: NewClient
    ) -> None:
        """Its holder could not renew either, as while somebody holds a lock."""
        holder, reader = client(), client()
        lease = await leased(holder, "/key", SHORT)
        holder.fall_silent()
        tries: list[int | None] = []

        async def be_slow(name: str, _: str, expected: int | None) -> None:
            if name == "remove":
                tries.append(expected)
            if tries == [ABSENT]:
                await asyncio.wait({lease.lost}, timeout=SHORT / 4)

        reader.before = be_slow
        start = (await holder.list("/")).revision
        async with aclosing(reader.watch("/", start)) as events:
            gone = await next_of(events)

        assert gone == ("/key", None)
        assert tries[:2] == [ABSENT, ABSENT]
        assert tries[2] not in (None, ABSENT)

    async def test_a_renewal_whose_answer_was_lost_counts(
        self, client: NewClient
    ) -> None:
        holder = client()
        lease = await leased(holder, "/key")
        holder.fall_silent()
        record = f"lease:{lease.id}"
        # It was carried out, but the holder was not told.
        await holder.write(record, repr(LONG).encode(), None)
        await lease._renew()

        assert not lease.lost.done()
        assert lease._revision == holder.shelf.entries[record].revision

    async def test_a_holder_learns_that_its_lease_was_ended(
        self, client: NewClient
    ) -> None:
        holder = client()
        lease = await leased(holder, "/key", SHORT)
        await drop_record(holder, lease)
        async with asyncio.timeout(10):
            reason = await lease.lost

        assert reason == "it expired"

    async def test_nothing_is_put_under_a_lease_that_was_ended_unnoticed(
        self, client: NewClient
    ) -> None:
        holder = client()
        lease = await leased(holder, "/key")
        await drop_record(holder, lease)

        with pytest.raises(RendezvousUnreachable, match="'/new' is lost: it expired"):
            await holder.put("/new", b"", lease=lease)
        assert "key:/new" not in holder.shelf.entries
        assert lease.lost.done()

    async def test_a_lease_of_another_kind_of_store_is_refused(
        self, client: NewClient
    ) -> None:
        foreign = MemoryStore()
        lease = await foreign.lease(LONG)

        with pytest.raises(UsageError, match="not a lease of this kind"):
            await client().put("/key", b"", lease=lease)
        await foreign.close()

    async def test_a_cancelled_grant_is_revoked_in_the_end(
        self, client: NewClient
    ) -> None:
        holder = client()
        writing = asyncio.Event()

        async def hang_after(name: str, key: str, _: int | None) -> None:
            if name == "write":
                # It is carried out, though nobody waits for the answer any more.
                holder.shelf.entries[key] = Entry(key, b"60.0", 1)
                writing.set()
                await asyncio.Event().wait()

        holder.before = hang_after
        granting = asyncio.create_task(holder.lease(LONG))
        await writing.wait()
        granting.cancel()
        await asyncio.gather(granting, return_exceptions=True)
        await holder.close()

        assert holder.shelf.entries == {}


@pytest.mark.asyncio
class TestOrphans:
    """A lease ends with its record; keys that are still there count as absent."""

    async def test_nobody_sees_them(self, client: NewClient) -> None:
        holder, other = client(), client()
        lease = await leased(holder, "/a/key")
        kept = await other.put("/a/kept", b"")
        orphan = holder.shelf.entries["key:/a/key"].revision
        await drop_record(holder, lease)

        assert await other.get("/a/key") is None
        assert [e.key for e in (await other.list("/a/")).entries] == ["/a/kept"]
        assert not await other.delete("/a/key")
        assert not await other.delete("/a/key", expected=orphan)
        assert await other.compare_and_set("/a/key", b"", expected=orphan) is None
        created = await other.compare_and_set("/a/key", b"new", expected=ABSENT)
        assert created is not None
        assert created > kept
        assert await other.get("/a/key") == Entry("/a/key", b"new", created)

    async def test_a_watch_tells_their_end_and_removes_them(
        self, client: NewClient
    ) -> None:
        holder, other = client(), client()
        lease = await leased(holder, "/a/key")
        start = (await other.list("/a/")).revision
        async with aclosing(other.watch("/a/", start)) as events:
            await drop_record(holder, lease)
            gone = await next_of(events)
            waiting = asyncio.ensure_future(anext(events))
            async with asyncio.timeout(10):
                removed = [await holder.shelf.removed.get() for _ in range(2)]
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

        assert gone == ("/a/key", None)
        assert removed == [f"lease:{lease.id}", "key:/a/key"]

    async def test_creating_where_one_is_just_being_removed(
        self, client: NewClient
    ) -> None:
        holder, other = client(), client()
        lease = await leased(holder, "/key")
        await drop_record(holder, lease)

        async def remove_first(name: str, key: str, _: int | None) -> None:
            if name == "write":
                other.before = None
                await holder.remove(key, None)

        other.before = remove_first

        assert await other.compare_and_set("/key", b"", expected=ABSENT) is not None

    async def test_a_key_that_got_another_life_in_time_is_none(
        self, client: NewClient
    ) -> None:
        """It is overwritten, and its old lease ends, between two steps of a reader."""
        holder, one, all_of_them = client(), client(), client()
        found = []
        for reader in (one, all_of_them):
            lease = await leased(holder, "/key")

            async def relive(
                name: str,
                key: str,
                _: int | None,
                reader: ShelfStore = reader,
                lease: PollingLease = lease,
            ) -> None:
                if name == "read" and key == f"lease:{lease.id}":
                    reader.before = None
                    await holder.put("/key", b"kept")
                    await lease.revoke()

            reader.before = relive
            found.append(
                await reader.get("/key")
                if reader is one
                else (await reader.list("/")).entries[0]
            )

        assert [entry.value for entry in found if entry] == [b"kept", b"kept"]


@pytest.mark.asyncio
class TestWatches:
    async def test_what_cannot_be_known_is_not_guessed(self, client: NewClient) -> None:
        store = client()
        await store.put("/a/0", b"")
        old = await store.put("/a/1", b"")
        await store.put("/b", b"")
        narrow = (await store.list("/a/")).revision
        await store.put("/a/2", b"")

        for prefix, since in (("/a/", old), ("/", narrow), ("/a/", 99)):
            with pytest.raises(WatchCompacted):
                await next_of(store.watch(prefix, since))

    async def test_old_listings_are_forgotten(self, client: NewClient) -> None:
        store = client()
        revisions = []
        for number in range(10):
            await store.put("/key", b"%d" % number)
            revisions.append((await store.list("/")).revision)
        await store.put("/key", b"end")

        with pytest.raises(WatchCompacted):
            await next_of(store.watch("/", revisions[0]))
        async with aclosing(store.watch("/", revisions[-1])) as events:
            assert await next_of(events) == ("/key", b"end")

    async def test_from_the_beginning_or_from_now(self, client: NewClient) -> None:
        store = client()
        await store.put("/a", b"")
        now = await store.put("/b", b"")
        looking = asyncio.Event()

        async def tell(*_: object) -> None:
            looking.set()

        async with aclosing(store.watch("/", 0)) as events:
            first = [await next_of(events) for _ in range(2)]
        async with aclosing(store.watch("/", now)) as events:
            waiting = asyncio.ensure_future(anext(events))
            store.before = tell
            await looking.wait()
            await client().put("/c", b"")
            async with asyncio.timeout(10):
                later = await waiting

        assert [key for key, _ in first] == ["/a", "/b"]
        assert later.key == "/c"

    async def test_a_hiccup_of_the_store_is_survived(self, client: NewClient) -> None:
        store, writer = client(), client()
        start = (await store.list("/")).revision
        failures = iter(range(3))

        async def fail(name: str, _: str, __: int | None) -> None:
            if name == "scan" and next(failures, None) is not None:
                raise RendezvousUnreachable("a hiccup")

        store.before = fail
        await writer.put("/key", b"")
        async with aclosing(store.watch("/", start)) as events:
            assert await next_of(events) == ("/key", b"")
        assert next(failures, None) is None

    async def test_a_store_that_is_gone_for_good_is_told(
        self, client: NewClient
    ) -> None:
        store = client()
        store.patience = 0.05
        start = (await store.list("/")).revision
        store.down = True

        with pytest.raises(RendezvousUnreachable, match="the shelf is down"):
            await next_of(store.watch("/", start))

    async def test_own_writes_are_seen_at_once(self, client: NewClient) -> None:
        store = client()
        store.poll_interval = 3600.0
        start = (await store.list("/")).revision
        async with aclosing(store.watch("/", start)) as events:
            waiting = asyncio.ensure_future(anext(events))
            await store.put("/key", b"")
            async with asyncio.timeout(10):
                assert (await waiting).key == "/key"

    async def test_a_small_prefix_does_not_cost_all_leases(
        self, client: NewClient
    ) -> None:
        store = client()
        lease = await leased(store, "/job/coordinator")
        for number in range(10):
            await leased(store, f"/nodes/{number}")
        store.steps.clear()
        await store.list("/job/")
        few = list(store.steps)
        store.steps.clear()
        await store.list("/nodes/")

        assert few == [("scan", "key:/job/"), ("read", f"lease:{lease.id}")]
        assert store.steps == [("scan", "key:/nodes/"), ("scan", "lease:")]

    async def test_what_no_polling_store_wrote_is_told(self, client: NewClient) -> None:
        store = client()
        await store.write("key:/key", b"foreign", None)
        with pytest.raises(RendezvousCorrupt, match="'key:/key' was not written by"):
            await store.get("/key")
        await leased(store, "/key")
        (record,) = [key for key in store.shelf.entries if key.startswith("lease:")]
        await store.write(record, b"foreign", None)
        with pytest.raises(RendezvousCorrupt, match=r"'lease:\w+' holds no time"):
            await store.list("/")
