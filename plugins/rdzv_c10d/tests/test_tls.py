"""A store with TLS, over real sockets, with certificates made for the test."""

import asyncio
import contextlib
import datetime as dt
import logging
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from elaunch.api import NodeNotAdmitted, RendezvousUnreachable, UsageError
from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.job_token import Token
from elaunch_rdzv_c10d.limits import Limits
from elaunch_rdzv_c10d.messages import MAGIC, TLS_MAGIC
from elaunch_rdzv_c10d.options import C10dOptions
from elaunch_rdzv_c10d.security import UNPROTECTED, Security, load_security
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.tls import load_tls
from elaunch_rdzv_c10d.tls_stream import TlsStream
from elaunch_rdzv_c10d.wire import MAX_VALUE, hello


PAST = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
TOKEN = Token(b"correct horse battery staple")


@attrs.frozen
class Files:
    """PEM files of one node."""

    cert: str
    key: str
    ca: str

    def security(
        self, *, check_host: bool = True, token: Token | None = None
    ) -> Security:
        tls = load_tls(self.cert, self.key, self.ca, check_host=check_host)
        return Security(token, tls)


@attrs.define
class Authority:
    """Signs certificates and writes them into files."""

    folder: Path
    ca: trustme.CA = attrs.field(factory=trustme.CA)
    count: int = 0

    def node(
        self,
        *names: str,
        expired: bool = False,
        trusts: "Authority | None" = None,
    ) -> Files:
        self.count += 1
        end = PAST if expired else None
        leaf = self.ca.issue_cert(*(names or ("127.0.0.1",)), not_after=end)
        where = self.folder / str(self.count)
        where.mkdir(parents=True)
        files = [where / name for name in ("cert.pem", "key.pem", "ca.pem")]
        files[0].write_bytes(b"".join(pem.bytes() for pem in leaf.cert_chain_pems))
        leaf.private_key_pem.write_to_path(files[1])
        (trusts or self).ca.cert_pem.write_to_path(files[2])
        return Files(*map(str, files))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("theirs"))


@contextlib.asynccontextmanager
async def serving(
    security: Security, limits: Limits | None = None
) -> AsyncIterator[tuple[StoreServer, Endpoint]]:
    server = StoreServer(Sessions("job"), security, limits or Limits())
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    try:
        yield server, Endpoint(*listeners[0].getsockname())
    finally:
        await server.stop()


async def connect(
    endpoint: Endpoint, security: Security, grace: float = 30.0
) -> ControlStore:
    return await ControlStore.connect(
        endpoint.host,
        endpoint.port,
        timeout=30.0,
        run_id="job",
        reconnect_grace=grace,
        security=security,
    )


