"""A listener that serves TCPStore clients and, if asked to, control clients.

The first bytes of a connection decide which it is. Everything else is closed at once.
"""

import asyncio
import select
import socket
from collections.abc import Callable, Sequence
from typing import cast

import attrs

from elaunch_rdzv_c10d.addresses import BACKLOG
from elaunch_rdzv_c10d.connection import TcpStoreConnection
from elaunch_rdzv_c10d.control_connection import ControlConnection
from elaunch_rdzv_c10d.door import Caller, Door
from elaunch_rdzv_c10d.limits import Limits
from elaunch_rdzv_c10d.messages import MAGIC, TLS_MAGIC, Denied, frame
from elaunch_rdzv_c10d.receiver import Receiver, Wire
from elaunch_rdzv_c10d.security import UNPROTECTED, Security
from elaunch_rdzv_c10d.sessions import Sessions
from elaunch_rdzv_c10d.table import KeyTable
from elaunch_rdzv_c10d.wire import Op


_ACCEPTS = 16
"""Connections that are accepted before those that are there are served again.

By all listeners together. asyncio has accepted those of three turns when the first that
the door has no room for is closed: fewer than the descriptors that `limits` spares.
"""


@attrs.define(eq=False, repr=False)
class StoreServer:
    """One store behind one or more listening sockets.

    Attributes:
        sessions: Control clients of this store; `None` serves TCPStore clients only.
        security: What control clients must show. TCPStore clients, which can't, are
            refused then, unless the store is for them only.
        limits: What peers may cost that have not said who they are.
        door: The connections.
        admits: Whether to serve who connects from an address; `None` serves all.
        table: What TCPStore clients share.
    """

    sessions: Sessions | None = None
    security: Security = UNPROTECTED
    limits: Limits = attrs.field(factory=Limits)
    admits: Callable[[str], bool] | None = None
    door: Door = attrs.field(init=False)
    table: KeyTable = attrs.field(factory=KeyTable)
    _servers: list[asyncio.Server] = attrs.field(factory=list, init=False)
    _listeners: list[socket.socket] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.door = Door(self.limits, self._has_queue)
        if self.sessions:
            self.sessions.door = self.door

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Accept connections of sockets that are listening, and own the sockets."""
        loop = asyncio.get_running_loop()
        accepts = max(1, _ACCEPTS // len(listeners))
        for listener in listeners:
            server = await loop.create_server(
                lambda: Greeter(self), sock=listener, backlog=accepts
            )
            listener.listen(BACKLOG)  # asyncio has just made it as few as it accepts
            self._servers.append(server)
            self._listeners.append(listener)

    async def stop(self) -> None:
        """Close the listeners and abort all connections, so that no client hangs."""
        for server in self._servers:
            server.close()
        self._servers.clear()
        self._listeners.clear()
        await self.door.close()
        if self.sessions:
            self.sessions.shut_down()

    def admitted(self, transport: asyncio.Transport) -> bool:
        """Whether to serve a connection, by the address that it comes from."""
        if self.admits is None:
            return True
        place = transport.get_extra_info("peername")
        return place is not None and self.admits(place[0])

    def _has_queue(self) -> bool:
        """Whether connections wait to be accepted."""
        poll = select.poll()
        for listener in self._listeners:
            if listener.fileno() >= 0:
                poll.register(listener, select.POLLIN)
        return bool(poll.poll(0))


@attrs.define(eq=False, repr=False)
class Greeter(Receiver):
    """The first bytes of a connection.

    Attributes:
        server: The store that the connection is for.
    """

    server: StoreServer
    _transport: asyncio.Transport = attrs.field(init=False)
    _caller: Caller = attrs.field(init=False)
    _opening: bytes = attrs.field(default=b"", init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note the connection."""
        # Not every loop's streams are of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)
        self._caller = self.server.door.receive(self._transport)
        if not self.server.admitted(self._transport):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Hand the connection to the protocol that its first bytes belong to."""
        self._opening += data
        opening, server = self._opening, self.server
        if opening[0] == Op.VALIDATE:
            self._open_tcp_store()
        elif server.sessions and MAGIC.startswith(opening[: len(MAGIC)]):
            if len(opening) >= len(MAGIC):
                self._open_control(server.sessions)
        elif server.sessions and TLS_MAGIC.startswith(opening[: len(TLS_MAGIC)]):
            if len(opening) >= len(TLS_MAGIC):
                self._open_encrypted(server.sessions)
        else:
            self._caller.turn_away(f"it opens with {opening[:20]!r}")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Forget the client."""
        self._caller.leave()

    def _open_tcp_store(self) -> None:
        server = self.server
        if server.sessions and not server.security.is_open:
            self._caller.turn_away(
                "it is a TCPStore client, which can't show that it belongs to the job"
            )
            return
        client = TcpStoreConnection(server.table, self._caller, self._transport)
        self._transport.set_protocol(client)
        client.data_received(self._opening)

    def _open_control(self, sessions: Sessions) -> None:
        if self.server.security.tls:
            self._deny(
                "this store speaks TLS only; give --rdzv-conf tls_cert=PATH,"
                "tls_key=PATH,tls_ca=PATH"
            )
            return
        client = self._control(sessions, self._transport)
        self._transport.set_protocol(client)
        client.data_received(self._opening[len(MAGIC) :])

    def _open_encrypted(self, sessions: Sessions) -> None:
        tls = self.server.security.tls
        if not tls:
            self._deny(
                "this store does not speak TLS; leave out tls_cert, tls_key and tls_ca"
            )
            return
        from elaunch_rdzv_c10d.tls_stream import TlsStream

        caller, transport = self._caller, self._transport
        stream = TlsStream.over(
            transport, tls.server, lambda why: caller.see_off(f"TLS failed: {why}")
        )
        stream.above = self._control(sessions, stream)
        transport.set_protocol(stream)
        transport.write(TLS_MAGIC)
        stream.data_received(self._opening[len(TLS_MAGIC) :])

    def _control(self, sessions: Sessions, wire: Wire) -> ControlConnection:
        server = self.server
        return ControlConnection(
            sessions, self._caller, server.security.token, server.table.budget, wire
        )

    def _deny(self, reason: str) -> None:
        self._transport.write(frame(Denied(reason)))
        self._caller.see_off(reason)
