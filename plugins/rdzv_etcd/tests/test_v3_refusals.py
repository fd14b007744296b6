"""What can't work is said at once, where it is and why; what may pass is waited for."""

import asyncio
import contextlib
import datetime as dt
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme

from elaunch.api import (
    EventName,
    Record,
    RendezvousParameters,
    RendezvousUnreachable,
    Store,
    discard,
)
from elaunch_rdzv_etcd import plugin
from elaunch_rdzv_etcd.connect import open_store
from elaunch_rdzv_etcd.options import EtcdOptions
from elaunch_rdzv_etcd.server import EtcdServer, Tls
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewServer = Callable[..., EtcdServer]
NewStore = Callable[..., EtcdV3Store]

_LIMIT = 20.0  # seconds
_LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)


async def opened(endpoints: str, *, record: Record = discard, **options: Any) -> Store:
    """Open a store as the backend `etcd` does, which would wait for an hour."""
    settings = EtcdOptions(connect_timeout=3600.0, **options)
    params = RendezvousParameters(backend="etcd", endpoint=endpoints, run_id="job")
    target = Target.parse(endpoints, settings)
    apis = [plugin._v3(target, params, settings), plugin._v2(target, params, settings)]
    async with asyncio.timeout(_LIMIT):
        return await open_store(endpoints, apis, settings.connect_timeout, record)


async def refusal(endpoints: str, **options: Any) -> str:
    """Return what is said of a server at once."""
    with pytest.raises(RendezvousUnreachable) as caught:
        await opened(endpoints, **options)
    text = str(caught.value)
    assert all(endpoint in text for endpoint in endpoints.split(","))
    assert "\n" not in text
    return text


@attrs.define
class Recorder:
    events: list[tuple[EventName, dict[str, object]]] = attrs.field(factory=list)

    def __call__(self, name: EventName, /, **metadata: object) -> None:
        self.events.append((name, metadata))


