import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import attrs
import pytest
import pytest_asyncio

from elaunch.api import (
    ABSENT,
    Keyspace,
    RendezvousUnreachable,
    StoreEvent,
    WatchCompacted,
)
from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.control_store import ControlLease, ControlStore
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.sessions import Sessions


pytestmark = pytest.mark.asyncio


@attrs.define(eq=False)
class Proxy:
    """A network between a client and the store, with faults on demand."""

    target: Endpoint
    swallowing: bool = False  # answers get lost
    refusing: bool = False  # new connections are reset at once
    silent: bool = False  # nothing is carried, though connections stay
    _server: asyncio.Server = attrs.field(init=False)
    _writers: set[asyncio.StreamWriter] = attrs.field(factory=set, init=False)
    _tasks: list[asyncio.Task[None] | None] = attrs.field(factory=list, init=False)
    _dead: set[asyncio.StreamWriter] = attrs.field(factory=set, init=False)

    async def start(self) -> Endpoint:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        return Endpoint(*self._server.sockets[0].getsockname())

    async def stop(self) -> None:
        self._server.close()
        self.drop()
        await asyncio.gather(*filter(None, self._tasks))

    def drop(self) -> None:
        """Reset all connections on both sides."""
        for writer in tuple(self._writers):
            _reset(writer)

    def lose_silently(self) -> None:
        """Carry nothing more on the connections there are, and tell neither side."""
        self._dead |= self._writers

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._tasks.append(asyncio.current_task())
        if self.refusing:
            _reset(writer)
            return
        there, back = await asyncio.open_connection(self.target.host, self.target.port)
        self._writers |= {writer, back}
        await asyncio.gather(
            self._pump(reader, back, "there"), self._pump(there, writer, "back")
        )
        self._writers -= {writer, back}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                lost = self.swallowing and way == "back"
                if not lost and not self.silent and writer not in self._dead:
                    writer.write(data)
        writer.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    own: socket.socket = writer.get_extra_info("socket")
    if own.fileno() >= 0:
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@attrs.define(eq=False)
class Network:
    """A store, a client beside it and clients behind a proxy."""

    sessions: Sessions
    proxy: Proxy
    near: ControlStore
    _behind: Endpoint
    _clients: list[ControlStore]

    async def far(
        self, *, grace: float = 30.0, renew_timeout: float | None = None
    ) -> ControlStore:
        self._clients.append(await connect(self._behind, grace, renew_timeout))
        return self._clients[-1]


async def connect(
    endpoint: Endpoint, grace: float, renew_timeout: float | None = None
) -> ControlStore:
    return await ControlStore.connect(
        endpoint.host,
        endpoint.port,
        timeout=10.0,
        run_id="job",
        reconnect_grace=grace,
        renew_timeout=renew_timeout,
    )


@contextlib.asynccontextmanager
async def network(keyspace: Keyspace) -> AsyncIterator[Network]:
    sessions = Sessions("host", keyspace)
    server = StoreServer(sessions)
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    endpoint = Endpoint(*listeners[0].getsockname())
    proxy = Proxy(endpoint)
    behind = await proxy.start()
    clients = [await connect(endpoint, 30.0)]
    try:
        yield Network(sessions, proxy, clients[0], behind, clients)
    finally:
        for client in clients:
            await client.close()
        await proxy.stop()
        await server.stop()


@pytest_asyncio.fixture
async def net() -> AsyncIterator[Network]:
    async with network(Keyspace()) as net:
        yield net


async def soon(events: AsyncGenerator[StoreEvent, None]) -> StoreEvent:
    async with asyncio.timeout(60):
        return await anext(events)


class TestWatches:
    async def test_miss_nothing_and_repeat_nothing(self, net: Network) -> None:
        far = await net.far()
        async with aclosing(far.watch("/a/", 0)) as events:
            seen = []
            for number in range(20):
                await net.near.put("/a/key", b"%d" % number)
                if number % 4 == 1:
                    net.proxy.drop()
                await net.near.put("/elsewhere", b"")
                if number % 4 == 3:
                    seen += [(await soon(events)).value for _ in range(4)]
            net.proxy.drop()
            await net.near.delete("/a/key")
            seen.append((await soon(events)).value)

        assert seen == [*(b"%d" % number for number in range(20)), None]

    async def test_of_a_quiet_prefix_outlive_the_history(self) -> None:
        async with network(Keyspace(history=5)) as net:
            far = await net.far()
            async with aclosing(far.watch("/quiet", 0)) as events:
                waiting = asyncio.create_task(anext(events))
                for _ in range(10):
                    await far.put("/busy", b"")
                net.proxy.drop()
                await net.near.put("/quiet", b"")
                async with asyncio.timeout(60):
                    event = await waiting

        assert event.key == "/quiet"

    async def test_that_were_away_for_too_long_say_so(self) -> None:
        async with network(Keyspace(history=5)) as net:
            far = await net.far()
            async with aclosing(far.watch("/", 0)) as events:
                await net.near.put("/0", b"")
                first = await soon(events)
                net.proxy.refusing = True
                net.proxy.drop()
                for _ in range(10):
                    await net.near.put("/key", b"")
                net.proxy.refusing = False

                with pytest.raises(WatchCompacted, match="after revision 1"):
                    await soon(events)

        assert first.key == "/0"

    async def test_opened_during_an_outage_begin_after_it(self, net: Network) -> None:
        far = await net.far()
        net.proxy.refusing = True
        net.proxy.drop()
        async with aclosing(far.watch("/", 0)) as events:
            waiting = asyncio.create_task(anext(events))
            await net.near.put("/key", b"")
            net.proxy.refusing = False
            async with asyncio.timeout(60):
                event = await waiting

        assert event.key == "/key"


