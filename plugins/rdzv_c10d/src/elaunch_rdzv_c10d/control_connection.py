"""One connection of a control client: frames in, its session's answers out."""

import asyncio
import logging
import socket

import attrs

from elaunch_rdzv_c10d.budget import Budget
from elaunch_rdzv_c10d.door import Caller
from elaunch_rdzv_c10d.handshake import DeniedError, ServerHandshake
from elaunch_rdzv_c10d.job_token import Token
from elaunch_rdzv_c10d.messages import (
    MAX_FRAME,
    TOO_LONG,
    Answer,
    BrokenFrameError,
    Denied,
    FrameReader,
    Goodbye,
    Hello,
    Proof,
    Request,
    ServerMessage,
    Watch,
    Welcome,
    decode_client_message,
    fits,
    frame,
)
from elaunch_rdzv_c10d.receiver import Receiver, Wire
from elaunch_rdzv_c10d.sessions import Session, Sessions, SessionsFullError


logger = logging.getLogger(__name__)

_MAX_BACKLOG = 64 * 1024 * 1024
"""Unsent bytes that end a connection: its client does not read, but can come back."""

_PIECE = 1024 * 1024
"""Bytes that are sent before more requests of the same turn are served."""

_KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Seconds of silence before a host is probed, between probes, and how many."""


@attrs.define(eq=False, repr=False)
class ControlConnection(Receiver):
    """Serves what follows `MAGIC` on one connection.

    Attributes:
        sessions: The clients of this store.
        caller: What the server knows of the connection.
        token: The job's token, which the client must have.
        budget: What it has under way is counted against; it can come back when it is
            dropped.
    """

    sessions: Sessions
    caller: Caller
    token: Token | None
    budget: Budget
    _transport: Wire
    _reader: FrameReader = attrs.field(factory=FrameReader, init=False)
    _handshake: ServerHandshake = attrs.field(init=False)
    _is_denied: bool = attrs.field(default=False, init=False)
    _session: Session | None = attrs.field(default=None, init=False)
    _unsent: list[bytes] = attrs.field(factory=list, init=False)
    _unsent_size: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._handshake = ServerHandshake(self.sessions.store, self.token)

    def data_received(self, data: bytes) -> None:
        """Serve every frame that is whole."""
        if self._is_denied:
            return
        try:
            for body in self._reader.feed(data):
                self._serve(body)
                if self._transport.is_closing():
                    break
        except BrokenFrameError as error:
            self.caller.turn_away(str(error))
        except DeniedError as error:
            self._is_denied = True
            self._transport.write(frame(Denied(str(error))))
            self.caller.see_off(str(error))
        self._account()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Leave the session to its grace."""
        if self._session:
            self.sessions.detach(self._session, self)
        self.budget.owe(self, 0)
        self.caller.leave()

    def send(self, message: ServerMessage) -> None:
        """Send a message with everything else that this turn of the loop sends."""
        framed = frame(message)
        if isinstance(message, Answer) and not fits(framed):
            framed = frame(Answer(message.id, TOO_LONG, message.revision))
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(framed)
        self._unsent_size += len(framed)
        if self._unsent_size > _PIECE:
            self._flush()

    def drop(self) -> None:
        """Break the connection, and hold nothing for it from now on."""
        self._reader = FrameReader()
        self._transport.abort()

    def _serve(self, body: bytes) -> None:
        message = decode_client_message(body)
        session = self._session
        if isinstance(message, Hello | Proof):
            if session:
                raise BrokenFrameError("a second handshake")
            self._introduce(message)
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

    def _introduce(self, message: Hello | Proof) -> None:
        """Do the client's next step of the handshake.

        Raises:
            DeniedError: If it is not let in.
        """
        if isinstance(message, Proof):
            self._open(*self._handshake.take_proof(message))
        elif challenge := self._handshake.take_hello(message):
            self.caller.advance()
            self.send(challenge)
        else:
            self._open(message)

    def _open(self, hello: Hello, mac: bytes = b"") -> None:
        self.caller.admit()
        self._reader.limit = MAX_FRAME
        _keep_alive(self._transport.get_extra_info("socket"))
        sessions = self.sessions
        try:
            session, resumed = sessions.attach(hello, self)
        except SessionsFullError as error:
            raise DeniedError(str(error)) from None
        self._session = session
        self.send(Welcome(session.id, resumed, sessions.store, sessions.run_id, mac))

    def _flush(self) -> None:
        unsent = b"".join(self._unsent)
        self._unsent.clear()
        self._unsent_size = 0
        if self._transport.is_closing():
            return
        self._transport.write(unsent)
        if self._transport.get_write_buffer_size() > _MAX_BACKLOG:
            peer = self._transport.get_extra_info("peername")
            logger.warning(
                "dropping the control connection of %s: it reads nothing", peer
            )
            self.drop()
        else:
            self._account()

    def _account(self) -> None:
        """Count what this client has under way."""
        owed = self._reader.held + self._transport.get_write_buffer_size()
        self.budget.owe(self, owed)


def _keep_alive(connection: socket.socket) -> None:
    """Let the system find out that the other host is gone.

    Its leases expire without that, but its session would be waited for at the end.
    """
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE.items():
        if hasattr(socket, name):  # not every system has every one
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
