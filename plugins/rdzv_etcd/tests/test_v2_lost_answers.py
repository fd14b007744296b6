"""Writes whose answer is lost: carried out once, and told as they happened."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
import pytest_asyncio

from elaunch.api import ABSENT
from elaunch_rdzv_etcd.v2.lease import EtcdLease
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV2Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 20.0  # seconds
_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return head + await reader.readexactly(int(length[1]) if length else 0)


class Proxy:
    """Passes requests on to etcd; can hold them back or drop answers."""

    def __init__(self, port: int) -> None:
        self.upstream = port
        self.port = 0
        self.drop: list[bytes] = []
        self.delay: list[bytes] = []
        self.delayed = asyncio.Event()
        self.carried_out = asyncio.Event()
        self.serving: set[asyncio.Task[None] | None] = set()
        self.dropped = asyncio.Event()
        self.held = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.serving.add(asyncio.current_task())
        etcd_reader, etcd_writer = await asyncio.open_connection(
            "127.0.0.1", self.upstream
        )
        try:
            while True:
                request = await _message(reader)
                self.held.set()
                await self.go_on.wait()
                if self.delay and request.startswith(self.delay[0]):
                    del self.delay[0]
                    await self.delayed.wait()
                    etcd_writer.write(request)
                    await _message(etcd_reader)
                    self.carried_out.set()
                    return
                etcd_writer.write(request)
                answer = await _message(etcd_reader)
                if self.drop and request.startswith(self.drop[0]):
                    del self.drop[0]
                    self.dropped.set()
                    return
                writer.write(answer)
        except asyncio.IncompleteReadError:
            return  # the client has closed the connection
        finally:
            for each in (writer, etcd_writer):
                each.close()


@pytest_asyncio.fixture
async def proxy(etcd_port: int) -> AsyncIterator[Proxy]:
    proxy = Proxy(etcd_port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()
    await asyncio.gather(*filter(None, proxy.serving))


async def test_each_write_happens_once(
    etcd_port: int, proxy: Proxy, etcd_store: NewStore
) -> None:
    store, other = etcd_store(proxy.port), etcd_store(etcd_port)
    start = (await other.list("/")).revision
    proxy.drop = [b"PUT"]
    put = await store.put("/a", b"0")
    proxy.drop = [b"PUT"]
    created = await store.compare_and_set("/b", b"1", expected=ABSENT)
    assert created is not None
    proxy.drop = [b"PUT"]
    replaced = await store.compare_and_set("/b", b"2", expected=created)
    proxy.drop = [b"DELETE"]
    deleted = await store.delete("/a", expected=put)
    proxy.drop = [b"DELETE"]
    gone = await store.delete("/b")
    again = await store.delete("/b")
    end = await other.put("/end", b"")

    seen = []
    async with asyncio.timeout(_LIMIT), aclosing(other.watch("/", start)) as events:
        async for event in events:
            if event.revision == end:
                break
            seen.append((event.key, event.value))
    assert None not in (created, replaced)
    assert (deleted, gone, again) == (True, True, False)
    assert seen == [
        ("/a", b"0"),
        ("/b", b"1"),
        ("/b", b"2"),
        ("/a", None),
        ("/b", None),
    ]
    assert proxy.drop == []


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_leased_replacement_has_one_revision(
    etcd_port: int, proxy: Proxy, etcd_store: NewStore, until: Until, lost: int
) -> None:
    # The first renewal writes it again: the answer to either can be lost, or to both.
    store, other = etcd_store(proxy.port), etcd_store(etcd_port)
    old = await store.put("/a", b"0")
    lease = await store.lease(6.0)
    proxy.drop = [b"PUT"] * lost
    replaced = await store.compare_and_set("/a", b"1", expected=old, lease=lease)
    path = store.paths.of_key("/a")

    def settled() -> bool:
        node = other.link.ring.current.read(path)
        return node is not None and node.is_settled and not proxy.drop

    await until(settled)
    async with asyncio.timeout(_LIMIT), aclosing(other.watch("/a", old)) as events:
        await other.put("/ab", b"")
        seen = [await anext(events) for _ in range(2)]
    entry = await other.get("/a")

    assert entry is not None
    assert entry.revision == replaced
    assert [(event.key, event.value) for event in seen] == [("/a", b"1"), ("/ab", b"")]
    assert seen[0].revision == replaced
    assert not lease.lost.done()


async def test_who_lost_is_told_so_after_a_lost_answer(
    etcd_port: int, proxy: Proxy, etcd_store: NewStore
) -> None:
    store, other = etcd_store(proxy.port), etcd_store(etcd_port)
    await other.put("/a", b"other's")
    proxy.drop = [b"PUT"]

    assert await store.compare_and_set("/a", b"mine", expected=ABSENT) is None
    entry = await store.get("/a")
    assert entry is not None
    assert entry.value == b"other's"


async def test_a_put_is_not_repeated_over_a_later_write(
    etcd_port: int, proxy: Proxy, etcd_store: NewStore
) -> None:
    store, other = etcd_store(proxy.port), etcd_store(etcd_port)
    proxy.drop = [b"PUT"]
    putting = asyncio.create_task(store.put("/a", b"mine"))
    await proxy.dropped.wait()
    mine = await other.get("/a")
    await putting

    assert mine is not None
    assert mine.value == b"mine"
    assert putting.result() == mine.revision


@pytest.mark.parametrize("method", [b"PUT", b"DELETE"])
async def test_a_request_that_arrives_late_changes_nothing(
    etcd_port: int, proxy: Proxy, etcd_store: NewStore, method: bytes
) -> None:
    # As in the socket of a member that stands still while others answer.
    endpoints = f"127.0.0.1:{proxy.port},127.0.0.1:{etcd_port}"
    store, other = etcd_store(endpoints, request_timeout=0.3), etcd_store(etcd_port)
    if method == b"DELETE":
        await other.put("/a", b"0")
    proxy.delay = [method]
    async with asyncio.timeout(_LIMIT):
        if method == b"PUT":
            await store.put("/a", b"1")
        else:
            assert await store.delete("/a")
        newer = await other.put("/a", b"2")
        proxy.delayed.set()
        await proxy.carried_out.wait()
    entry = await other.get("/a")

    assert entry is not None
    assert (entry.value, entry.revision) == (b"2", newer)


async def test_a_lost_answer_to_a_renewal_is_no_loss(
    etcd_port: int, proxy: Proxy, etcd_store: NewStore, until: Until
) -> None:
    store, other = etcd_store(proxy.port), etcd_store(etcd_port)
    lease = await store.lease(6.0)
    revision = await store.put("/a", b"", lease=lease)
    path = store.paths.of_key("/a")
    proxy.drop = [b"PUT"]
    async with asyncio.timeout(_LIMIT):
        await proxy.dropped.wait()
    unanswered = other.link.ring.current.read(path)
    assert unanswered is not None

    def renewed() -> bool:
        node = other.link.ring.current.read(path)
        return node is not None and node.index > unanswered.index

    await until(renewed)
    entry = await other.get("/a")

    assert unanswered.index > revision
    assert not lease.lost.done()
    assert entry is not None
    assert entry.revision == revision


@pytest.mark.parametrize("lost", [False, True])
async def test_a_cancelled_write_does_not_outlive_its_lease(
    etcd_port: int, proxy: Proxy, etcd_store: NewStore, *, lost: bool
) -> None:
    store, other = etcd_store(proxy.port, request_timeout=_LIMIT), etcd_store(etcd_port)
    lease = await store.lease(60.0)
    assert isinstance(lease, EtcdLease)
    start = (await other.list("/")).revision
    proxy.held.clear()
    proxy.go_on.clear()
    writing = asyncio.create_task(store.put("/a", b"", lease=lease))
    async with asyncio.timeout(_LIMIT):
        await proxy.held.wait()
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        if lost:
            lease._lose("the test says so")
            proxy.go_on.set()
        else:
            revoking = asyncio.create_task(lease.revoke())
            await asyncio.sleep(0)
            proxy.go_on.set()
            await revoking
        async with aclosing(other.watch("/", start)) as events:
            seen = [(await anext(events)).value for _ in range(2)]

    assert writing.cancelled()
    assert seen == [b"", None]


async def test_closing_that_is_cancelled_leaves_no_connection_and_no_task(
    proxy: Proxy, etcd_store: NewStore
) -> None:
    store = etcd_store(proxy.port, request_timeout=_LIMIT)
    await store.put("/job/a", b"", lease=await store.lease(60.0))
    proxy.go_on.clear()
    proxy.held.clear()
    closing = asyncio.create_task(store.close())
    async with asyncio.timeout(_LIMIT):
        await proxy.held.wait()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        proxy.go_on.set()
        await store.close()
        await asyncio.gather(*filter(None, proxy.serving))
        await asyncio.wait([store._upkeep._task])

    assert closing.cancelled()
