"""What is put without a lease lives as long as the job, and not for ever."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from etcd_proxy import EtcdProxy

from elaunch_rdzv_etcd.options import EtcdOptions
from elaunch_rdzv_etcd.server import EtcdServer
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.testing import EtcdCluster
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.remains import Job
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV3Store]
NewServer = Callable[..., EtcdServer]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds
_RENEW = "/v3/lease/keepalive"
_GRANT = "/v3/lease/grant"


async def keys(store: EtcdV3Store) -> list[str]:
    return [entry.key for entry in (await store.list("/")).entries]


async def gone(store: EtcdV3Store, key: str) -> None:
    """Wait until a key is deleted."""
    start = await store.list(key)
    if start.entries:
        async with asyncio.timeout(_LIMIT):
            async for event in store.watch(key, start.revision):
                if event.value is None:
                    return


async def test_what_dead_agents_have_left_goes_and_nothing_else(
    etcd_port: int, prefix: str, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port, job_ttl=4.0)
    target = Target.parse(f"127.0.0.1:{etcd_port}", EtcdOptions())
    others = [
        EtcdV3Store(target, 15.0, Keys(prefix), Job.of(prefix, "job 2", 4.0)),
        EtcdV3Store(target, 15.0, Keys(f"{prefix}-2"), Job.of("/2", "job", 4.0)),
    ]
    await store.put("/job/state", b"")
    await others[0].put("/job 2/state", b"")
    await others[1].put("/job/state", b"")
    lease = await others[0].lease(60.0)
    await others[0].put("/job 2/nodes/n", b"", lease=lease)
    # It dies: it neither renews nor cleans up any more.
    await store.close()
    await gone(others[0], "/job/state")
    left = [await keys(other) for other in others]
    for other in others:
        await other.close()

    assert left == [["/job 2/nodes/n", "/job 2/state"], ["/job/state"]]


async def test_as_long_as_one_agent_lives_all_of_it_stays(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore, until: Until
) -> None:
    dying = v3_store(etcd_port, job_ttl=4.0)
    living = v3_store(proxy.port, job_ttl=4.0)
    await dying.put("/by-the-dead", b"")
    await living.put("/by-the-living", b"")
    await dying.close()
    renewals = proxy.count(_RENEW)
    await until(lambda: proxy.count(_RENEW) > renewals + 3)

    assert await keys(living) == ["/by-the-dead", "/by-the-living"]
    # They share it: nobody needs a second one.
    assert proxy.count(_GRANT) == 0


async def test_two_who_begin_at_once_share_the_lease(
    etcd_port: int, v3_store: NewStore
) -> None:
    stores = [v3_store(etcd_port) for _ in range(8)]
    async with asyncio.timeout(_LIMIT):
        await asyncio.gather(*(s.put(f"/{n}", b"") for n, s in enumerate(stores)))

    assert len(await keys(stores[0])) == len(stores)


async def test_an_outage_is_not_the_end_of_it(
    proxy: EtcdProxy, v3_store: NewStore, until: Until
) -> None:
    store = v3_store(proxy.port, job_ttl=4.0)
    await store.put("/a", b"")
    usual, store.link.patience = store.link.patience, 0.2
    # No renewal succeeds for some time: each of them gives up.
    proxy.drop = [_RENEW] * 8
    await until(lambda: not proxy.drop)
    store.link.patience = usual
    renewals = proxy.count(_RENEW)
    await until(lambda: proxy.count(_RENEW) > renewals + 3)

    assert await keys(store) == ["/a"]


async def test_a_cluster_that_restarts_keeps_it(
    cluster: EtcdCluster, v3_store: NewStore
) -> None:
    store = v3_store(cluster.endpoints, job_ttl=4.0)
    await store.put("/a", b"")
    await asyncio.to_thread(cluster.stop_all)
    await asyncio.to_thread(cluster.start_all)
    kept = await keys(store)
    await store.close()
    observer = v3_store(cluster.endpoints)
    await gone(observer, "/a")

    assert kept == ["/a"]
    assert await keys(observer) == []


async def test_who_finds_it_expired_begins_another(
    etcd_port: int, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port)
    await store.put("/old", b"")
    lease = store.job.lease_id
    await store.link.call(lambda etcd: etcd.revoke(lease))
    await asyncio.gather(*(store.put(f"/new/{n}", b"") for n in range(10)))

    assert await keys(store) == [f"/new/{n}" for n in range(10)]
    assert await store.link.call(lambda etcd: etcd.keep_alive(lease))


async def test_who_waits_in_vain_is_told_and_a_later_one_is_served(
    new_server: NewServer, v3_store: NewStore
) -> None:
    server = new_server()
    await asyncio.to_thread(server.member.kill)
    store = v3_store(server.port)
    usual, store.link.patience = store.link.patience, 0.3
    puts = (store.put(f"/{n}", b"") for n in range(20))
    cancelled = asyncio.create_task(store.put("/cancelled", b""))
    await asyncio.sleep(0)
    cancelled.cancel()
    async with asyncio.timeout(_LIMIT):
        answers = await asyncio.gather(*puts, return_exceptions=True)
        await asyncio.to_thread(server.start)
        store.link.patience = usual
        await store.put("/later", b"")

    assert all(isinstance(answer, Exception) for answer in answers)
    assert "/later" in await keys(store)
