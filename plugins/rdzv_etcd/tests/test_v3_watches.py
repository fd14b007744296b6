"""Watches miss nothing, tell nothing twice, and keep the order, whatever dies."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import attrs
import pytest
from etcd_watches import following, streams

from elaunch_rdzv_etcd.testing import EtcdCluster
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV3Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds
_WATCH = "/v3/watch"


@attrs.define
class Numbers:
    """Somebody who writes one number after the other, and somebody who watches."""

    writer: EtcdV3Store
    watcher: EtcdV3Store
    written: int = 0
    seen: list[int] = attrs.field(factory=list)
    revisions: list[int] = attrs.field(factory=list)

    async def run(self, trouble: Callable[[], Awaitable[None]]) -> None:
        start = (await self.watcher.list("/n")).revision
        over = asyncio.Event()
        writing = asyncio.create_task(self._write(over))
        watching = asyncio.create_task(self._watch(start))
        await trouble()
        over.set()
        await writing
        async with asyncio.timeout(_LIMIT):
            await watching

    async def _write(self, over: asyncio.Event) -> None:
        while not over.is_set():
            await self.writer.put("/n", str(self.written).encode())
            self.written += 1
        await self.writer.put("/n", b"-1")

    async def _watch(self, start: int) -> None:
        async with aclosing(self.watcher.watch("/n", start)) as events:
            async for event in events:
                number = int(event.value or b"")
                if number < 0:
                    return
                self.seen.append(number)
                self.revisions.append(event.revision)

    def check(self) -> None:
        assert self.seen == list(range(self.written))
        assert self.revisions == sorted(set(self.revisions))


async def test_nothing_is_missed_when_members_die_one_after_the_other(
    cluster: EtcdCluster, v3_store: NewStore, until: Until
) -> None:
    numbers = Numbers(v3_store(cluster.endpoints), v3_store(cluster.endpoints))

    async def trouble() -> None:
        for member in cluster.members[:2]:
            await until(lambda: len(numbers.seen) > 0)
            await asyncio.to_thread(member.kill)
            seen = len(numbers.seen)
            await until(lambda seen=seen: len(numbers.seen) > seen)  # type: ignore[misc]  # bound for the loop
            await asyncio.to_thread(member.start)

    await numbers.run(trouble)
    numbers.check()


async def test_nothing_is_missed_when_all_members_restart_from_disk(
    cluster: EtcdCluster, v3_store: NewStore, until: Until
) -> None:
    numbers = Numbers(v3_store(cluster.endpoints), v3_store(cluster.endpoints))

    async def trouble() -> None:
        await until(lambda: len(numbers.seen) > 0)
        await asyncio.to_thread(cluster.stop_all)
        await asyncio.to_thread(cluster.start_all)
        seen = len(numbers.seen)
        await until(lambda: len(numbers.seen) > seen)

    await numbers.run(trouble)
    numbers.check()


async def test_nothing_is_missed_when_a_member_stands_still(
    cluster: EtcdCluster, v3_store: NewStore, until: Until
) -> None:
    numbers = Numbers(
        v3_store(cluster.endpoints, request_timeout=0.5),
        v3_store(cluster.endpoints, request_timeout=0.5),
    )

    async def trouble() -> None:
        await until(lambda: len(numbers.seen) > 0)
        await asyncio.to_thread(cluster.members[0].pause)
        # The lease is renewed elsewhere, and the watch follows.
        lease = await numbers.watcher.lease(2.0)
        seen = len(numbers.seen)
        await until(lambda: len(numbers.seen) > seen)
        await lease.revoke()

    await numbers.run(trouble)
    numbers.check()


async def test_a_member_without_a_leader_is_left(
    cluster: EtcdCluster, v3_store: NewStore, until: Until
) -> None:
    leader = await asyncio.to_thread(cluster.leader)
    lonely, *others = (cluster.members[(leader + n) % 3] for n in (1, 2, 0))
    endpoints = ",".join(member.endpoint for member in (lonely, *others))
    store = v3_store(endpoints, patience=_LIMIT)
    start = (await store.list("/")).revision
    async with aclosing(store.watch("/", start)) as events:
        waiting = asyncio.ensure_future(following(events))
        await until(lambda: streams() > 0)
        for member in others:
            await asyncio.to_thread(member.pause)
        await until(lambda: "no leader" in store.link.ring.trouble)
        for member in others:
            await asyncio.to_thread(member.resume)
        revision = await store.put("/a", b"")
        event = await waiting

    assert (event.key, event.revision) == ("/a", revision)


async def test_many_watches_of_one_client_are_told_the_same(
    cluster: EtcdCluster, v3_store: NewStore
) -> None:
    store = v3_store(cluster.endpoints, request_timeout=0.5)
    start = (await store.list("/")).revision
    watches = [store.watch("/", start) for _ in range(10)]
    await store.put("/a", b"0")
    first = [await following(events) for events in watches]
    await asyncio.to_thread(cluster.members[0].kill)
    await store.put("/a", b"1")
    second = [await following(events) for events in watches]
    for events in watches:
        await events.aclose()

    assert [e.value for e in itertools.chain(first, second)] == [b"0"] * 10 + [
        b"1"
    ] * 10
