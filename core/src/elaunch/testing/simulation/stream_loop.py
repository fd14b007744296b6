"""What asyncio code calls to connect and to listen, for the simulated loop."""

import asyncio
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING


if TYPE_CHECKING:  # they import the loop, which imports this
    from elaunch.testing.simulation.loop import Process
    from elaunch.testing.simulation.streams import SimulatedServer, Streams
    from elaunch.testing.simulation.transports import SimulatedSocket


class StreamLoop(asyncio.BaseEventLoop):
    """The part of a loop that opens streams, once it is told where.

    Attributes:
        streams: The streams of its network.
    """

    streams: "Streams | None" = None

    def asking(self) -> "Process":
        """Return the process that asks."""
        raise NotImplementedError

    async def create_connection(  # type: ignore[override] # only what is simulated
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str,
        port: int,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open a stream from the process that asks."""
        streams, process = self._needed(), self.asking()
        return await streams.connect(process, protocol_factory, (host, port))

    async def getaddrinfo(  # type: ignore[override] # only what is simulated
        self,
        host: str,
        port: int,
        *,
        type: int,  # noqa: A002 - asyncio's
        flags: int = 0,  # noqa: ARG002 - asyncio's
    ) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Return the name: it is its only address."""
        return [(socket.AF_INET, type, 0, "", (host, port))]

    async def create_server(  # type: ignore[override] # only what is simulated
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: str = "",
        port: int = 0,
        *,
        sock: "SimulatedSocket | None" = None,
        backlog: int = 100,  # noqa: ARG002 - asyncio's; the queue has no limit
    ) -> "SimulatedServer":
        """Accept streams of the process that asks, also at the address of ``sock``."""
        address = sock.address if sock else (host, port)
        return self._needed().listen(self.asking(), protocol_factory, address)

    def _needed(self) -> "Streams":
        if self.streams is None:
            raise RuntimeError("no streams are simulated; set 'loop.streams'")
        return self.streams
