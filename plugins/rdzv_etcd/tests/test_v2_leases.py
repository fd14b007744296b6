"""Leases made of times to live, over a real server."""

import asyncio
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

import pytest

from elaunch.api import ABSENT, StoreEvent
from elaunch_rdzv_etcd.v2.client import EtcdClient
from elaunch_rdzv_etcd.v2.lease import EtcdLease
from elaunch_rdzv_etcd.v2.nodes import Node
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[[int], EtcdV2Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
Renewed = Callable[[EtcdV2Store, str], Awaitable[None]]

_LIMIT = 20.0  # seconds


async def following(events: AsyncGenerator[StoreEvent, None]) -> StoreEvent:
    async with asyncio.timeout(_LIMIT):
        return await anext(events)


async def leased(store: EtcdV2Store, ttl: float) -> EtcdLease:
    lease = await store.lease(ttl)
    assert isinstance(lease, EtcdLease)
    return lease


def raw(store: EtcdV2Store, key: str) -> Node:
    node = store.link.ring.current.read(store.paths.of_key(key))
    assert node is not None
    return node


@pytest.fixture
def renewed(until: Until) -> Renewed:
    """Wait until the keeper has renewed a key at least once more."""

    async def renewed(store: EtcdV2Store, key: str) -> None:
        before = raw(store, key)
        await until(lambda: raw(store, key).index != before.index)

    return renewed


HOLDER = """
import asyncio, sys
from elaunch_rdzv_etcd.options import GivenOptions
from elaunch_rdzv_etcd.v2.paths import Paths
from elaunch_rdzv_etcd.v2.store import EtcdV2Store
from elaunch_rdzv_etcd.target import Target

async def main(port, prefix):
    target = Target.parse(f"127.0.0.1:{port}", GivenOptions())
    store = EtcdV2Store(target, 15.0, Paths(prefix), "/job/", 60.0)
    lease = await store.lease(3.0)
    for key in "/a/1", "/a/2":
        await store.put(key, b"", lease=lease)
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_the_keys_of_a_killed_client_vanish(
    etcd_port: int, prefix: str, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(etcd_port), prefix),
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    ready = await holder.stdout.readline()
    listing = await store.list("/a/")
    holder.kill()
    await holder.communicate()

    async with aclosing(store.watch("/a/", listing.revision)) as events:
        gone = [await following(events) for _ in range(2)]

    assert ready == b"ready\n"
    assert [entry.key for entry in listing.entries] == ["/a/1", "/a/2"]
    assert {(event.key, event.value) for event in gone} == {
        ("/a/1", None),
        ("/a/2", None),
    }
    assert (await store.list("/a/")).entries == ()


async def test_a_renewal_is_no_change(
    etcd_port: int, etcd_store: NewStore, renewed: Renewed
) -> None:
    store = etcd_store(etcd_port)
    lease = await leased(store, 4.0)
    revision = await store.put("/put", b"0", lease=lease)
    created = await store.compare_and_set("/new", b"0", expected=ABSENT, lease=lease)
    old = await store.put("/set", b"0")
    replaced = await store.compare_and_set("/set", b"1", expected=old, lease=lease)
    assert replaced is not None

    for key in "/put", "/new", "/set":
        await renewed(store, key)
    entries = (await store.list("/")).entries
    async with aclosing(store.watch("/", replaced)) as events:
        await store.put("/next", b"")
        event = await following(events)

    assert {entry.key: entry.revision for entry in entries} == {
        "/put": revision,
        "/new": created,
        "/set": replaced,
    }
    assert event.key == "/next"
    assert not lease.lost.done()


async def test_a_renewal_does_not_stand_in_the_way_of_a_comparison(
    etcd_port: int, etcd_store: NewStore, renewed: Renewed
) -> None:
    store, other = etcd_store(etcd_port), etcd_store(etcd_port)
    lease = await leased(store, 4.0)
    first = await store.put("/a", b"0", lease=lease)
    await renewed(store, "/a")
    second = await store.compare_and_set("/a", b"1", expected=first, lease=lease)
    assert second is not None
    await renewed(store, "/a")

    stale = await other.compare_and_set("/a", b"2", expected=first)
    third = await other.compare_and_set("/a", b"2", expected=second)
    assert third is not None
    deleted_stale = await other.delete("/a", expected=second)
    deleted = await other.delete("/a", expected=third)

    assert second > first
    assert third > second
    assert stale is None
    assert (deleted_stale, deleted) == (False, True)


async def test_a_leased_key_can_be_deleted_at_its_revision(
    etcd_port: int, etcd_store: NewStore, renewed: Renewed
) -> None:
    store, other = etcd_store(etcd_port), etcd_store(etcd_port)
    revision = await store.put("/a", b"", lease=await leased(store, 4.0))
    await renewed(store, "/a")

    assert await other.delete("/a", expected=revision)


@pytest.mark.parametrize("action", ["put", "delete"])
async def test_what_others_do_to_a_key_does_not_end_the_lease(
    etcd_port: int,
    etcd_store: NewStore,
    until: Until,
    renewed: Renewed,
    action: str,
) -> None:
    store, other = etcd_store(etcd_port), etcd_store(etcd_port)
    lease = await leased(store, 4.0)
    await store.put("/kept", b"", lease=lease)
    await store.put("/taken", b"", lease=lease)
    if action == "put":
        await other.put("/taken", b"other's")
    else:
        await other.delete("/taken")

    await until(lambda: store.paths.of_key("/taken") not in lease._held)
    await renewed(store, "/kept")
    await lease.revoke()
    entries = (await other.list("/")).entries

    assert [e.value for e in entries] == ([b"other's"] if action == "put" else [])


async def test_a_key_that_expired_ends_the_lease(
    etcd_port: int, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    lease = await leased(store, 20.0)
    await store.put("/a", b"", lease=lease)
    # As if the server's clock had jumped: it counts the time to live as over.
    node = raw(store, "/a")
    EtcdClient.renew(store.link.ring.current, node.path, 1, node.index)

    async with asyncio.timeout(_LIMIT):
        reason = await lease.lost

    assert reason == "etcd let '/a' expire"


async def test_a_host_that_stood_still_loses_its_lease_and_says_so(
    etcd_port: int, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    lease = await leased(store, 4.0)
    await store.put("/a", b"", lease=lease)
    (held,) = lease._held.values()
    held.confirmed -= lease.ttl  # as if it had stood still for so long

    async with asyncio.timeout(_LIMIT):
        reason = await lease.lost

    assert re.fullmatch(r"nothing renewed it for [\d.]+ s: .* stood still", reason)


async def test_a_write_of_something_else_ends_the_lease_with_a_reason(
    etcd_port: int, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    lease = await leased(store, 4.0)
    await store.put("/a", b"", lease=lease)
    store.link.ring.current._etcd.write(store.paths.of_key("/a"), "no text of ours")

    async with asyncio.timeout(_LIMIT):
        reason = await lease.lost

    assert "that no agent writes" in reason


async def test_a_lease_of_another_store_is_refused(
    etcd_port: int, etcd_store: NewStore
) -> None:
    class Other:
        ttl = 1.0
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def revoke(self) -> None: ...

    with pytest.raises(TypeError, match="another kind of store"):
        await etcd_store(etcd_port).put("/a", b"", lease=Other())
