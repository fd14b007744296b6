"""What those may cost who do not say who they are: little, and nobody else notices."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.job_token import Token
from elaunch_rdzv_c10d.limits import Limits
from elaunch_rdzv_c10d.messages import MAGIC, TLS_MAGIC, Hello, frame
from elaunch_rdzv_c10d.security import UNPROTECTED, Security
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.wire import Op, hello


NEVER = 600.0
"""Seconds of a deadline that no test reaches."""

TOKEN = Security(Token(b"correct horse battery staple"))


@contextlib.asynccontextmanager
async def serving(
    limits: Limits, security: Security = UNPROTECTED
) -> AsyncIterator[tuple[StoreServer, Endpoint]]:
    server = StoreServer(Sessions("job"), security, limits)
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    try:
        yield server, Endpoint(*listeners[0].getsockname())
    finally:
        await server.stop()


async def connect(
    endpoint: Endpoint, grace: float = 30.0, security: Security = UNPROTECTED
) -> ControlStore:
    return await ControlStore.connect(
        endpoint.host,
        endpoint.port,
        timeout=30.0,
        run_id="job",
        reconnect_grace=grace,
        security=security,
    )


def open_descriptors() -> int:
    return sum(1 for _ in Path("/dev/fd").iterdir())


class Hostile:
    """Connections of somebody who means no good."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.writers: list[asyncio.StreamWriter] = []
        self.readers: list[asyncio.StreamReader] = []

    async def open(self, count: int, opening: bytes = b"") -> None:
        for _ in range(count):
            reader, writer = await asyncio.open_connection(
                self.endpoint.host, self.endpoint.port
            )
            writer.write(opening)
            self.readers.append(reader)
            self.writers.append(writer)

    async def is_dropped(self, number: int) -> None:
        """Wait until the server ends one of them."""
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                assert await self.readers[number].read() == b""

    def close(self) -> None:
        for writer in self.writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def hostile(endpoint: Endpoint) -> AsyncIterator[Hostile]:
    one = Hostile(endpoint)
    try:
        yield one
    finally:
        one.close()
        await asyncio.sleep(0)


@pytest.mark.asyncio
class TestHowMany:
    async def test_the_longest_silent_goes_when_there_are_too_many(self) -> None:
        limits = Limits(strangers=5, handshake_timeout=NEVER)
        async with serving(limits) as (server, endpoint), hostile(endpoint) as bad:
            store = await connect(endpoint)
            await bad.open(5)
            bad.writers[0].write(MAGIC + frame(Hello("job", 1.0)))
            await bad.readers[0].readuntil(b"}")  # it is a stranger no more
            await bad.open(3)
            await bad.is_dropped(1)
            await bad.is_dropped(2)
            late = await connect(endpoint)
            await late.put("/key", b"")

            assert await store.get("/key")
            assert len(server.door._strangers) <= 5
            assert not any(bad.readers[n].at_eof() for n in (0, 4, 5, 6, 7))
            await late.close()
            await store.close()

    async def test_who_comes_a_step_further_was_not_silent(self) -> None:
        limits = Limits(strangers=3, handshake_timeout=NEVER)
        async with serving(limits, TOKEN) as (_, endpoint), hostile(endpoint) as some:
            await some.open(1, MAGIC)
            await some.open(1)
            some.writers[0].write(frame(Hello("job", 1.0, nonce=b"x")))
            await some.readers[0].readuntil(b"}")
            await some.open(2)
            await some.is_dropped(1)

            assert not some.readers[0].at_eof()

    async def test_who_is_refused_may_read_why(self) -> None:
        """A connection that is closed too early throws away what is under way."""
        limits = Limits(handshake_timeout=NEVER)
        async with serving(limits) as (server, endpoint), hostile(endpoint) as bad:
            await bad.open(1, TLS_MAGIC)
            await bad.readers[0].readuntil(b"}")
            (caller,) = server.door._callers
            await bad.open(1)
            bad.writers[0].write(b"what it sent before it has read that")
            await bad.is_dropped(0)

            assert caller not in server.door._callers

    async def test_a_tcp_store_client_is_a_stranger_until_it_is_validated(self) -> None:
        limits = Limits(strangers=2, handshake_timeout=NEVER)
        async with serving(limits) as (_, endpoint), hostile(endpoint) as bad:
            await bad.open(1, hello(7))
            await bad.readers[0].readexactly(4)
            await bad.open(1, hello(7)[:3])
            await bad.open(3)
            await bad.is_dropped(1)
            bad.writers[0].write(bytes([Op.PING]) + b"1234")

            assert await bad.readers[0].readexactly(4) == b"1234"

    async def test_descriptors_are_left_for_everything_else(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        probe = os.dup(0)
        os.close(probe)
        limits = Limits(descriptors=probe + 12, handshake_timeout=NEVER)
        async with serving(limits) as (server, endpoint), hostile(endpoint) as bad:
            store = await connect(endpoint)
            await bad.open(20)
            await bad.is_dropped(0)
            await store.put("/key", b"")

            assert len(server.door._callers) < 12
            await store.close()
        assert "as many as it may; 'ulimit -n' sets how many" in caplog.text

    async def test_few_more_are_open_than_may_be_when_all_come_at_once(self) -> None:
        limits = Limits(strangers=5, handshake_timeout=NEVER)
        names = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("127.0.0.2", 0))]
        listeners = listen(names)
        async with contextlib.AsyncExitStack() as stack:
            for number in range(400):
                place = listeners[number % 2].getsockname()
                stack.enter_context(socket.create_connection(place))
            server = StoreServer(Sessions("job"), limits=limits)
            before = most = open_descriptors()
            await server.start(listeners)
            stack.push_async_callback(server.stop)
            async with asyncio.timeout(60):
                while server.door.arrivals < 400:
                    await asyncio.sleep(0)
                    most = max(most, open_descriptors())

        assert most - before < 96  # so many are kept at least


