"""Three members, one of which fails: nothing is lost, no lease, no change."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing

import attrs
import pytest
import pytest_asyncio

from elaunch import get_rdzv_handler
from elaunch.api import (
    ABSENT,
    RendezvousHandler,
    RendezvousParameters,
    RendezvousUnreachable,
    Store,
)
from elaunch.testing import NewHandler, NewStore, RendezvousContract, StoreContract
from elaunch_rdzv_etcd.testing import EtcdCluster
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


pytestmark = pytest.mark.etcd

NewEtcdStore = Callable[..., EtcdV2Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 60.0  # seconds
_WRITES = 30


@pytest.fixture(scope="module")
def members() -> Iterator[EtcdCluster]:
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(members: EtcdCluster) -> Iterator[EtcdCluster]:
    """The cluster, whole before each test."""
    yield members
    for member in members.members:
        member.resume()
    members.start_all()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Port of a host that lets connect and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def rotated(cluster: EtcdCluster, first: int) -> str:
    """Return the endpoints, beginning with that of one member."""
    endpoints = cluster.endpoints.split(",")
    return ",".join(endpoints[first:] + endpoints[:first])


def used(store: EtcdV2Store, cluster: EtcdCluster) -> int:
    """Return the member that a store uses."""
    return cluster.endpoints.split(",").index(str(store.link.ring.endpoint))


class TestEtcdV2StoreInACluster(StoreContract):
    min_lease_ttl = 3.0  # etcd would take 1

    @pytest.fixture
    def new_store(self, cluster: EtcdCluster, etcd_store: NewEtcdStore) -> NewStore:
        clients: list[Store] = []

        async def new() -> Store:
            clients.append(etcd_store(rotated(cluster, len(clients) % 3)))
            return clients[-1]

        return new

    async def silence(self, store: Store) -> None:
        assert isinstance(store, EtcdV2Store)
        store._renewals.close()


class TestEtcdV2RendezvousInACluster(RendezvousContract):
    @pytest_asyncio.fixture
    async def new_handler(
        self, cluster: EtcdCluster, prefix: str
    ) -> AsyncIterator[NewHandler]:
        handlers: list[RendezvousHandler] = []

        def new(params: RendezvousParameters) -> RendezvousHandler:
            params = attrs.evolve(
                params,
                backend="etcd-v2",
                endpoint=rotated(cluster, len(handlers) % 3),
                config={"prefix": prefix, **params.config},
            )
            handlers.append(get_rdzv_handler(params))
            return handlers[-1]

        yield new
        await asyncio.gather(*(handler.aclose() for handler in handlers))


async def told(store: EtcdV2Store, since: int, last: bytes) -> list[tuple[str, int]]:
    """Return what a watch tells until a value comes."""
    seen = []
    async with aclosing(store.watch("/a/", since)) as events:
        async for event in events:
            seen.append((event.key, event.revision))
            if event.value == last:
                break
    return seen


@pytest.mark.asyncio
@pytest.mark.parametrize("way", ["kill", "pause"])
@pytest.mark.parametrize("victim", ["the leader", "a follower"])
async def test_nothing_is_lost_with_a_member(
    cluster: EtcdCluster, etcd_store: NewEtcdStore, until: Until, way: str, victim: str
) -> None:
    leader = await asyncio.to_thread(cluster.leader)
    lost = leader if victim == "the leader" else (leader + 1) % 3
    store, other = (
        etcd_store(rotated(cluster, (lost + offset) % 3), request_timeout=0.5)
        for offset in (0, 1)
    )
    lease = await store.lease(20.0)
    leased = await store.put("/leased", b"", lease=lease)
    watches = [
        asyncio.create_task(told(each, leased, b"last")) for each in (store, other)
    ]
    assert used(store, cluster) == lost

    made = []
    async with asyncio.timeout(_LIMIT):
        for number in range(_WRITES):
            if number == _WRITES // 3:
                await asyncio.to_thread(getattr(cluster.members[lost], way))
            key = f"/a/{number % 7}"
            made.append((key, await store.put(key, b"%d" % number)))
        made.append(("/a/end", await store.put("/a/end", b"last")))
        seen = await asyncio.gather(*watches)
        held = store._leases[0]._held[store.paths.of_key("/leased")]
        before = held.confirmed
        await until(lambda: held.confirmed != before)
    entry = await other.get("/leased")

    assert used(store, cluster) != lost
    assert seen == [made, made]
    assert not lease.lost.done()
    assert entry is not None
    assert entry.revision == leased


@pytest.mark.asyncio
async def test_comparisons_stay_true_while_the_leader_dies(
    cluster: EtcdCluster, etcd_store: NewEtcdStore
) -> None:
    stores = [
        etcd_store(rotated(cluster, index), request_timeout=0.5) for index in range(3)
    ]
    leader = await asyncio.to_thread(cluster.leader)

    async def count(store: EtcdV2Store, times: int) -> int:
        lost = 0
        for _ in range(times):
            while True:
                entry = await store.get("/counter")
                value = entry.value if entry else b""
                if await store.compare_and_set(
                    "/counter",
                    value + b".",
                    expected=entry.revision if entry else ABSENT,
                ):
                    break
                lost += 1
        return lost

    async with asyncio.timeout(_LIMIT):
        counting = asyncio.gather(*(count(store, 10) for store in stores))
        await asyncio.to_thread(cluster.members[leader].kill)
        lost = sum(await counting)
    entry = await stores[0].get("/counter")

    # Who is told that it lost may have won if its answer was lost, so it counts again.
    assert entry is not None
    assert 30 <= len(entry.value) <= 30 + lost


@pytest.mark.asyncio
async def test_all_members_may_be_restarted_from_disk(
    cluster: EtcdCluster, etcd_store: NewEtcdStore, until: Until
) -> None:
    store = etcd_store(cluster.endpoints)
    lease = await store.lease(20.0)
    leased = await store.put("/leased", b"", lease=lease)
    watching = asyncio.create_task(told(store, leased, b"last"))
    await asyncio.to_thread(cluster.stop_all)
    await until(lambda: len(store.link.ring._troubles) == 3)
    await asyncio.to_thread(cluster.start_all)
    async with asyncio.timeout(_LIMIT):
        last = await store.put("/a/end", b"last")
        seen = await watching
    entry = await store.get("/leased")

    assert seen == [("/a/end", last)]
    assert not lease.lost.done()
    assert entry is not None
    assert entry.revision == leased


@pytest.mark.asyncio
async def test_an_endpoint_that_swallows_everything_is_passed_over(
    cluster: EtcdCluster, etcd_store: NewEtcdStore, silent_port: int
) -> None:
    endpoints = f"127.0.0.1:{silent_port},{cluster.endpoints}"
    store = etcd_store(endpoints, request_timeout=0.3)
    async with asyncio.timeout(_LIMIT):
        start = (await store.list("/a/")).revision
        watching = asyncio.create_task(told(store, start, b"last"))
        last = await store.put("/a/end", b"last")
        seen = await watching

    assert seen == [("/a/end", last)]
    assert f"127.0.0.1:{silent_port}" in store.link.ring.trouble


@pytest.mark.asyncio
async def test_an_endpoint_of_another_cluster_is_refused(
    cluster: EtcdCluster, etcd_store: NewEtcdStore, etcd_port: int
) -> None:
    second = cluster.members[1]
    stranger = f"127.0.0.1:{etcd_port}"
    store = etcd_store(f"{second.endpoint},{stranger}", request_timeout=0.5)
    lease = await store.lease(20.0)
    revision = await store.put("/a/1", b"", lease=lease)
    watching = asyncio.ensure_future(anext(store.watch("/a/", revision)))
    await asyncio.to_thread(second.kill)

    refusal = f"another cluster answers at '{stranger}'"
    async with asyncio.timeout(_LIMIT):
        with pytest.raises(RendezvousUnreachable, match=refusal):
            await store.put("/a/2", b"")
        assert refusal in await lease.lost
        with pytest.raises(RendezvousUnreachable, match=refusal):
            await watching


@pytest.mark.asyncio
async def test_without_a_majority_each_endpoint_is_named_with_its_last_error(
    cluster: EtcdCluster, etcd_store: NewEtcdStore
) -> None:
    first, second, third = cluster.members
    store = etcd_store(cluster.endpoints, request_timeout=0.3)
    await store.put("/a", b"")
    store.link.patience = 2.0
    for member in second, third:
        await asyncio.to_thread(member.kill)

    async with asyncio.timeout(_LIMIT):
        with pytest.raises(RendezvousUnreachable) as caught:
            await store.put("/a", b"")

    reason = str(caught.value)
    assert f"'{first.endpoint}': " in reason
    for member in second, third:
        assert f"'{member.endpoint}': [Errno 111] Connection refused" in reason
