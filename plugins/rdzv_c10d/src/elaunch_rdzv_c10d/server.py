"""A listener that serves TCPStore clients and, if asked to, control clients.

The first byte of a connection decides which it is. Everything else is closed at once,
and so is a connection that has not said within `HANDSHAKE_TIMEOUT` what it is.
"""

import asyncio
import logging
import socket
from collections.abc import Sequence
from typing import cast

import attrs

from elaunch_rdzv_c10d.addresses import BACKLOG
from elaunch_rdzv_c10d.connection import TcpStoreConnection
from elaunch_rdzv_c10d.control_connection import ControlConnection
from elaunch_rdzv_c10d.messages import MAGIC
from elaunch_rdzv_c10d.receiver import Receiver
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.table import KeyTable
from elaunch_rdzv_c10d.wire import Op


logger = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that a connection may take to say what it is."""


_ACCEPTS = 64
"""Connections that are accepted before those that are there are served again."""


@attrs.define(eq=False)
class StoreServer:
    """One store behind one or more listening sockets.

    Attributes:
        sessions: Control clients of this store; `None` serves TCPStore clients only.
        handshake_timeout: Seconds that a connection may take to say what it is.
        table: What TCPStore clients share.
    """

    sessions: Sessions | None = None
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    table: KeyTable = attrs.field(factory=KeyTable)
    _servers: list[asyncio.Server] = attrs.field(factory=list, init=False)
    _transports: set[asyncio.Transport] = attrs.field(factory=set, init=False)
    _idle: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections of sockets that are listening, and own the sockets."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            server = await loop.create_server(
                lambda: Greeter(self), sock=listener, backlog=_ACCEPTS
            )
            listener.listen(BACKLOG)  # asyncio has just made it as few as it accepts
            self._servers.append(server)

    async def stop(self) -> None:
        """Close the listeners and abort all connections, so that no client hangs."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        for transport in tuple(self._transports):
            transport.abort()
        while self._transports:
            self._idle.clear()
            await self._idle.wait()  # an abort ends in the next turn of the loop
        if self.sessions:
            self.sessions.shut_down()

    def began(self, transport: asyncio.Transport) -> None:
        """Note a connection."""
        self._transports.add(transport)

    def ended(self, transport: asyncio.Transport) -> None:
        """Forget a connection that is gone."""
        self._transports.discard(transport)
        self._idle.set()


@attrs.define(eq=False)
class Greeter(Receiver):
    """The first byte of a connection.

    Attributes:
        server: The store that the connection is for.
    """

    server: StoreServer
    _transport: asyncio.Transport = attrs.field(init=False)
    _deadline: asyncio.TimerHandle = attrs.field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client a deadline."""
        # Not every loop's streams are of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)
        self.server.began(self._transport)
        self._deadline = asyncio.get_running_loop().call_later(
            self.server.handshake_timeout, self._give_up
        )
        if self.server.sessions:
            self.server.sessions.expect(self._deadline)

    def data_received(self, data: bytes) -> None:
        """Hand the connection to the protocol that its first byte belongs to."""
        server = self.server
        transport = self._transport
        protocol: TcpStoreConnection | ControlConnection
        if data[0] == Op.VALIDATE:
            protocol = TcpStoreConnection(
                server.table, self._deadline, server.ended, transport
            )
        elif server.sessions is not None and data[0] == MAGIC[0]:
            protocol = ControlConnection(
                server.sessions, self._deadline, server.ended, transport
            )
        else:
            peer = transport.get_extra_info("peername")
            logger.warning(
                "closing the connection of %s: it opens with %r", peer, data[:20]
            )
            transport.close()
            return
        transport.set_protocol(protocol)
        protocol.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Forget the client."""
        self._deadline.cancel()
        self.server.ended(self._transport)

    def _give_up(self) -> None:
        peer = self._transport.get_extra_info("peername")
        logger.warning("dropping the connection of %s: no handshake in time", peer)
        self._transport.abort()
