"""One connection of a control client: frames in, its session's answers out."""

import asyncio
import logging
import socket
from collections.abc import Callable

import attrs
import msgspec

from elaunch_rdzv_c10d.messages import (
    MAGIC,
    Answer,
    BrokenFrameError,
    FrameReader,
    Goodbye,
    Hello,
    Refused,
    Request,
    ServerMessage,
    Watch,
    Welcome,
    decode_client_message,
    fits,
    frame,
)
from elaunch_rdzv_c10d.receiver import Receiver
from elaunch_rdzv_c10d.sessions import Session, Sessions


logger = logging.getLogger(__name__)

_MAX_BACKLOG = 64 * 1024 * 1024
"""Unsent bytes that end a connection: its client does not read, but can come back."""

_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence before a host is probed, between probes, and how many."""


@attrs.define(eq=False)
class ControlConnection(Receiver):
    """Serves one connection whose first byte was that of `MAGIC`.

    Attributes:
        sessions: The clients of this store.
        deadline: Closes the connection unless the handshake cancels it.
        on_end: Called when the connection is gone.
    """

    sessions: Sessions
    deadline: asyncio.TimerHandle
    on_end: Callable[[asyncio.Transport], None]
    _transport: asyncio.Transport
    _reader: FrameReader = attrs.field(factory=FrameReader, init=False)
    _opening: bytes = attrs.field(default=b"", init=False)
    _greeted: bool = attrs.field(default=False, init=False)
    _session: Session | None = attrs.field(default=None, init=False)
    _unsent: list[bytes] = attrs.field(factory=list, init=False)

    def data_received(self, data: bytes) -> None:
        """Serve every frame that is whole."""
        try:
            rest = data if self._greeted else self._greet(data)
            for body in self._reader.feed(rest):
                self._serve(body)
        except (BrokenFrameError, msgspec.DecodeError) as error:
            peer = self._transport.get_extra_info("peername")
            logger.warning("closing the control connection of %s: %s", peer, error)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Leave the session to its grace."""
        self.deadline.cancel()
        if self._session:
            self.sessions.detach(self._session, self)
        self.on_end(self._transport)

    def send(self, message: ServerMessage) -> None:
        """Send a message with everything else that this turn of the loop sends."""
        framed = frame(message)
        if isinstance(message, Answer) and not fits(framed):
            apology = Refused("the answer is longer than a frame; ask for less")
            framed = frame(Answer(message.id, apology, message.revision))
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(framed)

    def drop(self) -> None:
        """Break the connection."""
        self._transport.abort()

    def _greet(self, data: bytes) -> bytes:
        """Check the magic, however it is cut, and return what follows it."""
        self._opening += data
        if not MAGIC.startswith(self._opening[: len(MAGIC)]):
            raise BrokenFrameError(f"it opens with {self._opening[:20]!r}")
        if len(self._opening) < len(MAGIC):
            return b""
        self._greeted = True
        return self._opening[len(MAGIC) :]

    def _serve(self, body: bytes) -> None:
        message = decode_client_message(body)
        session = self._session
        if isinstance(message, Hello):
            self._open(message)
        elif session is None:
            raise BrokenFrameError("its first frame is not a hello")
        elif isinstance(message, Request):
            self.send(self.sessions.request(session, message))
            if isinstance(message.operation, Goodbye):
                self._session = None
        elif isinstance(message, Watch):
            self.send(self.sessions.watch(session, message))
        else:
            self.sessions.unwatch(session, message)

    def _open(self, hello: Hello) -> None:
        if self._session:
            raise BrokenFrameError("a second hello")
        self.deadline.cancel()
        _keep_alive(self._transport.get_extra_info("socket"))
        self._session, resumed = self.sessions.attach(hello, self)
        self.send(
            Welcome(
                self._session.id, resumed, self.sessions.store, self.sessions.run_id
            )
        )

    def _flush(self) -> None:
        unsent = b"".join(self._unsent)
        self._unsent.clear()
        if self._transport.is_closing():
            return
        self._transport.write(unsent)
        if self._transport.get_write_buffer_size() > _MAX_BACKLOG:
            peer = self._transport.get_extra_info("peername")
            logger.warning(
                "dropping the control connection of %s: it reads nothing", peer
            )
            self.drop()


def _keep_alive(connection: socket.socket) -> None:
    """Let the system find out that the other host is gone.

    Its leases expire without that, but its session would be waited for at the end.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # not every system has every one
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