def test_limits_leave_some_whatever_the_system_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {}
    for soft in (256, 1_024, 20_000, 1 << 20, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, -1))
        found[soft] = Limits().descriptors

    assert found == {
        256: 160,
        1_024: 896,
        20_000: 19_744,
        1 << 20: 32_768,
        resource.RLIM_INFINITY: 32_768,
    }


@pytest.mark.asyncio
class TestDeaths:
    """A client whose connection broke is dead when its grace is over."""

    @pytest.mark.parametrize(
        "opening", [b"", MAGIC[:4], MAGIC, MAGIC + b"\x40\x00\x00\x00{"]
    )
    async def test_are_seen_beside_the_silent(self, opening: bytes) -> None:
        limits = Limits(handshake_timeout=NEVER)
        async with serving(limits) as (_, endpoint), hostile(endpoint) as bad:
            watcher, victim = await connect(endpoint), await connect(endpoint, 0.1)
            lease = await victim.lease(NEVER)
            revision = await victim.put("/alive", b"", lease=lease)
            await bad.open(10, opening)
            await kill(victim)
            await bad.open(10, opening)
            await seen_dead(watcher, revision)

            assert not any(reader.at_eof() for reader in bad.readers)
            await watcher.close()

    @pytest.mark.parametrize("security", [UNPROTECTED, TOKEN], ids=["open", "token"])
    async def test_are_seen_while_others_keep_calling(self, security: Security) -> None:
        limits = Limits(strangers=100, handshake_timeout=NEVER)
        async with (
            serving(limits, security) as (_, endpoint),
            hostile(endpoint) as bad,
        ):
            watcher = await connect(endpoint, security=security)
            victim = await connect(endpoint, 0.1, security)
            lease = await victim.lease(NEVER)
            revision = await victim.put("/alive", b"", lease=lease)

            async def keep_calling() -> None:
                openings = [b"", MAGIC, MAGIC + frame(Hello("job", 1.0, nonce=b"x"))]
                while True:
                    for opening in openings:
                        await bad.open(1, opening)

            calling = asyncio.create_task(keep_calling())
            await kill(victim)
            await seen_dead(watcher, revision)
            still = not calling.done()
            calling.cancel()
            await asyncio.wait([calling])

            assert still
            await watcher.close()

    @pytest.mark.parametrize("security", [UNPROTECTED, TOKEN], ids=["open", "token"])
    async def test_are_not_seen_where_all_come_back_at_once(
        self, security: Security
    ) -> None:
        async with serving(Limits(), security) as (server, endpoint):
            clients = await asyncio.gather(
                *(connect(endpoint, 0.5, security) for _ in range(300))
            )
            before = [client.session for client in clients]
            for caller in tuple(server.door._callers):
                caller.transport.abort()
            await asyncio.gather(*(client.get("/") for client in clients))
            after = [client.session for client in clients]
            await asyncio.gather(*(client.close() for client in clients))

        assert after == before


async def kill(victim: ControlStore) -> None:
    """End a client as the death of its process does."""
    link = victim._link
    assert link._connection
    link._connection.hang_up()
    for lease in tuple(victim._leases):
        lease.lose("it is dead")
    link._over = "it is dead"
    await asyncio.sleep(0)


async def seen_dead(watcher: ControlStore, since: int) -> None:
    async with asyncio.timeout(60), aclosing(watcher.watch("/alive", since)) as events:
        event = await anext(events)

    assert event.value is None


@pytest.mark.asyncio
class TestAHealthyJob:
    async def test_notices_nothing_of_thousands_who_are_silent(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        many = min(3_000, soft // 4)
        limits = Limits(strangers=many // 3)
        async with serving(limits) as (server, endpoint), hostile(endpoint) as bad:
            store = await connect(endpoint)
            lease = await store.lease(5.0)
            revision = await store.put("/alive", b"", lease=lease)
            for opening in (
                b"",
                b"\x00\x01",
                MAGIC,
                b"\xff",
                b"GET / HTTP/1.1\r\n\r\n",
            ):
                await bad.open(many // 5, opening)
                await store.put("/work", opening)
                late = await connect(endpoint)
                await late.close()
            kept = await store.get("/alive")

            assert not lease.lost.done()
            assert kept
            assert kept.revision == revision
            assert len(server.door._strangers) <= limits.strangers
            await store.close()

        lines = [r for r in caplog.records if r.name.startswith("elaunch")]
        assert 10 < len(lines) < many / 20
        assert "more connections were closed" in lines[-1].getMessage()

    async def test_notices_nothing_of_one_who_is_slow(self) -> None:
        """Each byte in time is still too late as a whole."""
        limits = Limits(handshake_timeout=0.3)
        async with serving(limits) as (_, endpoint), hostile(endpoint) as bad:
            store = await connect(endpoint)
            await bad.open(1)

            async def drip() -> None:
                for byte in MAGIC + frame(Hello("job", 1.0)):
                    bad.writers[0].write(bytes([byte]))
                    await asyncio.wait([dropped], timeout=0.05)

            dropped = asyncio.create_task(bad.is_dropped(0))
            dripping = asyncio.create_task(drip())
            await dropped
            dripping.cancel()
            await asyncio.wait([dripping])

            assert await store.put("/key", b"")
            await store.close()
