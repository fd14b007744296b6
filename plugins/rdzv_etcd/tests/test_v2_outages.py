"""Servers that go away, come back, never were there, or are of the wrong kind."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Protocol

import pytest

from elaunch.api import EventName, Record, RendezvousUnreachable, Store, discard
from elaunch_rdzv_etcd.connect import Api, open_store
from elaunch_rdzv_etcd.options import GivenOptions
from elaunch_rdzv_etcd.server import Tls
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.v2.paths import Paths
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]


class Server(Protocol):
    @property
    def port(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


NewServer = Callable[..., Server]
NewStore = Callable[..., EtcdV2Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds


class Recorder:
    """Keeps what was recorded."""

    def __init__(self) -> None:
        self.events: list[tuple[EventName, dict[str, object]]] = []

    def __call__(self, name: EventName, /, **metadata: object) -> None:
        self.events.append((name, metadata))


def unused_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_a_restart_within_the_lease_loses_nothing(
    new_server: NewServer, etcd_store: NewStore, until: Until
) -> None:
    server = new_server("--enable-v2")
    store = etcd_store(server.port)
    lease = await store.lease(_LIMIT)
    first = await store.put("/a/leased", b"", lease=lease)
    async with (
        asyncio.timeout(_LIMIT),
        aclosing(store.watch("/a/", first)) as events,
    ):
        event = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(server.stop)
        write = asyncio.create_task(store.put("/a/1", b""))
        read = asyncio.create_task(store.get("/a/leased"))
        await until(lambda: bool(store.link.ring.trouble))
        await asyncio.to_thread(server.start)
        second = await write
        third = await store.put("/a/2", b"")
        seen = [await event, await anext(events)]
    entry = await read
    await lease.revoke()

    assert entry is not None
    assert entry.revision == first
    assert [e.revision for e in seen] == [second, third]
    assert (await store.list("/a/leased")).entries == ()


async def test_a_lease_is_renewed_after_a_restart(
    new_server: NewServer, etcd_store: NewStore, until: Until
) -> None:
    server = new_server("--enable-v2")
    store = etcd_store(server.port)
    lease = await store.lease(20.0)
    revision = await store.put("/a", b"", lease=lease)
    path = store.paths.of_key("/a")
    await asyncio.to_thread(server.stop)
    await until(lambda: bool(store.link.ring.trouble))
    await asyncio.to_thread(server.start)

    def renewed() -> bool:
        node = store.link.ring.current.read(path)
        return node is not None and node.index > revision

    await until(renewed)
    assert not lease.lost.done()


async def test_an_outage_ends_the_lease_and_names_the_server(
    new_server: NewServer, etcd_store: NewStore
) -> None:
    server = new_server("--enable-v2")
    store = etcd_store(server.port, patience=3.0)
    lease = await store.lease(3.0)
    revision = await store.put("/a", b"", lease=lease)
    watch = store.watch("/", revision)
    event = asyncio.ensure_future(anext(watch))
    await asyncio.to_thread(server.stop)
    async with asyncio.timeout(_LIMIT):
        reason = await lease.lost
        with pytest.raises(RendezvousUnreachable, match=f"'127.0.0.1:{server.port}'"):
            await event
        with pytest.raises(RendezvousUnreachable, match=r"Connection refused$"):
            await store.get("/a")
        with pytest.raises(RendezvousUnreachable, match="lease of '/b' is lost"):
            await store.put("/b", b"", lease=lease)
        await lease.revoke()

    assert reason.startswith(f"etcd at '127.0.0.1:{server.port}' has not answered for")


async def test_a_lost_server_fails_all_that_wait_for_it(etcd_store: NewStore) -> None:
    store = etcd_store(unused_port(), patience=0.2)

    async with asyncio.timeout(_LIMIT):
        answers = await asyncio.gather(
            *(store.get("/a") for _ in range(200)), return_exceptions=True
        )

    assert {type(answer) for answer in answers} == {RendezvousUnreachable}


async def test_no_lease_is_granted_while_the_server_is_away(
    new_server: NewServer, etcd_store: NewStore
) -> None:
    # A node that was lost in an outage takes a lease for a sign that it is over.
    server = new_server("--enable-v2")
    store = etcd_store(server.port)
    await store.lease(_LIMIT)
    await asyncio.to_thread(server.stop)
    store.link.patience = 1.0

    async with asyncio.timeout(_LIMIT):
        with pytest.raises(RendezvousUnreachable, match=r"Connection refused$"):
            await store.lease(_LIMIT)


async def test_a_silent_server_is_unreachable(
    etcd_store: NewStore, silent_port: int
) -> None:
    store = etcd_store(silent_port, patience=0.3, request_timeout=0.1)

    for call in (store.get("/a"), anext(store.watch("/a", 1))):
        async with asyncio.timeout(_LIMIT):
            with pytest.raises(
                RendezvousUnreachable, match=r"has not answered for 0\.3 s: .*time"
            ):
                await call


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"<html>", b"[]", b"{}", b'{"node": 1}', b'{"errorCode": []}'],
)
async def test_what_is_no_answer_of_etcd_is_an_outage(
    etcd_store: NewStore, status: int, body: bytes
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(body))
            )
            writer.write(b"Connection: close\r\n\r\n" + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(_LIMIT):
        store = etcd_store(server.sockets[0].getsockname()[1], patience=0.2)
        calls = (
            store.get("/a"),
            store.list("/a"),
            store.put("/a", b""),
            store.delete("/a"),
            anext(store.watch("/a", 1)),
        )
        for call in calls:
            with pytest.raises(
                RendezvousUnreachable, match=r"has not answered|refuses"
            ):
                await call
        await store.close()


async def test_a_call_can_be_cancelled(etcd_store: NewStore, silent_port: int) -> None:
    # Nothing but the cancellation ends these within the limit of the test.
    store = etcd_store(silent_port, patience=3600.0, request_timeout=10.0)
    calls = [
        asyncio.ensure_future(call)
        for call in (store.put("/a", b""), anext(store.watch("/a", 1)))
    ]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    done, _ = await asyncio.wait(calls, timeout=_LIMIT)

    assert {call.cancelled() for call in done} == {True}
    assert len(done) == len(calls)


async def test_a_socket_in_the_file_system_is_an_endpoint(
    etcd_port: int, etcd_store: NewStore, tmp_path: Path
) -> None:
    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(65_536):
            writer.write(chunk)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        etcd = await asyncio.open_connection("127.0.0.1", etcd_port)
        await asyncio.gather(relay(reader, etcd[1]), relay(etcd[0], writer))

    path = tmp_path / "etcd.sock"
    server = await asyncio.start_unix_server(serve, path)
    async with server, asyncio.timeout(_LIMIT):
        store = etcd_store(f"unix:{path}")
        lease = await store.lease(_LIMIT)
        revision = await store.put("/a", b"value", lease=lease)
        async with aclosing(store.watch("/a", revision - 1)) as events:
            event = await anext(events)
        await store.close()

    assert (event.value, event.revision) == (b"value", revision)


async def open_v2(target: Target, options: GivenOptions, record: Record) -> Store:
    paths = Paths(options.prefix)
    api = Api(
        "v2",
        lambda: EtcdV2Store(target, options.silence_limit, paths, "/job/", 60.0),
    )
    return await open_store(str(target), [api], options.connect_timeout, record)


async def test_opening_waits_for_a_server_and_says_so(
    new_server: NewServer, until: Until
) -> None:
    server = new_server("--enable-v2")
    await asyncio.to_thread(server.stop)
    record = Recorder()
    options = GivenOptions(connect_timeout=_LIMIT)
    target = Target.parse(f"127.0.0.1:{server.port}", options)
    opening = asyncio.create_task(open_v2(target, options, record))
    await until(lambda: bool(record.events))
    await asyncio.to_thread(server.start)
    store = await opening
    await store.close()

    assert record.events == [
        (
            EventName.STORE_WAITING,
            {"reason": f"etcd at '{target}': [Errno 111] Connection refused"},
        ),
        (
            EventName.STORE_CONNECTED,
            {"endpoint": str(target), "rule": "etcd v2 API"},
        ),
    ]


async def test_opening_gives_up_with_the_last_error() -> None:
    options = GivenOptions(connect_timeout=1)
    target = Target.parse(f"127.0.0.1:{unused_port()}", options)

    with pytest.raises(
        RendezvousUnreachable, match=rf"'{target}' .* 1 s: .* refused; is it running"
    ):
        await open_v2(target, options, discard)


async def test_a_server_without_the_v2_api_is_told_at_once(
    new_server: NewServer,
) -> None:
    server = new_server("--enable-v2=false")
    options = GivenOptions(connect_timeout=3600.0)
    target = Target.parse(f"127.0.0.1:{server.port}", options)

    with pytest.raises(RendezvousUnreachable, match=r"not offer the v2 API: .*--enabl"):
        await open_v2(target, options, discard)


async def test_tls_trusts_the_given_certificates_only(
    new_server: NewServer, tls: Tls, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = new_server("--enable-v2", tls=tls)
    for name in ("HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{unused_port()}")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "/missing")
    trusting = GivenOptions(protocol="https", ca_cert=str(tls.ca))
    doubting = GivenOptions(protocol="https", connect_timeout=3600.0)
    endpoint = f"127.0.0.1:{server.port}"
    async with asyncio.timeout(_LIMIT):
        store = await open_v2(Target.parse(endpoint, trusting), trusting, discard)
        revision = await store.put("/tls", b"secret")
        async with aclosing(store.watch("/tls", revision - 1)) as events:
            event = await anext(events)
        waiting = asyncio.ensure_future(anext(store.watch("/tls", revision)))
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(RendezvousUnreachable, match="closed"):
            await waiting
        with pytest.raises(RendezvousUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
            await open_v2(Target.parse(endpoint, doubting), doubting, discard)

    assert event.value == b"secret"