class TestRequests:
    async def test_are_applied_once_though_their_answer_was_lost(
        self, net: Network
    ) -> None:
        far = await net.far()
        net.proxy.swallowing = True
        async with aclosing(net.near.watch("/", 0)) as events:
            writes = asyncio.gather(
                far.put("/put", b""),
                far.compare_and_set("/set", b"", expected=ABSENT),
                far.lease(60.0),
            )
            applied = {(await soon(events)).key for _ in range(2)}
            net.proxy.drop()
            net.proxy.swallowing = False
            put, created, lease = await writes
            await far.put("/leased", b"", lease=lease)

        listing = await net.near.list("/")
        found = {entry.key: entry.revision for entry in listing.entries}
        assert applied == {"/put", "/set"}
        assert found == {"/put": put, "/set": created, "/leased": 3}

    async def test_many_are_applied_once_over_many_losses(self, net: Network) -> None:
        far = await net.far()
        count = 1_000

        async with aclosing(net.near.watch("/", 0)) as events:
            writes = asyncio.gather(*(far.put(f"/{n}", b"") for n in range(count)))
            for number in range(count):
                await soon(events)
                if number % 100 == 50:
                    net.proxy.drop()
            revisions = await writes

        assert sorted(revisions) == list(range(1, count + 1))
        assert net.sessions.keyspace.revision == count

    async def test_made_during_an_outage_are_answered_after_it(
        self, net: Network
    ) -> None:
        far = await net.far()
        net.proxy.refusing = True
        net.proxy.drop()
        asked = asyncio.create_task(far.put("/key", b""))
        await net.near.get("/key")
        assert not asked.done()
        net.proxy.refusing = False

        assert await asked == 1

    async def test_that_may_be_applied_fail_with_their_session(
        self, net: Network
    ) -> None:
        far = await net.far(grace=0.01)
        lease = await far.lease(60.0)
        await far.put("/leased", b"", lease=lease)
        net.proxy.swallowing = True
        async with aclosing(net.near.watch("/", 1)) as events:
            writing = asyncio.create_task(far.put("/put", b""))
            reading = asyncio.create_task(far.get("/put"))
            written = await soon(events)
            net.proxy.refusing = True
            net.proxy.drop()
            gone = await soon(events)  # the grace is over
            net.proxy.swallowing = net.proxy.refusing = False

            with pytest.raises(RendezvousUnreachable, match="a write may be lost"):
                await writing
            entry = await reading

        assert (written.key, gone.key) == ("/put", "/leased")
        assert entry is not None
        assert entry.key == "/put"


