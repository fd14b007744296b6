"""Streams over the simulated network: who connects, who listens.

With ``loop.streams = Streams(network)``, ``loop.create_connection`` and
``loop.create_server`` work without sockets, and so does everything that is built on
them. Not modelled: TLS, half-closed connections, a sender that is held up because the
receiver is slow, and a system that gives up a silent connection.
"""

import asyncio
import errno
import itertools
from collections.abc import Callable, Iterator, Sequence

import attrs

from elaunch.testing.simulation.loop import Process
from elaunch.testing.simulation.network import End, Network
from elaunch.testing.simulation.transports import (
    Address,
    SimulatedSocket,
    SimulatedTransport,
)


ProtocolFactory = Callable[[], asyncio.BaseProtocol]

_FIRST_FREE = 49_152


@attrs.define(eq=False)
class SimulatedServer(asyncio.AbstractServer):
    """Accepts streams at an address.

    Attributes:
        streams: Where it does.
        process: Whose it is.
        address: The address.
        factory: Makes the protocol of each stream.
    """

    streams: "Streams"
    process: Process
    address: Address
    factory: ProtocolFactory
    _open: bool = attrs.field(default=True, init=False)

    @property
    def sockets(self) -> Sequence[SimulatedSocket]:
        """What stands for the sockets that it listens at."""
        return (SimulatedSocket(self.address),) if self._open else ()

    def is_serving(self) -> bool:
        """Whether it accepts streams."""
        return self._open

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return its loop."""
        return self.streams.network.loop

    async def start_serving(self) -> None:
        """Do nothing: it serves since it was made."""

    async def serve_forever(self) -> None:
        """Wait until this is cancelled, then close."""
        try:
            await self.get_loop().create_future()
        finally:
            self.close()

    def close(self) -> None:
        """Accept no more. Twice is fine."""
        if self._open:
            self._open = False
            self.streams.network.ignore(_name(self.address))

    async def wait_closed(self) -> None:
        """Return at once: closing takes no time."""

    def accept(self, end: End) -> None:
        """Serve a new connection of the network."""
        if end.lost or not self._open:
            end.close()
            return
        peer = (end.peer.process.name, self.streams.free_port())
        transport = SimulatedTransport(end, SimulatedSocket(self.address, peer))
        transport.open(self.factory())


@attrs.define(eq=False)
class Streams:
    """The streams of a network.

    Attributes:
        network: The network.
    """

    network: Network
    _ports: Iterator[int] = attrs.field(
        factory=lambda: itertools.count(_FIRST_FREE), init=False
    )

    def free_port(self) -> int:
        """Return a port that was never used."""
        return next(self._ports)

    async def connect(
        self, process: Process, factory: ProtocolFactory, address: Address
    ) -> tuple[SimulatedTransport, asyncio.BaseProtocol]:
        """Open a stream from a process to an address.

        Raises:
            OSError: If nobody listens there. While it is silent, it waits.
        """
        end = await self.network.connect(process, _name(address))
        if end.lost:
            raise ConnectionResetError(errno.ECONNRESET, "the connection was reset")
        own = (process.name, self.free_port())
        transport = SimulatedTransport(end, SimulatedSocket(own, address))
        protocol = factory()
        transport.open(protocol)
        return transport, protocol

    def listen(
        self, process: Process, factory: ProtocolFactory, address: Address
    ) -> SimulatedServer:
        """Accept streams of a process at an address; port 0 stands for a free one.

        Raises:
            OSError: If somebody listens there already.
        """
        host, port = address
        server = SimulatedServer(
            self, process, (host, port or self.free_port()), factory
        )
        if self.network.is_listening(_name(server.address)):
            raise OSError(errno.EADDRINUSE, f"the address {address} is in use")
        self.network.listen(_name(server.address), process, server.accept)
        return server


def _name(address: Address) -> str:
    return f"{address[0]}:{address[1]}"
