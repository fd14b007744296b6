"""A store with a token, over real sockets: who is let in, and who is not."""

import asyncio
import base64
import contextlib
import json
import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from elaunch.api import NodeNotAdmitted, RendezvousUnreachable
from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.connection import TcpStoreConnection
from elaunch_rdzv_c10d.control_connection import ControlConnection
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.dial import Connection
from elaunch_rdzv_c10d.job_token import Token
from elaunch_rdzv_c10d.messages import (
    MAGIC,
    MAX_OPENING_FRAME,
    Denied,
    Get,
    Hello,
    List,
    Proof,
    Put,
    Request,
    Watch,
    Welcome,
    frame,
)
from elaunch_rdzv_c10d.receiver import Receiver
from elaunch_rdzv_c10d.security import UNPROTECTED, Security
from elaunch_rdzv_c10d.server import Greeter, StoreServer
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.tls_stream import TlsStream
from elaunch_rdzv_c10d.wire import Op, hello


pytestmark = pytest.mark.asyncio

SECRET = "correct horse battery staple"  # noqa: S105 - of these tests
OURS = Security(Token(SECRET.encode()))
THEIRS = Security(Token(b"another secret of others"))

NONSENSE = [
    pytest.param(b'{"type":"\xff"}', id="no text"),
    pytest.param(b'{"type":"hello","more":' + b"[" * 8_000 + b"}", id="too deep"),
    pytest.param(rb'{"type":"\u001b[2J\nelaunch: done"}', id="a terminal's"),
]
"""Bodies of frames that are no message, up to the first brace that closes."""


@contextlib.asynccontextmanager
async def serving(security: Security) -> AsyncIterator[tuple[StoreServer, Endpoint]]:
    server = StoreServer(Sessions("job"), security)
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    try:
        yield server, Endpoint(*listeners[0].getsockname())
    finally:
        await server.stop()


@pytest_asyncio.fixture
async def guarded() -> AsyncIterator[Endpoint]:
    """Where a store is that asks for `OURS` and holds one key."""
    async with serving(OURS) as (server, endpoint):
        assert server.sessions
        server.sessions.keyspace.put("/key", b"of the job")
        yield endpoint


async def connect(endpoint: Endpoint, security: Security) -> ControlStore:
    return await ControlStore.connect(
        endpoint.host,
        endpoint.port,
        timeout=30.0,
        run_id="job",
        reconnect_grace=30.0,
        security=security,
    )


async def talk(endpoint: Endpoint, *parts: bytes) -> bytes:
    """Send bytes and return all that is answered until the other side closes."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        writer.write(b"".join(parts))
        writer.write_eof()
        async with asyncio.timeout(60):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def answering(handle: Handle, port: int = 0) -> AsyncIterator[Endpoint]:
    """A server of the test's own, which has ended when the test goes on."""
    tasks: list[asyncio.Task[None]] = []

    async def accept(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task
        tasks.append(task)
        with contextlib.suppress(ConnectionError):
            await handle(reader, writer)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    async with server:
        yield Endpoint(*server.sockets[0].getsockname())
        await asyncio.gather(*tasks)


class Between:
    """Stands between a client and the store, and writes down what both say."""

    def __init__(self, target: Endpoint) -> None:
        self.target = target
        self.said: list[bytes] = []
        self.answered: list[bytes] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Endpoint]:
        async with answering(self._carry) as endpoint:
            yield endpoint

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.open_connection(self.target.host, self.target.port)
        await asyncio.gather(
            self._pump(reader, back, self.said),
            self._pump(there, writer, self.answered),
        )

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        record: list[bytes],
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                record.append(data)
                writer.write(data)
        writer.close()


class TestWhoHasTheToken:
    async def test_works_as_without_one(self, guarded: Endpoint) -> None:
        one, other = await connect(guarded, OURS), await connect(guarded, OURS)
        lease = await one.lease(60.0)
        await one.put("/mine", b"value", lease=lease)
        seen = await other.get("/mine")
        await one.close()
        gone = await other.get("/mine")
        await other.close()

        assert seen is not None
        assert gone is None

    async def test_gets_its_session_back(self) -> None:
        async with serving(OURS) as (server, endpoint):
            store = await connect(endpoint, OURS)
            session = store.session
            lease = await store.lease(60.0)
            await store.put("/mine", b"", lease=lease)
            for caller in tuple(server.door._callers):
                caller.transport.abort()
            kept = await store.get("/mine")
            again = store.session
            await store.close()

        assert again == session
        assert kept is not None

    async def test_says_nothing_that_tells_it(self, guarded: Endpoint) -> None:
        between = Between(guarded)
        async with between.listening() as endpoint:
            store = await connect(endpoint, OURS)
            await store.close()
        said = b"".join(between.said + between.answered)

        assert b"welcome" in said
        assert SECRET.encode() not in said
        assert base64.b64encode(SECRET.encode())[:-4] not in said


