"""What etcd3gw alone would not notice, each trap by its name."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing

import pytest
from etcd_proxy import EtcdProxy

from elaunch.api import RendezvousUnreachable, WatchCompacted
from elaunch_rdzv_etcd.server import EtcdServer, Tls
from elaunch_rdzv_etcd.testing import EtcdCluster
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV3Store]
NewServer = Callable[..., EtcdServer]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Port of a server that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("end", ["kill", "pause"])
async def test_the_watch_of_a_server_that_dies_ends(
    new_server: NewServer, v3_store: NewStore, end: str
) -> None:
    server = new_server()
    store = v3_store(server.port, request_timeout=0.3)
    revision = await store.put("/a", b"")
    async with aclosing(store.watch("/", revision)) as events:
        await store.put("/a", b"")
        first = await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.to_thread(getattr(server.member, end))
        usual, store.link.patience = store.link.patience, 1.0
        # Who is paused keeps the connections: it is other requests that find out.
        with pytest.raises(RendezvousUnreachable):
            await store.get("/a")
        if end == "kill":
            with pytest.raises(RendezvousUnreachable, match=r"Connection refused$"):
                async with asyncio.timeout(_LIMIT):
                    await waiting
        else:
            store.link.patience = usual
            await asyncio.to_thread(server.member.resume)
            async with asyncio.timeout(_LIMIT):
                await store.put("/a", b"resumed")
                assert (await waiting).value == b"resumed"

    assert first.key == "/a"


async def test_a_watch_from_a_compacted_revision_says_so(
    etcd_port: int, v3_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "elaunch_rdzv_etcd")
    store = v3_store(etcd_port)
    start = (await store.list("/")).revision
    await store.put("/a", b"0")
    latest = await store.put("/a", b"1")
    request = {"revision": str(latest)}
    await store.link.call(lambda etcd: etcd._post("/kv/compaction", request, {}))

    async with asyncio.timeout(_LIMIT):
        with pytest.raises(WatchCompacted):
            await anext(store.watch("/", start))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"the watch of '/' saw all up to revision {start}, but etcd knows changes from "
        f"revision {latest} on: reading anew"
    )


async def test_certificates_and_proxies_of_the_environment_are_left_alone(
    new_server: NewServer,
    v3_store: NewStore,
    tls: Tls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = new_server(tls=Tls(tls.cert, tls.key, tls.ca, client_auth=True))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            monkeypatch.setenv(name, "/missing")
        store = v3_store(
            server.port,
            protocol="https",
            ca_cert=str(tls.ca),
            cert=str(tls.cert),
            key=str(tls.key),
        )
        async with asyncio.timeout(_LIMIT):
            lease = await store.lease(60.0)
            revision = await store.put("/a", b"secret", lease=lease)
            async with aclosing(store.watch("/", revision - 1)) as events:
                event = await anext(events)
                waiting = asyncio.ensure_future(anext(events))
                await asyncio.wait([waiting], timeout=0.1)
                # Over TLS, too, a watch that waits ends at once.
                await store.close()
                with pytest.raises(RendezvousUnreachable, match="closed"):
                    await waiting

    assert event.value == b"secret"


async def test_endpoints_take_turns_and_the_first_that_answers_is_stayed_with(
    cluster: EtcdCluster, silent_port: int, v3_store: NewStore
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"127.0.0.1:{nobody.getsockname()[1]}"
        endpoints = f"{dead},127.0.0.1:{silent_port},{cluster.endpoints}"
        store = v3_store(endpoints, request_timeout=0.5)
        async with asyncio.timeout(_LIMIT):
            lease = await store.lease(8.0)
            await store.put("/a", b"", lease=lease)
            used = store.link.ring.endpoint
            for _ in range(5):
                await store.get("/a")
            kept = store.link.ring.endpoint
            await asyncio.to_thread(cluster.members[0].kill)
            await store.put("/a", b"", lease=lease)

    assert str(used) == str(kept) == cluster.members[0].endpoint
    # Which of the others depends on whom they elect meanwhile.
    others = {member.endpoint for member in cluster.members[1:]}
    assert str(store.link.ring.endpoint) in others
    assert not lease.lost.done()


async def test_no_request_waits_for_ever(silent_port: int, v3_store: NewStore) -> None:
    store = v3_store(silent_port, patience=0.5, request_timeout=0.2)
    calls = (
        store.get("/a"),
        store.put("/a", b""),
        store.compare_and_set("/a", b"", expected=1),
        store.delete("/a"),
        store.list("/"),
        store.lease(2.0),
        anext(store.watch("/", 1)),
    )
    async with asyncio.timeout(_LIMIT):
        answers = await asyncio.gather(*calls, return_exceptions=True)

    told = f"etcd at '127.0.0.1:{silent_port}' has not answered for 0.5 s: "
    assert {type(answer) for answer in answers} == {RendezvousUnreachable}
    assert all(str(answer).startswith(told) for answer in answers)


async def test_no_request_of_a_silent_server_keeps_a_thread(
    etcd_port: int, v3_store: NewStore, until: Until
) -> None:
    async with EtcdProxy.before(etcd_port) as proxy:
        store = v3_store(proxy.port, request_timeout=0.2)
        await store.put("/a", b"")
        store.link.patience = 0.3
        proxy.hold = ["/v3/kv/range"] * 100
        reads = (store.get("/a") for _ in range(20))
        async with asyncio.timeout(_LIMIT):
            answers = await asyncio.gather(*reads, return_exceptions=True)
        await store.close()
        await until(
            lambda: not any(t.name.startswith("elaunch") for t in threading.enumerate())
        )

    assert {type(answer) for answer in answers} == {RendezvousUnreachable}
