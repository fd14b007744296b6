"""What control clients have under way is limited for all of them together."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import attrs
import pytest

from elaunch.api import Entry, Keyspace
from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.budget import Budget
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.messages import MAGIC, Get, Hello, Request, frame
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.table import KeyTable


pytestmark = pytest.mark.asyncio

MIB = 1024 * 1024


@attrs.define(eq=False)
class CountingKeyspace(Keyspace):
    """Counts how often it was read."""

    reads: int = 0

    def get(self, key: str) -> Entry | None:
        self.reads += 1
        return super().get(key)


@contextlib.asynccontextmanager
async def serving(
    room: int, keyspace: Keyspace | None = None
) -> AsyncIterator[Endpoint]:
    sessions = Sessions("job", keyspace or Keyspace())
    server = StoreServer(sessions, table=KeyTable(Budget(room)))
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    try:
        yield Endpoint(*listeners[0].getsockname())
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def client(endpoint: Endpoint) -> AsyncIterator[ControlStore]:
    store = await ControlStore.connect(
        endpoint.host, endpoint.port, timeout=10.0, run_id="job"
    )
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def greedy(
    endpoint: Endpoint,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client that reads its welcome and nothing after it."""
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    writer.write(MAGIC + frame(Hello("job", 0.0)))
    async with asyncio.timeout(60):
        await reader.read(1)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ends(reader: asyncio.StreamReader) -> None:
    """Read until the server ends the connection."""
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            while await reader.read(MIB):
                pass


async def test_half_a_frame_does_not_push_out_others() -> None:
    async with (
        serving(8 * MIB) as endpoint,
        client(endpoint) as good,
        greedy(endpoint) as (reader, writer),
    ):
        writer.write((10 * MIB).to_bytes(4, "little") + bytes(9 * MIB))

        await ends(reader)
        await good.put("/a", bytes(5 * MIB))
        entry = await good.get("/a")
        assert entry
        assert len(entry.value) == 5 * MIB


async def test_what_is_not_read_does_not_push_out_others() -> None:
    async with serving(32 * MIB) as endpoint, client(endpoint) as good:
        await good.put("/a", bytes(6 * MIB))
        async with greedy(endpoint) as (reader, writer):
            for number in range(1, 7):
                writer.write(frame(Request(number, Get("/a"))))
            # Answered after all of them have been: nobody has read one by then.
            assert await good.get("/a")

            await ends(reader)
            assert await good.get("/a")


async def test_a_burst_is_not_answered_to_the_end_if_nobody_reads() -> None:
    keyspace = CountingKeyspace()
    async with serving(1024 * MIB, keyspace) as endpoint, client(endpoint) as good:
        await good.put("/a", bytes(6 * MIB))
        async with greedy(endpoint) as (reader, writer):
            requests = [frame(Request(number, Get("/a"))) for number in range(200)]
            writer.write(b"".join(requests))

            await ends(reader)
            assert keyspace.reads < 100  # 64 MiB, and what the system takes