class TestLeases:
    async def test_live_on_if_the_client_is_back_in_time(self, net: Network) -> None:
        far = await net.far()
        lease = await far.lease(0.5)
        await far.put("/leased", b"", lease=lease)
        session = far.session
        for _ in range(3):
            net.proxy.drop()
            await far.get("/leased")
        await asyncio.wait({lease.lost}, timeout=0.75)

        assert not lease.lost.done()
        assert far.session == session
        assert await net.near.get("/leased") is not None
        assert await far.put("/leased", b"again", lease=lease)

    async def test_end_with_the_grace_if_it_is_not(self, net: Network) -> None:
        far = await net.far(grace=0.01)
        lease = await far.lease(60.0)
        revision = await far.put("/leased", b"", lease=lease)
        async with (
            aclosing(net.near.watch("/", revision)) as events,
            aclosing(far.watch("/", revision)) as far_events,
        ):
            watching = asyncio.create_task(anext(far_events))
            await far.get("/leased")
            net.proxy.refusing = True
            net.proxy.drop()
            gone = await soon(events)
            assert not lease.lost.done()
            net.proxy.refusing = False
            async with asyncio.timeout(60):
                reason = await lease.lost
                seen = await watching

        assert (gone.key, gone.value) == ("/leased", None)
        assert seen == gone  # the watch goes on in the new session
        assert "ended the session: the connection was broken for too long" in reason
        again = await far.lease(60.0)
        assert await far.put("/leased", b"", lease=again)

    async def test_live_on_if_a_connection_is_lost_silently(self, net: Network) -> None:
        far = await net.far()
        lease = await far.lease(0.6)
        await far.put("/leased", b"", lease=lease)
        net.proxy.lose_silently()
        asked = asyncio.create_task(far.get("/leased"))
        await asyncio.wait({lease.lost}, timeout=1.2)
        async with asyncio.timeout(60):
            entry = await asked

        assert not lease.lost.done()
        assert entry is not None
        assert await net.near.get("/leased") is not None

    async def test_end_by_their_time_to_live_if_the_network_is_silent(
        self, net: Network
    ) -> None:
        far = await net.far()
        lease = await far.lease(0.3)
        revision = await far.put("/leased", b"", lease=lease)
        async with aclosing(net.near.watch("/", revision)) as events:
            net.proxy.silent = True
            async with asyncio.timeout(60):
                reason = await lease.lost
            still_there = await net.near.get("/leased")
            gone = await soon(events)
        net.proxy.drop()

        # Its holder knows it before the others do.
        assert "could not be renewed for 0.24 s" in reason
        assert still_there is not None
        assert (gone.key, gone.value) == ("/leased", None)

    async def test_bound_how_long_an_outage_is_waited_out(self, net: Network) -> None:
        far = await net.far()
        lease = await far.lease(0.2)
        net.proxy.refusing = True
        net.proxy.drop()
        asked = asyncio.create_task(far.get("/key"))
        watching = asyncio.create_task(anext(far.watch("/", 0)))

        with pytest.raises(RendezvousUnreachable, match="has been lost for") as caught:
            await asked
        with pytest.raises(RendezvousUnreachable, match="has been lost for"):
            await watching
        async with asyncio.timeout(60):
            await lease.lost
        net.proxy.refusing = False

        assert "connection reset" in str(caught.value)
        assert await far.get("/key") is None  # it can be used again

    @pytest.mark.parametrize("others", range(8))
    async def test_are_lost_after_the_watches_have_told_of_the_outage(
        self, net: Network, others: int
    ) -> None:
        far = await net.far()
        for _ in range(others):  # both give up by timers, whose order they can change
            await far.lease(0.2)
        lease = await far.lease(0.2)
        order: list[str] = []
        lease.lost.add_done_callback(lambda _: order.append("lease"))

        async def watch() -> None:
            with pytest.raises(RendezvousUnreachable, match="has been lost for"):
                await anext(far.watch("/", 0))
            order.append("watch")

        watching = asyncio.create_task(watch())
        await far.get("/key")  # the watch has begun
        net.proxy.refusing = True
        net.proxy.drop()
        async with asyncio.timeout(60):
            await asyncio.gather(watching, asyncio.wait({lease.lost}))

        assert order == ["watch", "lease"]


async def test_a_store_that_was_restarted_is_another_store() -> None:
    """Its revisions mean something else, so nothing of this client may get there."""
    async with network(Keyspace()) as net:
        far = await net.far()
        lease = await far.lease(60.0)
        revision = await far.put("/key", b"", lease=lease)
        async with (
            aclosing(far.watch("/", revision)) as events,
            network(Keyspace()) as other,
        ):
            near = other.near
            while await near.put("/key", b"theirs") < revision:
                pass
            watching = asyncio.create_task(anext(events))
            await far.get("/key")
            net.proxy.target = other.proxy.target
            net.proxy.drop()

            with pytest.raises(RendezvousUnreachable, match="was restarted"):
                await watching
            async with asyncio.timeout(60):
                reason = await lease.lost
            for use in (
                far.get("/key"),
                far.compare_and_set("/key", b"ours", expected=revision),
                far.lease(60.0),
            ):
                with pytest.raises(RendezvousUnreachable, match="was restarted"):
                    await use
            kept = await near.get("/key")
            await far.close()

    assert "was restarted and has forgotten everything" in reason
    assert kept is not None
    assert kept.value == b"theirs"


@pytest.mark.parametrize(("given", "patience"), [(None, 20.0), (0.5, 0.5)])
async def test_a_renewal_that_gets_no_answer_is_tried_again_in_time(
    given: float | None, patience: float
) -> None:
    """On another connection: a network can lose one without telling either end."""
    async with network(Keyspace()) as net:
        far = await net.far(renew_timeout=given)
        lease = await far.lease(60.0)
        await lease.revoke()

    assert isinstance(lease, ControlLease)
    assert lease.patience == patience
