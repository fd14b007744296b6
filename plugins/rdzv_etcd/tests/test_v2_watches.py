"""Watches made of long polls, over a real server."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from elaunch.api import (
    RendezvousCorrupt,
    RendezvousUnreachable,
    StoreEvent,
    WatchCompacted,
)
from elaunch_rdzv_etcd.v2.store import EtcdV2Store
from elaunch_rdzv_etcd.v2.watch import Watch


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV2Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 20.0  # seconds
_HISTORY = 1000  # changes that etcd remembers


async def following(events: AsyncGenerator[StoreEvent, None]) -> StoreEvent:
    async with asyncio.timeout(_LIMIT):
        return await anext(events)


async def make_history(store: EtcdV2Store, changes: int) -> int:
    """Change other keys so often; return the last revision."""
    await asyncio.gather(
        *(store.put(f"/elsewhere/{number}", b"") for number in range(changes))
    )
    return (await store.list("/elsewhere/")).revision


async def test_a_watch_from_a_forgotten_revision_is_compacted(
    etcd_port: int, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    revision = await store.put("/a/key", b"")
    await make_history(store, _HISTORY + 1)

    with pytest.raises(WatchCompacted):
        await following(store.watch("/a/", revision))


async def test_a_quiet_watch_outlives_the_history(
    etcd_port: int, etcd_store: NewStore, until: Until
) -> None:
    store = etcd_store(etcd_port, request_timeout=0.2)
    start = await store.put("/a/old", b"")
    watch = Watch("/a/", start, store.paths, store.link, store._closing)
    try:
        event = asyncio.create_task(watch.next())
        for _ in range(3):
            revision = await make_history(store, _HISTORY // 2)
            await until(lambda: watch.since >= revision)  # noqa: B023 - awaited at once
        await store.put("/a/new", b"")
        async with asyncio.timeout(_LIMIT):
            key = (await event).key
    finally:
        watch.close()

    assert key == "/a/new"


async def test_a_quiet_watch_is_no_silence_however_short_the_patience(
    etcd_port: int, etcd_store: NewStore, until: Until
) -> None:
    writer = etcd_store(etcd_port)
    store = etcd_store(etcd_port, patience=1.5, request_timeout=2.0)
    start = await writer.put("/a/old", b"")
    watch = Watch("/a/", start, store.paths, store.link, store._closing)
    try:
        event = asyncio.create_task(watch.next())
        later = await writer.put("/elsewhere/key", b"")
        await until(lambda: watch.since >= later or event.done())
        await writer.put("/a/new", b"")
        async with asyncio.timeout(_LIMIT):
            key = (await event).key
    finally:
        watch.close()

    assert key == "/a/new"


async def test_changes_between_two_polls_are_not_missed(
    etcd_port: int, etcd_store: NewStore
) -> None:
    # The polls are shorter than the pauses between changes: most of them end in vain.
    store = etcd_store(etcd_port, request_timeout=0.02, patience=_LIMIT)
    writer = etcd_store(etcd_port)
    start = (await writer.list("/a/")).revision
    seen: list[int] = []

    async def collect() -> None:
        async with aclosing(store.watch("/a/", start)) as events:
            async for event in events:
                seen.append(event.revision)
                if event.value == b"last":
                    return

    collecting = asyncio.create_task(collect())
    revisions = []
    for number in range(30):
        revisions.append(await writer.put(f"/a/{number % 3}", b""))
        await asyncio.sleep(0.01)
    revisions.append(await writer.put("/a/0", b"last"))
    async with asyncio.timeout(_LIMIT):
        await collecting

    assert seen == revisions


async def test_an_expiry_is_a_deletion(etcd_port: int, etcd_store: NewStore) -> None:
    store = etcd_store(etcd_port)
    revision = store.link.ring.current.create(
        store.paths.of_key("/a/key"), "modified.leased.x.", 1
    )

    async with aclosing(store.watch("/a/", revision)) as events:
        event = await following(events)

    assert (event.key, event.value) == ("/a/key", None)
    assert event.revision > revision


async def test_directories_and_what_others_write_are_no_events(
    etcd_port: int, etcd_store: NewStore, prefix: str
) -> None:
    store = etcd_store(etcd_port)
    start = (await store.list("/")).revision
    store.link.ring.current._etcd.write(f"{prefix}/a/directory", None, dir=True)
    store.link.ring.current.create(f"{prefix}/a/note", "from an administrator", None)
    await store.put("/a/key", b"")

    async with aclosing(store.watch("/a/", start)) as events:
        event = await following(events)

    assert event.key == "/a/key"
    assert [e.key for e in (await store.list("/")).entries] == ["/a/key"]


@pytest.mark.parametrize("removed", ["", "/a", "/a/deeper"])
async def test_a_removed_directory_asks_for_a_new_listing(
    etcd_port: int, etcd_store: NewStore, prefix: str, removed: str
) -> None:
    store = etcd_store(etcd_port)
    revision = await store.put("/a/deeper/key", b"")
    store.link.ring.current._etcd.delete(f"{prefix}{removed}", recursive=True, dir=True)

    with pytest.raises(WatchCompacted):
        await following(store.watch("/a/", revision))
    assert (await store.list("/a/")).entries == ()


async def test_what_no_agent_writes_is_told(
    etcd_port: int, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    path = store.paths.of_key("/a/key")
    start = store.link.ring.current.create(path, "no text of ours", None) - 1

    for broken in (
        store.get("/a/key"),
        store.list("/a/"),
        following(store.watch("/a/", start)),
    ):
        with pytest.raises(RendezvousCorrupt, match=path):
            await broken
    store.link.ring.current._etcd.write(path, "modified.kept.x.not=base64")
    with pytest.raises(RendezvousCorrupt, match=path):
        await store.get("/a/key")


async def test_closing_the_store_ends_a_waiting_watch(
    etcd_port: int, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    start = (await store.list("/")).revision
    async with aclosing(store.watch("/", start)) as events:
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        await store.close()

        with pytest.raises(RendezvousUnreachable, match="client is closed"):
            await waiting


async def test_a_watch_that_is_given_up_ends_its_request(
    etcd_port: int, etcd_store: NewStore, until: Until
) -> None:
    # A poll of an hour: only an interruption ends it within the limit of the test.
    store = etcd_store(etcd_port, request_timeout=3600.0)
    start = (await store.list("/")).revision
    watch = Watch("/", start, store.paths, store.link, store._closing)
    waiting = asyncio.create_task(watch.next())
    await until(lambda: watch._client._http.response is not None)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    watch.close()

    async with asyncio.timeout(_LIMIT):
        await asyncio.to_thread(watch._thread.shutdown)