@contextlib.asynccontextmanager
async def saying(
    answer: bytes, context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve somebody who says the same to everybody; give the endpoint."""

    talks: set[asyncio.Task[None]] = set()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                writer.write(b"" if answer.startswith(b"HTTP") else answer)
                while await reader.readuntil(b"\r\n\r\n"):
                    writer.write(answer)
            finally:
                writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.create_task(say(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def http(status: str, body: bytes, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


_PAGE = b"<html>It works!</html>"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", "does not speak HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x16 nonsense\r\n", "does not speak HTTP"),
        (http("200 OK", _PAGE), "does not answer as etcd does"),
        (http("200 OK", b"[]"), "does not answer as etcd does"),
        (http("200 OK", b"{}"), "does not answer as etcd does"),
        (http("200 OK", b'{"etcdserver": "3.5.1"}'), "does not answer as etcd does"),
        (http("404 Not Found", _PAGE), "with HTTP status 404"),
        (http("403 Forbidden", _PAGE), "with HTTP status 403"),
        (http("501 Not Implemented", _PAGE), "with HTTP status 501"),
        (http("301 Moved", b"", "Location: https://x/"), "with HTTP status 301"),
    ],
)
async def test_something_else_at_the_port_is_told_at_once(
    answer: bytes, said: str
) -> None:
    async with saying(answer) as endpoint:
        assert said in await refusal(endpoint)


async def test_two_that_are_something_else_are_both_told() -> None:
    async with (
        saying(http("404 Not Found", _PAGE)) as one,
        saying(b"220 smtp\r\n") as two,
    ):
        text = await refusal(f"{one},{two}")

    assert f"'{one}': it does not answer as etcd does, but with HTTP status 404" in text
    assert f"'{two}': it does not speak HTTP: '220 smtp" in text


async def test_one_that_is_something_else_is_passed_by(etcd_port: int) -> None:
    async with saying(http("404 Not Found", _PAGE)) as other:
        store = await opened(f"{other},127.0.0.1:{etcd_port}")
        await store.put("/job/a", b"")
        await store.close()


async def test_a_proxy_whose_server_is_away_is_waited_for(
    v3_store: NewStore,
) -> None:
    async with saying(http("503 Service Unavailable", _PAGE)) as endpoint:
        store = v3_store(endpoint, patience=2.0)
        with pytest.raises(RendezvousUnreachable, match=r"for 2 s: .* status 503"):
            await store.get("/a")


async def test_a_page_instead_of_an_answer_is_endured_once_etcd_has_answered(
    etcd_port: int, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port)
    await store.get("/a")
    store.link.patience = 0.5
    endpoint = store.link.ring.endpoint
    async with saying(http("404 Not Found", _PAGE)) as other:
        # As if a load balancer had another idea for a while.
        elsewhere = Target.parse(other, EtcdOptions()).endpoints[0]
        store.link.ring._clients[endpoint] = store._connect(elsewhere)
        with pytest.raises(RendezvousUnreachable, match=r"has not answered for 0\.5 s"):
            await store.get("/a")


# -- TLS -------------------------------------------------------------------------------


@attrs.frozen
class Certificates:
    """An authority, and what it signs."""

    authority: trustme.CA
    directory: Path

    def issue(self, name: str, not_after: dt.datetime | None = None) -> tuple[str, str]:
        issued = self.authority.issue_cert("127.0.0.1", not_after=not_after)
        cert, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(cert)
        issued.private_key_pem.write_to_path(key)
        return str(cert), str(key)

    @property
    def ca(self) -> str:
        path = self.directory / "ca.pem"
        self.authority.cert_pem.write_to_path(path)
        return str(path)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(trustme.CA(), tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def mutual(certificates: Certificates) -> Iterator[str]:
    """Endpoint of a server that asks for a certificate."""
    cert, key = map(Path, certificates.issue("server"))
    tls = Tls(cert, key, Path(certificates.ca), client_auth=True)
    with EtcdServer(v2=False, tls=tls) as server:
        yield server.endpoint


async def test_a_certificate_of_both_sides_is_enough(
    mutual: str, certificates: Certificates
) -> None:
    cert, key = certificates.issue("client")
    store = await opened(
        mutual, protocol="https", ca_cert=certificates.ca, cert=cert, key=key
    )
    revision = await store.put("/job/a", b"")
    entry = await store.get("/job/a")
    await store.close()

    assert entry is not None
    assert entry.revision == revision


async def test_without_a_certificate_nobody_is_let_in(
    mutual: str, certificates: Certificates
) -> None:
    text = await refusal(mutual, protocol="https", ca_cert=certificates.ca)

    assert "does not accept this client's certificate" in text


async def test_an_expired_certificate_of_ours_is_told(
    mutual: str, certificates: Certificates
) -> None:
    cert, key = certificates.issue("old", _LONG_AGO)
    text = await refusal(
        mutual, protocol="https", ca_cert=certificates.ca, cert=cert, key=key
    )

    assert "does not accept this client's certificate" in text


async def test_a_certificate_of_another_authority_is_told(
    mutual: str, certificates: Certificates, tmp_path: Path
) -> None:
    other = Certificates(trustme.CA(), tmp_path)
    cert, key = other.issue("stranger")
    options = {"protocol": "https", "cert": cert, "key": key}

    theirs = await refusal(mutual, ca_cert=other.ca, **options)
    ours = await refusal(mutual, ca_cert=certificates.ca, **options)

    assert "its certificate can't be trusted: " in theirs
    assert "does not accept this client's certificate" in ours


async def test_an_expired_certificate_of_the_server_is_told(
    certificates: Certificates,
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificates.issue("old server", _LONG_AGO))
    async with saying(_PAGE, context) as endpoint:
        text = await refusal(endpoint, protocol="https", ca_cert=certificates.ca)

    assert "its certificate can't be trusted: " in text
    assert "expired" in text


async def test_plain_http_to_tls_is_told(mutual: str) -> None:
    assert "add protocol=https" in await refusal(mutual)


async def test_tls_to_plain_http_is_told(
    etcd_port: int, certificates: Certificates
) -> None:
    endpoint = f"127.0.0.1:{etcd_port}"
    text = await refusal(endpoint, protocol="https", ca_cert=certificates.ca)

    assert "does not speak TLS" in text
    assert "leave out protocol=https" in text


# -- which API -------------------------------------------------------------------------


async def test_v3_is_taken_where_both_are_offered(etcd_port: int) -> None:
    record, endpoint = Recorder(), f"127.0.0.1:{etcd_port}"
    store = await opened(endpoint, record=record)
    await store.close()

    assert record.events == [
        (EventName.STORE_CONNECTED, {"endpoint": endpoint, "rule": "etcd v3 API"})
    ]


async def test_v2_is_taken_where_it_is_all_there_is_and_why_is_told() -> None:
    record = Recorder()
    with EtcdServer(flags=["--enable-grpc-gateway=false"]) as server:
        store = await opened(server.endpoint, record=record)
        await store.put("/job/a", b"")
        await store.close()

    ((name, told),) = record.events
    assert name is EventName.STORE_CONNECTED
    assert told["rule"] == (
        "the server does not offer the v3 API over HTTP; etcd v2 API"
    )


async def test_a_server_with_neither_api_is_told_at_once(
    new_server: NewServer,
) -> None:
    server = new_server("--enable-grpc-gateway=false")
    text = await refusal(server.endpoint)

    assert "does not offer the v3 API over HTTP; " in text
    assert "does not offer the v2 API" in text


# -- no space --------------------------------------------------------------------------


async def alarm(store: EtcdV3Store, action: str) -> None:
    request = {"action": action, "alarm": "NOSPACE", "memberID": "0"}
    await store.link.call(lambda etcd: etcd._post("/maintenance/alarm", request, {}))


async def test_without_space_all_goes_on_but_what_needs_some(
    new_server: NewServer, v3_store: NewStore
) -> None:
    server = new_server()
    # Another endpoint would say the same, so there is no reason to go there.
    both = f"127.0.0.1:{server.port},localhost:{server.port}"
    store = v3_store(both)
    patient = v3_store(server.port, patience=_LIMIT)
    lease, held = await store.lease(6.0), await patient.lease(6.0)
    revision = await store.put("/a", b"", lease=lease)
    events = store.watch("/", revision)
    await alarm(store, "ACTIVATE")
    waiting = [
        asyncio.create_task(patient.lease(6.0)),
        asyncio.create_task(patient.put("/b", b"", lease=held)),
    ]
    usual, store.link.patience = store.link.patience, 1.0
    with pytest.raises(RendezvousUnreachable) as caught:
        await store.put("/c", b"", lease=lease)
    store.link.patience = usual
    entry = await store.get("/a")
    deleted = await store.delete("/a")
    async with asyncio.timeout(_LIMIT):
        event = await anext(events)
    futures: list[asyncio.Future[Any]] = [*waiting, lease.lost, held.lost]
    still = not any(future.done() for future in futures)
    await alarm(store, "DEACTIVATE")
    async with asyncio.timeout(_LIMIT):
        await asyncio.gather(*waiting)
        added = await anext(events)
    await events.aclose()

    assert "database space exceeded" in str(caught.value)
    assert " has refused for 1 s: " in str(caught.value)
    assert "'etcdctl alarm disarm'" in str(caught.value)
    assert entry is not None
    assert deleted
    assert (event.key, event.value, added.key) == ("/a", None, "/b")
    assert still
    assert str(store.link.ring.endpoint) == f"127.0.0.1:{server.port}"
    assert store.link.ring.trouble == ""


async def test_an_error_names_no_secret(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    password.chmod(0o600)
    answer = http("200 OK", json.dumps({"token": "hunter2"}).encode())
    async with saying(answer) as endpoint:
        text = await refusal(endpoint, username="me", password_file=str(password))

    assert "hunter2" not in text