class TestWhoDoesNot:
    @pytest.mark.parametrize(
        ("security", "reason"),
        [
            (THEIRS, "refuses this node: the token is not this job's"),
            (
                UNPROTECTED,
                "refuses this node: this store asks for the job's token; give --rdz",
            ),
        ],
        ids=["another", "none"],
    )
    async def test_is_told_at_once_and_once_in_the_log(
        self,
        guarded: Endpoint,
        security: Security,
        reason: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with pytest.raises(NodeNotAdmitted) as caught:
            await connect(guarded, security)

        assert reason in str(caught.value)
        assert str(guarded) in str(caught.value)
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith("refusing the connection of 127.0.0.1:")
        shown = caplog.text + str(caught.value)
        assert SECRET not in shown
        assert "another secret" not in shown

    @pytest.mark.parametrize(
        "attempt",
        [
            Request(1, List("/")),
            Request(1, Get("/key")),
            Request(1, Put("/key", b"of a thief")),
            Watch(1, "/", 0),
        ],
    )
    @pytest.mark.parametrize(
        "before",
        [
            [],
            [Hello("job", 1.0)],
            [Hello("job", 1.0, nonce=b"x" * 32)],
            [Hello("job", 1.0, nonce=b"x" * 32), Proof(b"x" * 32)],
            [Hello("job", 1.0, nonce=b"x" * 32), Proof(b"")],
            [Proof(b"")],
        ],
        ids=["nothing", "hello", "number", "guess", "empty guess", "proof alone"],
    )
    async def test_gets_nothing_whatever_it_says(
        self,
        guarded: Endpoint,
        before: list[Hello | Proof],
        attempt: Request | Watch,
    ) -> None:
        answer = await talk(guarded, MAGIC, *map(frame, [*before, attempt]))
        owner = await connect(guarded, OURS)
        entry = await owner.get("/key")
        await owner.close()

        assert b"of the job" not in answer
        assert base64.b64encode(b"of the job") not in answer
        for word in (b"welcome", b"answer", b"listed", b"watching"):
            assert word not in answer
        assert entry is not None
        assert (entry.value, entry.revision) == (b"of the job", 1)

    async def test_can_not_use_what_it_has_recorded(self, guarded: Endpoint) -> None:
        between = Between(guarded)
        async with between.listening() as endpoint:
            store = await connect(endpoint, OURS)
            await store.put("/key", b"again")
            await store.close()
        answer = await talk(guarded, *between.said)
        owner = await connect(guarded, OURS)
        entry = await owner.get("/key")
        await owner.close()

        assert b"the token is not this job's" in answer
        assert b"welcome" not in answer
        assert entry is not None
        assert entry.revision == 2  # once

    async def test_can_not_come_as_a_tcp_store_client(
        self, guarded: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        number = struct.pack("<I", 7)
        answer = await talk(guarded, hello(7), bytes([Op.PING]), number)

        assert answer == b""
        assert "it is a TCPStore client, which can't show that" in caplog.text

    async def test_can_send_small_frames_only(
        self, guarded: Endpoint, caplog: pytest.LogCaptureFixture
    ) -> None:
        size = struct.pack("<I", MAX_OPENING_FRAME + 1)
        opened = frame(Hello("job", 1.0, nonce=b"x" * 32))

        assert await talk(guarded, MAGIC, size) == b""
        assert await talk(guarded, MAGIC, opened, size) == b""
        assert caplog.text.count("a frame of 16385 bytes; the limit is 16384") == 2

    @pytest.mark.parametrize("body", NONSENSE)
    async def test_costs_one_line_of_the_log_for_nonsense(
        self, guarded: Endpoint, body: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        size = struct.pack("<I", len(body))

        assert await talk(guarded, MAGIC, size, body) == b""
        assert [record.name for record in caplog.records] == ["elaunch_rdzv_c10d.door"]
        assert caplog.messages[0].isprintable()

    async def test_does_not_hear_what_a_job_without_one_says(self) -> None:
        """It would have to ask whether the store has one; that is a word too many."""
        async with serving(UNPROTECTED) as (_, endpoint):
            with pytest.raises(NodeNotAdmitted, match="started without the token"):
                await connect(endpoint, OURS)


class TestAStoreThatIsNone:
    @pytest.mark.parametrize(
        ("answers", "reason"),
        [
            ([Welcome("s", resumed=False, store="x", run_id="job")], "does not ask"),
            (
                [
                    {"type": "challenge", "nonce": "AAAA", "store": "x"},
                    Welcome("s", resumed=False, store="x", run_id="job", mac=b"x" * 32),
                ],
                "does not know the token",
            ),
            (
                [{"type": "challenge", "nonce": "AAAA", "store": "x"}] * 2,
                "out of turn",
            ),
            ([{"type": "challenge", "nonce": "", "store": "x"}], "out of turn"),
        ],
        ids=["no question", "no proof", "two questions", "no number"],
    )
    async def test_is_not_believed(
        self, answers: list[Welcome | dict[str, str]], reason: str
    ) -> None:
        heard = b""

        async def pretend(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            nonlocal heard
            heard += await reader.readuntil(b"}")
            for answer in answers:
                body = json.dumps(answer).encode() if isinstance(answer, dict) else b""
                writer.write(
                    struct.pack("<I", len(body)) + body
                    if isinstance(answer, dict)
                    else frame(answer)
                )
            heard += await reader.read()

        async with answering(pretend) as endpoint:
            with pytest.raises(
                RendezvousUnreachable, match=f"can't be trusted: it .*{reason}"
            ):
                await connect(endpoint, OURS)

        assert b'"hello"' in heard
        assert b'"request"' not in heard
        assert SECRET.encode() not in heard

    @pytest.mark.parametrize("body", NONSENSE)
    async def test_may_talk_nonsense(self, body: bytes) -> None:
        async def talk(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await reader.readuntil(b"}")
            writer.write(struct.pack("<I", len(body)) + body)

        async with answering(talk) as endpoint:
            with pytest.raises(
                RendezvousUnreachable, match="is not an elaunch store"
            ) as caught:
                await connect(endpoint, OURS)

        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("security", [UNPROTECTED, OURS], ids=["open", "token"])
    async def test_can_not_write_on_the_terminal(self, security: Security) -> None:
        async def refuse(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await reader.readuntil(b"}")
            writer.write(frame(Denied("no\n\x1b[2Jelaunch: done")))

        async with answering(refuse) as endpoint:
            with pytest.raises(NodeNotAdmitted) as caught:
                await connect(endpoint, security)

        assert str(caught.value).endswith(r"no\n\x1b[2Jelaunch: done")

    async def test_that_takes_the_place_of_ours_gets_no_work(self) -> None:
        """A client that comes back tells nothing to whoever is there now."""
        heard = b""

        async def pretend(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            nonlocal heard
            heard += await reader.readuntil(b"}")
            writer.write(frame(Welcome("s", resumed=True, store="x", run_id="job")))
            heard += await reader.read()

        async with serving(OURS) as (_, endpoint):
            store = await connect(endpoint, OURS)
            session = store.session
            lease = await store.lease(0.5)
        async with answering(pretend, endpoint.port):
            with pytest.raises(RendezvousUnreachable, match="does not ask for the tok"):
                await store.put("/key", b"for the job alone")
            async with asyncio.timeout(60):
                await lease.lost
            await store.close()

        assert b'"hello"' in heard
        assert session.encode() not in heard
        assert b"/key" not in heard


@pytest.mark.parametrize(
    "kind",
    [
        Connection,
        ControlConnection,
        Greeter,
        Receiver,
        TcpStoreConnection,
        TlsStream,
    ],
)
async def test_what_a_loop_logs_of_a_connection_tells_nothing(
    kind: type[Receiver],
) -> None:
    """With an exception of a protocol it logs its repr, and attrs' would tell all."""
    assert kind.__repr__ is object.__repr__
