import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest
import pytest_asyncio

from elaunch.api import ABSENT, MemoryStore, RendezvousUnreachable, UsageError
from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.messages import MAGIC, Hello, Welcome, frame
from elaunch_rdzv_c10d.server import Greeter, StoreServer
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.wire import MAX_KEY, MAX_VALUE


async def connect(endpoint: Endpoint, **settings: float) -> ControlStore:
    return await ControlStore.connect(
        endpoint.host,
        endpoint.port,
        timeout=10.0,
        run_id="job",
        reconnect_grace=settings.get("grace", 5.0),
        request_timeout=settings.get("request_timeout", 10.0),
    )


@pytest_asyncio.fixture
async def store(endpoint: Endpoint) -> AsyncIterator[ControlStore]:
    store = await connect(endpoint)
    yield store
    await store.close()


@pytest.mark.asyncio
class TestRequests:
    async def test_a_thousand_at_once(self, store: ControlStore) -> None:
        revisions = await asyncio.gather(
            *(store.put(f"/{number}", b"") for number in range(1_000))
        )

        assert sorted(revisions) == list(range(1, 1_001))
        assert len((await store.list("/")).entries) == 1_000

    async def test_the_largest_value_travels(self, store: ControlStore) -> None:
        value = bytes(range(256)) * (MAX_VALUE // 256)
        await store.put("/key", value)
        entry = await store.get("/key")
        async with aclosing(store.watch("/key", 0)) as events:
            event = await anext(events)

        assert entry is not None
        assert entry.value == value
        assert event.value == value

    async def test_larger_ones_are_refused_by_the_client(
        self, store: ControlStore
    ) -> None:
        with pytest.raises(UsageError, match="8388609 bytes; the limit is 8388608"):
            await store.put("/key", bytes(MAX_VALUE + 1))
        with pytest.raises(UsageError, match="a key of 8193 characters"):
            await store.compare_and_set("k" * (MAX_KEY + 1), b"", expected=ABSENT)

    async def test_an_answer_that_is_too_long_is_an_error(
        self, store: ControlStore
    ) -> None:
        await store.put("/a", bytes(MAX_VALUE))
        await store.put("/b", bytes(MAX_VALUE))

        with pytest.raises(RendezvousUnreachable, match="longer than a frame"):
            await store.list("/")
        assert await store.get("/c") is None

    async def test_a_cancelled_one_does_no_harm(self, store: ControlStore) -> None:
        task = asyncio.create_task(store.put("/key", b""))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert await store.put("/other", b"") > 0

    async def test_one_without_an_answer_ends_in_time(self) -> None:
        async with welcoming(mute) as endpoint:
            store = await connect(endpoint, request_timeout=0.05)

            with pytest.raises(
                RendezvousUnreachable, match=r"within 0\.05 s"
            ) as caught:
                await store.get("/key")
            await store.close()

        assert str(endpoint) in str(caught.value)

    async def test_close_tells_all_who_wait(self) -> None:
        async with welcoming(mute) as endpoint:
            store = await connect(endpoint)
            asked = asyncio.create_task(store.get("/key"))
            watched = asyncio.create_task(anext(store.watch("/", 0)))
            await asyncio.sleep(0)
            await store.close()

            with pytest.raises(RendezvousUnreachable, match="closed"):
                await asked
            with pytest.raises(RendezvousUnreachable, match="closed"):
                await watched


@pytest.mark.asyncio
class TestLeases:
    async def test_of_another_kind_are_refused(
        self, endpoint: Endpoint, store: ControlStore
    ) -> None:
        memory = MemoryStore()
        foreign = await memory.lease(60.0)
        other = await connect(endpoint)
        others = await other.lease(60.0)

        with pytest.raises(UsageError, match="'/key' is not one of this store client"):
            await store.put("/key", b"", lease=foreign)
        with pytest.raises(UsageError):
            await store.put("/key", b"", lease=others)
        await memory.close()
        await other.close()

    async def test_are_lost_when_the_store_has_ended_them(
        self, server: StoreServer, store: ControlStore
    ) -> None:
        lease = await store.lease(0.15)
        assert server.sessions
        server.sessions.keyspace.expire(now=float("inf"))

        async with asyncio.timeout(10):
            reason = await lease.lost

        assert reason == "the store says: the lease is over"
        with pytest.raises(RendezvousUnreachable, match="the lease is over"):
            await store.put("/key", b"", lease=lease)
        await lease.revoke()

    async def test_are_lost_when_the_store_is(
        self, server: StoreServer, store: ControlStore
    ) -> None:
        lease = await store.lease(0.3)
        await server.stop()

        async with asyncio.timeout(10):
            reason = await lease.lost

        assert "could not be renewed for 0.24 s" in reason
        assert "connection refused" in reason

    async def test_are_lost_when_the_store_is_silent(self) -> None:
        granted = False

        async def grant_only(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            nonlocal granted
            if granted:
                await mute(reader, writer)
                return
            granted = True
            await reader.readuntil(b'"grant"')
            body = b'{"type":"answer","id":1,"result":{"type":"granted","lease":5},'
            body += b'"revision":0}'
            writer.write(struct.pack("<I", len(body)) + body)
            await mute(reader, writer)

        async with welcoming(grant_only) as endpoint:
            store = await connect(endpoint)
            lease = await store.lease(0.1)
            async with asyncio.timeout(10):
                reason = await lease.lost
            await store.close()

        assert reason == "it could not be renewed for 0.08 s: the store did not answer"


@pytest.mark.asyncio
class TestConnecting:
    async def test_tells_who_hosts(self, store: ControlStore) -> None:
        assert store.host_run_id == "the-host"
        assert len(store.session) == 32

    async def test_to_nobody_fails_in_time(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        told: list[str] = []

        with pytest.raises(RendezvousUnreachable) as caught:
            await ControlStore.connect(
                "127.0.0.1", port, timeout=0.2, run_id="job", on_waiting=told.append
            )

        assert str(caught.value) == (
            f"the store at '127.0.0.1:{port}' can't be reached: no success for 0.2 s: "
            "connection refused; is its host up, and the endpoint right?"
        )
        assert told == [f"the store at '127.0.0.1:{port}': connection refused"]

    async def test_to_an_unknown_name_fails_in_time(self) -> None:
        with pytest.raises(RendezvousUnreachable, match="the name can't be resolved"):
            await ControlStore.connect(
                "no-such-host.invalid", 1, timeout=0.2, run_id="job"
            )

    async def test_waits_for_a_host_that_is_late(self, server: StoreServer) -> None:
        listeners = listen(await resolve("127.0.0.1", 0))
        endpoint = Endpoint(*listeners[0].getsockname())
        listeners[0].close()
        refused = asyncio.Event()
        connecting = asyncio.create_task(
            ControlStore.connect(
                endpoint.host,
                endpoint.port,
                timeout=10.0,
                run_id="job",
                on_waiting=lambda _: refused.set(),
            )
        )
        async with asyncio.timeout(10):
            await refused.wait()
        await server.start(listen(await resolve(endpoint.host, endpoint.port)))
        store = await connecting

        assert await store.get("/key") is None
        await store.close()

    @pytest.mark.parametrize(
        "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", frame(Hello("job", 1.0))]
    )
    async def test_to_something_else_fails_at_once(self, answer: bytes) -> None:
        async def serve(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            await reader.readuntil(b"}")
            writer.write(answer)
            writer.close()

        async with serving(serve) as endpoint:
            with pytest.raises(RendezvousUnreachable) as caught:
                await connect(endpoint)

        assert f"'{endpoint}' is not an elaunch store" in str(caught.value)
        assert "something else has taken this port" in str(caught.value)

    async def test_survives_a_host_that_is_killed_before_its_welcome(self) -> None:
        store = StoreServer(Sessions("job"))
        tries = 0

        class Killed(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                transport.close()

        def protocol() -> asyncio.BaseProtocol:
            nonlocal tries
            tries += 1
            return Killed() if tries < 3 else Greeter(store)

        loop = asyncio.get_running_loop()
        async with await loop.create_server(protocol, "127.0.0.1", 0) as host:
            client = await connect(Endpoint(*host.sockets[0].getsockname()))
            assert await client.get("/key") is None
            await client.close()
            await store.stop()

        assert tries == 3

    async def test_survives_resets_of_a_host_that_starts(self) -> None:
        tries = 0

        async def reset(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            nonlocal tries
            tries += 1
            if tries < 3:
                own: socket.socket = writer.get_extra_info("socket")
                linger = struct.pack("ii", 1, 0)
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            else:
                await welcome(reader, writer)
                await mute(reader, writer)

        async with serving(reset) as endpoint:
            store = await connect(endpoint)
            await store.close()

        assert tries == 3


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Answer nothing, until the client leaves."""
    await reader.readuntil(b'"goodbye"')


async def welcome(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(len(MAGIC))
    (length,) = struct.unpack("<I", await reader.readexactly(4))
    resumed = b'"session":"secret"' in await reader.readexactly(length)
    writer.write(frame(Welcome("secret", resumed, "store", "job")))


@contextlib.asynccontextmanager
async def serving(serve: Serve) -> AsyncIterator[Endpoint]:
    """A server of the test's own."""

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Endpoint(*server.sockets[0].getsockname())


@contextlib.asynccontextmanager
async def welcoming(serve: Serve) -> AsyncIterator[Endpoint]:
    """A server that says welcome, and then does what the test says."""

    async def handle(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await welcome(reader, writer)
        await serve(reader, writer)

    async with serving(handle) as endpoint:
        yield endpoint


@pytest.mark.asyncio
async def test_an_address_that_is_silent_does_not_hide_the_next(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ways(_: str, __: int) -> list[str]:
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr("elaunch_rdzv_c10d.dial.ways_to", ways)
    monkeypatch.setattr("elaunch_rdzv_c10d.dial.DIAL_TIMEOUT", 1.0)
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.2", endpoint.port))
        silent.listen(0)
        # A queue that is full answers nobody, like a network that leads nowhere.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 - positional in the standard library
            waiting.connect_ex(("127.0.0.2", endpoint.port))
        store = await ControlStore.connect(
            "two-addresses", endpoint.port, timeout=10.0, run_id="job"
        )
        await store.put("/a", b"1")
        await store.close()
