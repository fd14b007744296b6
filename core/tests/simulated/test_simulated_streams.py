"""asyncio's own streams over the simulated network."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import attrs
import pytest

from elaunch.testing.simulation import Network, Process, SimulatedLoop, Streams


@attrs.define
class World:
    loop: SimulatedLoop
    network: Network
    client: Process
    server: Process

    @classmethod
    def of(cls, seed: int) -> "World":
        loop = SimulatedLoop(seed)
        network = Network(loop, random.Random(seed))  # noqa: S311 - reproducible
        loop.streams = Streams(network)
        return cls(loop, network, loop.process("client"), loop.process("server"))

    def run(self, *work: Coroutine[Any, Any, Any]) -> list[Any]:
        """Run one coroutine in the client, the others in the server."""
        first, *others = work
        tasks = [self.loop.spawn(self.server, other) for other in others]
        tasks.insert(0, self.loop.spawn(self.client, first))
        found: list[Any] = self.loop.run_until_complete(asyncio.gather(*tasks))
        assert self.loop.faults == []
        self.loop.close()
        return found


@pytest.mark.parametrize("seed", range(20))
def test_bytes_come_in_order_and_then_the_end(seed: int) -> None:
    world = World.of(seed)
    sent = [bytes([number]) * number for number in range(100)]
    received: asyncio.Future[bytes] = world.loop.create_future()

    async def serve() -> None:
        async def keep(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            received.set_result(await reader.read())
            writer.close()

        await asyncio.start_server(keep, "host", 80)

    async def talk() -> bytes:
        await asyncio.sleep(1.0)  # virtual: the server listens by then
        reader, writer = await asyncio.open_connection("host", 80)
        for data in sent:
            writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert reader.at_eof()
        return await received

    assert world.run(talk(), serve())[0] == b"".join(sent)


def test_bytes_are_cut_and_merged() -> None:
    world = World.of(1)
    chunks: list[bytes] = []

    class Keeper(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            chunks.append(data)

    async def serve() -> None:
        await world.loop.create_server(Keeper, "host", 80)

    async def talk() -> None:
        await asyncio.sleep(1.0)
        transport, _ = await world.loop.create_connection(asyncio.Protocol, "host", 80)
        for _ in range(50):
            transport.write(b"abcd")
            await asyncio.sleep(0.0002)  # virtual
        await asyncio.sleep(1.0)

    world.run(talk(), serve())

    assert b"".join(chunks) == b"abcd" * 50
    assert any(len(chunk) < 4 for chunk in chunks)
    assert any(len(chunk) > 4 for chunk in chunks)


@pytest.mark.parametrize(
    ("breaks", "error"), [("reset", ConnectionResetError), ("kill", None)]
)
def test_a_broken_connection_tells_how_it_ended(
    breaks: str, error: type[Exception] | None
) -> None:
    world = World.of(2)
    ended: asyncio.Future[Exception | None] = world.loop.create_future()

    class Client(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            ended.set_result(exc)

    async def serve() -> None:
        await world.loop.create_server(asyncio.Protocol, "host", 80)

    async def talk() -> Exception | None:
        await asyncio.sleep(1.0)
        await world.loop.create_connection(Client, "host", 80)
        if breaks == "reset":
            world.network.reset(world.server)
        else:
            world.loop.kill(world.server)
            world.network.bury(world.server)
        return await ended

    found = world.run(talk(), serve())[0]

    assert isinstance(found, error) if error else found is None


def test_a_paused_transport_keeps_what_arrives() -> None:
    world = World.of(3)
    chunks: list[bytes] = []
    accepted: list[asyncio.Transport] = []

    class Keeper(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            accepted.append(transport)

        def data_received(self, data: bytes) -> None:
            chunks.append(data)

        def connection_lost(self, exc: Exception | None) -> None:
            assert exc is None
            chunks.append(b".")

    async def serve() -> None:
        await world.loop.create_server(Keeper, "host", 80)

    async def talk() -> None:
        await asyncio.sleep(1.0)
        transport, _ = await world.loop.create_connection(asyncio.Protocol, "host", 80)
        transport.writelines([b"a", b"b"])
        transport.close()
        await asyncio.sleep(1.0)
        assert chunks == []
        accepted[0].resume_reading()
        await asyncio.sleep(1.0)

    world.run(talk(), serve())

    assert b"".join(chunks) == b"ab."


def test_an_address_is_taken_until_its_server_is_closed() -> None:
    world = World.of(4)
    loop = world.loop

    async def work() -> None:
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(asyncio.Protocol, "host", 80)
        server = await loop.create_server(asyncio.Protocol, "host", 80)
        with pytest.raises(OSError, match="in use"):
            await loop.create_server(asyncio.Protocol, "host", 80)
        server.close()
        await server.wait_closed()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(asyncio.Protocol, "host", 80)
        again = await loop.create_server(asyncio.Protocol, "host", 0)
        address = again.sockets[0].getsockname()
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        assert transport.get_extra_info("peername") == address

    world.run(work())


def test_a_loop_without_streams_says_so() -> None:
    loop = SimulatedLoop(5)

    with pytest.raises(RuntimeError, match=r"loop\.streams"):
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "host", 80))

    loop.close()
