"""Writes whose answer is lost, or that arrive late: carried out once, in order."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from etcd_proxy import EtcdProxy

from elaunch.api import ABSENT, RendezvousUnreachable
from elaunch_rdzv_etcd.v3.lease import EtcdLease
from elaunch_rdzv_etcd.v3.store import EtcdV3Store
from elaunch_rdzv_etcd.v3.writer import MOST_CHANGES


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV3Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
Seen = list[tuple[str, bytes | None]]

_LIMIT = 20.0  # seconds
_QUICK = 0.5
_TXN = "/v3/kv/txn"
_RANGE = "/v3/kv/range"
_GRANT = "/v3/lease/grant"
_RENEW = "/v3/lease/keepalive"


async def told(store: EtcdV3Store, since: int) -> Seen:
    """Return all changes since a revision."""
    end = await store.put("/zz-end", b"")
    seen: Seen = []
    async with asyncio.timeout(_LIMIT), aclosing(store.watch("/", since)) as events:
        async for event in events:
            if event.revision == end:
                break
            seen.append((event.key, event.value))
    return seen


async def test_each_write_happens_once(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store, other = v3_store(proxy.port), v3_store(etcd_port)
    start = (await other.list("/")).revision
    proxy.drop = [_TXN]
    put = await store.put("/a", b"0")
    proxy.drop = [_TXN]
    created = await store.compare_and_set("/b", b"1", expected=ABSENT)
    assert created is not None
    proxy.drop = [_TXN]
    replaced = await store.compare_and_set("/b", b"2", expected=created)
    proxy.drop = [_TXN]
    deleted = await store.delete("/a", expected=put)
    proxy.drop = [_TXN]
    gone = await store.delete("/b")
    again = await store.delete("/b")

    assert replaced is not None
    assert (deleted, gone, again) == (True, True, False)
    assert await told(other, start) == [
        ("/a", b"0"),
        ("/b", b"1"),
        ("/b", b"2"),
        ("/a", None),
        ("/b", None),
    ]
    assert proxy.drop == []


async def test_two_lost_answers_are_no_worse(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store, other = v3_store(proxy.port), v3_store(etcd_port)
    start = (await other.list("/")).revision
    proxy.drop = [_TXN, _TXN]
    created = await store.compare_and_set("/a", b"", expected=ABSENT)
    entry = await other.get("/a")

    assert entry is not None
    assert entry.revision == created
    assert await told(other, start) == [("/a", b"")]


async def test_who_lost_is_told_so_after_a_lost_answer(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store, other = v3_store(proxy.port), v3_store(etcd_port)
    revision = await other.put("/a", b"other's")
    proxy.drop = [_TXN, _TXN]

    assert await store.compare_and_set("/a", b"mine", expected=ABSENT) is None
    assert not await store.delete("/a", expected=revision - 1)
    entry = await store.get("/a")
    assert entry is not None
    assert entry.value == b"other's"


async def test_a_creation_that_arrives_late_brings_nothing_back(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store = v3_store(proxy.port, request_timeout=_QUICK)
    other = v3_store(etcd_port)
    await store.put("/before", b"")
    start = (await other.list("/")).revision
    proxy.hold = [_TXN]
    async with asyncio.timeout(_LIMIT):
        await store.put("/put", b"first")
        proxy.go_on.clear()
        await other.delete("/put")
        proxy.go_on.set()
        await proxy.settled()

    assert await other.get("/put") is None
    assert await told(other, start) == [("/put", b"first"), ("/put", None)]


@pytest.mark.parametrize("act", ["put", "create"])
async def test_a_creation_that_arrives_late_finds_that_another_was_faster(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore, act: str
) -> None:
    store = v3_store(proxy.port, request_timeout=_QUICK)
    other = v3_store(etcd_port)
    await store.put("/before", b"")
    await other.put("/a", b"other's")
    start = (await other.list("/")).revision
    proxy.hold = [_TXN]
    async with asyncio.timeout(_LIMIT):
        if act == "put":
            await store.put("/a", b"mine")
        else:
            created = await store.compare_and_set("/a", b"mine", expected=ABSENT)
            assert created is None
        proxy.go_on.clear()
        await other.delete("/a")
        proxy.go_on.set()
        await proxy.settled()

    happened = [("/a", b"mine")] if act == "put" else []
    assert await other.get("/a") is None
    assert await told(other, start) == [*happened, ("/a", None)]
    await store.put("/a", b"again")
    assert await other.get("/a") is not None


@pytest.mark.parametrize("later", [b"later", None])
@pytest.mark.parametrize("act", ["put", "set", "delete", "delete at"])
async def test_an_attempt_that_arrives_late_undoes_no_later_write(
    etcd_port: int,
    proxy: EtcdProxy,
    v3_store: NewStore,
    act: str,
    later: bytes | None,
) -> None:
    store = v3_store(proxy.port, request_timeout=_QUICK)
    other = v3_store(etcd_port)
    old = await store.put("/a", b"old")
    start = (await other.list("/")).revision
    proxy.hold = [_TXN]
    async with asyncio.timeout(_LIMIT):
        if act == "put":
            await store.put("/a", b"new")
        elif act == "set":
            assert await store.compare_and_set("/a", b"new", expected=old)
        else:
            expected = old if act == "delete at" else None
            assert await store.delete("/a", expected=expected)
        if later is None:
            await other.delete("/a")
        else:
            await other.put("/a", later)
        proxy.go_on.set()
        await proxy.settled()
    entry = await other.get("/a")

    changes = [value for _, value in await told(other, start)]
    expected_changes = [b"new" if act in {"put", "set"} else None, later]
    assert (entry and entry.value) == later
    # Nothing is there to be deleted again.
    assert changes == list(dict.fromkeys(expected_changes))


async def test_a_cancelled_write_is_made_before_later_ones_or_not_at_all(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store = v3_store(proxy.port, request_timeout=_QUICK)
    other = v3_store(etcd_port)
    await store.put("/a", b"old")
    proxy.hold = [_TXN]
    cancelled = asyncio.create_task(store.put("/a", b"cancelled"))
    async with asyncio.timeout(_LIMIT):
        await proxy.held.wait()
        waiting = asyncio.create_task(store.put("/a", b"never begun"))
        await asyncio.sleep(0)
        for task in (cancelled, waiting):
            task.cancel()
        await asyncio.gather(cancelled, waiting, return_exceptions=True)
        await store.put("/a", b"last")
        proxy.go_on.set()
        await proxy.settled()
    entry = await other.get("/a")

    assert cancelled.cancelled()
    assert waiting.cancelled()
    assert entry is not None
    assert entry.value == b"last"


async def test_lost_answers_cost_no_lease(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore, until: Until
) -> None:
    store, other = v3_store(proxy.port), v3_store(etcd_port)
    proxy.drop = [_GRANT]
    lease = await store.lease(6.0)
    await store.put("/a", b"", lease=lease)
    proxy.drop = [_RENEW]
    await until(lambda: not proxy.drop)
    renewals = proxy.count(_RENEW)
    await until(lambda: proxy.count(_RENEW) > renewals + 1)

    assert not lease.lost.done()
    assert await other.get("/a") is not None


async def test_one_bad_write_of_many_fails_alone(
    etcd_port: int, v3_store: NewStore
) -> None:
    store, other = v3_store(etcd_port), v3_store(etcd_port)
    lease = await store.lease(60.0)
    assert isinstance(lease, EtcdLease)
    kept = await store.lease(60.0)
    # As if somebody had revoked it by hand.
    await other.link.call(lambda etcd: etcd.revoke(lease.id))
    writes = [store.put(f"/{n}", b"", lease=kept) for n in range(10)]
    answers = await asyncio.gather(
        *writes[:5],
        store.put("/bad", b"", lease=lease),
        *writes[5:],
        store.delete("/none"),
        return_exceptions=True,
    )

    failed = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [type(error) for error in failed] == [RendezvousUnreachable]
    assert "the lease of '/bad' is lost: etcd let it expire" in str(failed[0])
    assert await lease.lost == "etcd let it expire"
    assert len((await other.list("/")).entries) == len(writes)


async def test_many_writes_take_few_requests_and_keep_their_order(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store, other = v3_store(proxy.port), v3_store(etcd_port)
    start = (await other.list("/")).revision
    keys = [f"/{n % 500:03}" for n in range(1000)]
    revisions = await asyncio.gather(
        *(store.put(key, str(n).encode()) for n, key in enumerate(keys))
    )
    seen = await told(other, start)

    # One for each batch of the first, two for each of the second writes.
    assert proxy.count(_TXN) <= 3 * (500 // MOST_CHANGES + 2)
    # The lease of what has none is asked for once.
    assert len(proxy.requests) - proxy.count(_TXN) <= 4
    assert revisions == sorted(revisions)
    for key in set(keys):
        mine = [int(value or b"") for k, value in seen if k == key]
        assert mine == [n for n, k in enumerate(keys) if k == key]


@pytest.mark.parametrize("size", [1_600_000, 2 * 1024**2, 8 * 1024**2])
async def test_a_value_that_is_too_large_is_refused_at_once(
    etcd_port: int, v3_store: NewStore, size: int
) -> None:
    store = v3_store(etcd_port, patience=3600.0)
    answers = await asyncio.gather(
        store.put("/small", b""),
        store.put("/large", b"x" * size),
        store.put("/small too", b""),
        return_exceptions=True,
    )

    assert isinstance(answers[1], RendezvousUnreachable)
    assert "--max-request-bytes" in str(answers[1])
    assert [type(answer) for answer in answers] == [int, RendezvousUnreachable, int]


async def test_a_large_listing_comes_whole(etcd_port: int, v3_store: NewStore) -> None:
    store = v3_store(etcd_port)
    keys = [f"/{n:04}" for n in range(600)]
    await asyncio.gather(*(store.put(key, b"x" * 20_000) for key in keys))

    entries = (await store.list("/")).entries

    assert [entry.key for entry in entries] == keys
    assert {len(entry.value) for entry in entries} == {20_000}


async def test_closing_ends_writes_that_wait(
    proxy: EtcdProxy, v3_store: NewStore
) -> None:
    # Nothing but the end of the client ends these within the limit of the test.
    store = v3_store(proxy.port, patience=3600.0, request_timeout=600.0)
    await store.put("/a", b"")
    proxy.hold = [_TXN]
    writes = [asyncio.ensure_future(store.put(key, b"")) for key in ("/a", "/a", "/b")]
    async with asyncio.timeout(_LIMIT):
        await proxy.held.wait()
        await store.close()
        answers = await asyncio.gather(*writes, return_exceptions=True)
    proxy.go_on.set()
    await proxy.settled()

    assert {type(answer) for answer in answers} == {RendezvousUnreachable}


async def test_all_that_wait_are_told_in_time(
    proxy: EtcdProxy, v3_store: NewStore
) -> None:
    # Writes of one key wait for each other, but not for each other's patience.
    store = v3_store(proxy.port, request_timeout=0.3)
    await store.put("/a", b"")
    store.link.patience = 1.0
    proxy.hold = [_TXN] * 100
    writes = [store.put("/a", b"") for _ in range(50)]
    async with asyncio.timeout(_LIMIT):
        answers = await asyncio.gather(*writes, return_exceptions=True)

    assert {type(answer) for answer in answers} == {RendezvousUnreachable}