@pytest.mark.asyncio
class TestWhoIsLetIn:
    @pytest.mark.parametrize("token", [None, TOKEN], ids=["alone", "with a token"])
    async def test_who_has_a_certificate_of_the_job(
        self, ours: Authority, token: Token | None
    ) -> None:
        async with serving(ours.node().security(token=token)) as (server, endpoint):
            store = await connect(endpoint, ours.node().security(token=token))
            value = bytes(range(256)) * (MAX_VALUE // 256)
            await store.put("/key", value)
            lease = await store.lease(60.0)
            session = store.session
            for caller in tuple(server.door._callers):
                caller.transport.abort()
            again = await store.get("/key")
            await store.put("/leased", b"", lease=lease)
            kept = store.session
            await store.close()

        assert again is not None
        assert again.value == value
        assert kept == session

    async def test_nothing_can_be_read_on_the_way(self, ours: Authority) -> None:
        heard = bytearray()

        async def carry(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            while data := await reader.read(65_536):
                heard.extend(data)
                writer.write(data)
            writer.close()

        async with serving(ours.node().security()) as (_, target):
            ended = asyncio.Event()

            async def accept(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter
            ) -> None:
                there, back = await asyncio.open_connection(target.host, target.port)
                with contextlib.suppress(ConnectionError):
                    await asyncio.gather(carry(reader, back), carry(there, writer))
                ended.set()

            between = await asyncio.start_server(accept, "127.0.0.1", 0)
            async with between:
                endpoint = Endpoint(*between.sockets[0].getsockname())
                store = await connect(endpoint, ours.node().security())
                await store.put("/key", b"value")
                await store.close()
                await ended.wait()

        assert heard.startswith(TLS_MAGIC)
        assert b"hello" not in heard
        assert b"/key" not in heard

    async def test_a_host_by_another_name_if_names_are_not_checked(
        self, ours: Authority
    ) -> None:
        async with serving(ours.node("node-0").security()) as (_, endpoint):
            client = ours.node("node-1").security(check_host=False)
            store = await connect(endpoint, client)
            await store.close()

    async def test_a_host_that_calls_itself_by_an_address(
        self, ours: Authority
    ) -> None:
        host = ours.node("node-0").security()
        async with serving(host) as (_, endpoint):
            store = await connect(endpoint, host.for_host())
            await store.close()


@pytest.mark.asyncio
class TestWhoIsNot:
    async def test_who_does_not_speak_tls(
        self, ours: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(ours.node().security()) as (_, endpoint):
            with pytest.raises(
                NodeNotAdmitted, match="speaks TLS only; give --rdzv-conf tls_cert="
            ):
                await connect(endpoint, UNPROTECTED)

        (record,) = caplog.records
        assert "refusing the connection" in record.getMessage()
        assert "this store speaks TLS only" in record.getMessage()

    async def test_who_wants_tls_of_a_store_that_has_none(
        self, ours: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(UNPROTECTED) as (_, endpoint):
            with pytest.raises(NodeNotAdmitted, match="does not speak TLS; leave out"):
                await connect(endpoint, ours.node().security())

        (record,) = caplog.records
        assert "this store does not speak TLS" in record.getMessage()

    async def test_who_has_a_certificate_of_others(
        self, ours: Authority, theirs: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(ours.node().security()) as (_, endpoint):
            stranger = theirs.node(trusts=ours).security()
            with pytest.raises(
                RendezvousUnreachable,
                match="be trusted: TLS failed: tlsv1 alert unknown",
            ):
                await connect(endpoint, stranger)

        (record,) = caplog.records
        assert "TLS failed: unable to get local issuer cert" in record.getMessage()

    async def test_a_store_that_has_a_certificate_of_others(
        self, ours: Authority, theirs: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(theirs.node(trusts=ours).security()) as (_, endpoint):
            with logged() as heard:
                with pytest.raises(
                    RendezvousUnreachable, match="unable to get local issuer"
                ):
                    await connect(endpoint, ours.node().security())
                await heard.wait()

        (record,) = caplog.records
        assert "TLS failed: tlsv1 alert unknown ca" in record.getMessage()

    async def test_whose_certificate_has_expired(
        self, ours: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        old = ours.node(expired=True).security()
        async with serving(ours.node().security()) as (_, endpoint):
            with pytest.raises(RendezvousUnreachable, match="alert certificate expire"):
                await connect(endpoint, old)
        async with serving(old) as (_, endpoint):
            with pytest.raises(RendezvousUnreachable, match="certificate has expired"):
                await connect(endpoint, ours.node().security())

        assert "TLS failed: certificate has expired" in caplog.text

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    async def test_a_store_by_another_name(self, ours: Authority, host: str) -> None:
        named = rf"not valid for '{re.escape(host)}'.*subjectAltName.*check_host=false"
        async with serving(ours.node("node-0").security()) as (_, endpoint):
            with pytest.raises(RendezvousUnreachable, match=named):
                await connect(attrs.evolve(endpoint, host=host), ours.node().security())

    async def test_who_shows_none(
        self, ours: Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(ours.node().ca)
        host = ours.node().security()
        assert host.tls
        nameless = attrs.evolve(host.tls, client=context)
        async with serving(host) as (_, endpoint):
            with pytest.raises(RendezvousUnreachable, match="certificate required"):
                await connect(endpoint, Security(tls=nameless))

        assert "peer did not return a certificate" in caplog.text

    async def test_who_has_no_token_beside_the_certificate(
        self, ours: Authority
    ) -> None:
        async with serving(ours.node().security(token=TOKEN)) as (_, endpoint):
            with pytest.raises(NodeNotAdmitted, match="asks for the job's token"):
                await connect(endpoint, ours.node().security())

    async def test_a_store_that_goes_on_without(self, ours: Authority) -> None:
        """Its welcome in the clear counts for nothing."""
        async with serving(UNPROTECTED) as (_, target):

            async def strip(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter
            ) -> None:
                await reader.readexactly(len(TLS_MAGIC))
                there, back = await asyncio.open_connection(target.host, target.port)
                body = b'{"type":"hello","run_id":"job","grace":1.0}'
                back.write(MAGIC + len(body).to_bytes(4, "little") + body)
                writer.write(await there.read(65_536))
                back.close()
                writer.close()

            between = await asyncio.start_server(strip, "127.0.0.1", 0)
            async with between:
                endpoint = Endpoint(*between.sockets[0].getsockname())
                with pytest.raises(RendezvousUnreachable, match="does not speak TLS"):
                    await connect(endpoint, ours.node().security())

    @pytest.mark.parametrize(
        "opening",
        [
            TLS_MAGIC,
            TLS_MAGIC[:4],
            TLS_MAGIC + b"\x16\x03\x01\x02\x00",
            TLS_MAGIC + b"\x16\x03\x01\x02\x00\x01\x00",
        ],
    )
    async def test_who_is_half_way_at_the_deadline(
        self, ours: Authority, opening: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        limits = Limits(handshake_timeout=0.1)
        async with serving(ours.node().security(), limits) as (_, endpoint):
            answer = await last_words(endpoint, opening)

        assert answer in (b"", TLS_MAGIC)
        assert "no handshake in time" in caplog.text

    @pytest.mark.parametrize(
        "opening", [TLS_MAGIC + b"GET / HTTP/1.1\r\n\r\n", hello(7), b"\x16\x03\x01"]
    )
    async def test_who_speaks_something_else(
        self, ours: Authority, opening: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with serving(ours.node().security()) as (_, endpoint):
            await last_words(endpoint, opening)

        assert len(caplog.records) == 1


@pytest.mark.asyncio
async def test_a_fault_in_the_middle_is_the_end_of_the_connection(
    ours: Authority,
) -> None:
    async with serving(ours.node().security()) as (server, endpoint):
        store = await connect(endpoint, ours.node().security(), grace=0.1)
        link = store._link
        assert link._connection
        assert isinstance(link._connection._transport, TlsStream)
        link._over = "it does not come back"
        link._connection._transport._transport.write(b"what is no TLS record")
        assert server.sessions
        drained = await server.sessions.drained(10.0)
        await store.close()

    assert drained


@pytest.mark.asyncio
async def test_what_follows_a_fault_is_not_served(
    ours: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    host = ours.node().security()
    assert host.tls
    async with serving(host) as (_, endpoint):
        reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
        writer.write(TLS_MAGIC)
        await reader.readexactly(len(TLS_MAGIC))
        await writer.start_tls(host.tls.client, server_hostname=endpoint.host)
        for _ in range(3):
            writer.write(b"\xff" * 8)  # each in a record of its own
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            async with asyncio.timeout(60):
                await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    assert len(caplog.records) == 1


async def last_words(endpoint: Endpoint, opening: bytes) -> bytes:
    """Send bytes and return what is answered until the other side closes."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.write(opening)
    heard = b""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(60):
            while data := await reader.read(65_536):
                heard += data
    writer.close()
    return heard


@contextlib.contextmanager
def logged() -> Iterator[asyncio.Event]:
    """Tell that a line was logged, as by a server that hears that it is refused."""
    event = asyncio.Event()

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - any will do
            event.set()

    ear = Ear()
    logger = logging.getLogger("elaunch_rdzv_c10d")
    logger.addHandler(ear)
    yield event
    logger.removeHandler(ear)


class TestFiles:
    def test_come_from_the_options(self, ours: Authority) -> None:
        files = ours.node()
        options = C10dOptions(tls_cert=files.cert, tls_key=files.key, tls_ca=files.ca)
        loose = attrs.evolve(options, tls_check_host=False)

        tls, unchecked = load_security(options, {}).tls, load_security(loose, {}).tls
        assert tls
        assert unchecked
        assert tls.client.check_hostname
        assert not unchecked.client.check_hostname
        assert unchecked.client.verify_mode is ssl.CERT_REQUIRED
        assert tls.server.verify_mode is ssl.CERT_REQUIRED
        assert tls.server.minimum_version is ssl.TLSVersion.TLSv1_2
        assert load_security(C10dOptions(), {}) == UNPROTECTED

    @pytest.mark.parametrize("name", ["cert", "key", "ca"])
    def test_that_are_not_there_are_told(self, ours: Authority, name: str) -> None:
        files = attrs.evolve(ours.node(), **{name: "/absent"})

        with pytest.raises(
            UsageError, match=rf"'/absent' \(tls_{name}\) can't be used: No such file"
        ):
            files.security()

    @pytest.mark.parametrize(
        ("name", "told"), [("cert", "tls_cert and"), ("key", "tls_key"), ("ca", "tls_")]
    )
    def test_that_hold_something_else_are_told(
        self, ours: Authority, name: str, told: str, tmp_path: Path
    ) -> None:
        (tmp_path / "text").write_text("no certificate")
        files = attrs.evolve(ours.node(), **{name: str(tmp_path / "text")})

        with pytest.raises(UsageError, match=f"{told}.* can't be used: "):
            files.security()

    def test_a_key_of_another_certificate_is_told(self, ours: Authority) -> None:
        files = attrs.evolve(ours.node(), key=ours.node().key)

        with pytest.raises(UsageError, match="can't be used: key values mismatch"):
            files.security()

    def test_nobody_is_asked_for_a_password(self, ours: Authority) -> None:
        files = ours.node()
        key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
        Path(files.key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"password"),
            )
        )

        with pytest.raises(UsageError, match=r"\(tls_key\) is encrypted"):
            files.security()
