"""One connection of a control client, from connecting to its end. No retries."""

import asyncio
import os
import random
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar, cast

import attrs

from elaunch_rdzv_c10d.addresses import Endpoint, ways_to
from elaunch_rdzv_c10d.handshake import (
    ClientHandshake,
    DeniedError,
    HandshakeError,
    UntrustedError,
)
from elaunch_rdzv_c10d.messages import (
    MAGIC,
    MAX_FRAME,
    TLS_MAGIC,
    BrokenFrameError,
    Challenge,
    ClientMessage,
    Denied,
    FrameReader,
    Hello,
    ServerMessage,
    Welcome,
    decode_server_message,
    frame,
)
from elaunch_rdzv_c10d.receiver import Receiver, Wire
from elaunch_rdzv_c10d.security import Security


DIAL_TIMEOUT = 5.0
"""Seconds that connecting and the handshake may take before another try is better."""


_TELL_EVERY = 10.0  # seconds between two words about what does not work

_Result = TypeVar("_Result")


class NotAStoreError(HandshakeError):
    """What answers at the endpoint does not speak our protocol."""


class HungUpError(ConnectionError):
    """It closed the connection without a word, as a store does that is killed."""


class GivenUpError(Exception):
    """It did not work for as long as it was tried; the message says what went wrong."""


def back_off() -> Iterator[float]:
    """Yield seconds to wait between tries: 0.05 doubling to 1, less a random part."""
    delay = 0.05
    while True:
        # Random, so that a thousand agents don't come back in one moment.
        yield delay * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        delay = min(delay * 2, 1.0)


async def insist(
    attempt: Callable[[], Awaitable[_Result]],
    passing: type[OSError],
    timeout: float,  # noqa: ASYNC109 - part of what is raised
    on_waiting: Callable[[str], None],
) -> _Result:
    """Try until it works.

    Args:
        attempt: What to try.
        passing: Errors that may pass; all others are raised.
        timeout: Seconds to try.
        on_waiting: Told what went wrong: first when the first try failed, then every
            ten seconds.

    Raises:
        GivenUpError: If it never worked.
    """
    loop = asyncio.get_running_loop()
    tell_at = loop.time()
    trouble = "no answer"
    try:
        async with asyncio.timeout(timeout):
            for delay in back_off():
                try:
                    return await attempt()
                except passing as error:
                    trouble = reason_of(error)
                if loop.time() >= tell_at:
                    tell_at += _TELL_EVERY
                    on_waiting(trouble)
                await asyncio.sleep(delay)
    except TimeoutError:
        raise GivenUpError(f"no success for {timeout:g} s: {trouble}") from None
    raise AssertionError("the back-off never ends")


def reason_of(error: Exception) -> str:
    """Return what went wrong with a connection, in the words of a message."""
    if isinstance(error, socket.gaierror):
        return f"the name can't be resolved ({error.strerror})"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return str(error)


@attrs.define(eq=False, repr=False)
class Connection(Receiver):
    """The client's end of one connection.

    Attributes:
        handshake: What comes before the welcome.
        welcome: The server's welcome, or why there is none.
        on_message: Called with each message after the welcome.
        on_lost: Called with the reason when the connection breaks after its welcome;
            not when we end it.
        over: Whether the connection has ended.
    """

    handshake: ClientHandshake
    welcome: asyncio.Future[Welcome]
    on_message: Callable[[ServerMessage], None]
    on_lost: Callable[["Connection", str], None]
    _transport: Wire | None = attrs.field(default=None, init=False)
    _lacks_tls: bool = attrs.field(default=False, init=False)
    _reader: FrameReader = attrs.field(factory=FrameReader, init=False)
    over: bool = attrs.field(default=False, init=False)
    _unsent: list[bytes] = attrs.field(factory=list, init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # it is a stream

    def data_received(self, data: bytes) -> None:
        """Deliver every message that is whole."""
        try:
            for body in self._reader.feed(data):
                message = decode_server_message(body)
                if self.welcome.done():
                    self.on_message(message)
                else:
                    self._introduce(message)
        except BrokenFrameError as error:
            self.fail(NotAStoreError(f"it sent {data[:20]!r}: {error}"))
        except HandshakeError as error:
            self.fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the connection is gone, unless we ended it."""
        self.fail(exc or HungUpError("it closed the connection"))

    def open(self, transport: asyncio.Transport) -> None:
        """Begin the handshake in the clear."""
        transport.write(MAGIC + frame(self.handshake.hello()))

    def open_encrypted(
        self, transport: asyncio.Transport, context: ssl.SSLContext, host: str
    ) -> None:
        """Begin the handshake over TLS, if what answers speaks that."""
        from elaunch_rdzv_c10d.tls_stream import TlsStream

        def fail(reason: str) -> None:
            self.fail(UntrustedError(f"TLS failed: {reason}"))

        stream = TlsStream.over(transport, context, fail, host)
        stream.above = self
        self._transport = stream
        transport.set_protocol(_TlsGate(self, transport, stream))
        transport.write(TLS_MAGIC)
        stream.begin()
        self._say(self.handshake.hello())

    def take_in_the_clear(self, data: bytes) -> None:
        """Take what answers when TLS was asked for and is not spoken."""
        self._lacks_tls = True
        self.data_received(data)

    def send(self, data: bytes) -> None:
        """Send bytes with everything else that this turn of the loop sends."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(data)

    def hang_up(self) -> None:
        """End the connection at once. Twice is fine."""
        self.over = True
        if self._transport:
            self._transport.abort()

    def _flush(self) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _introduce(self, message: ServerMessage) -> None:
        """Do the server's next step of the handshake.

        Raises:
            HandshakeError: If there will be no session.
        """
        if isinstance(message, Denied):
            # It may come from anybody, and goes to a terminal.
            raise DeniedError(message.reason.encode("unicode_escape").decode())
        if self._lacks_tls:
            raise UntrustedError("it does not speak TLS")
        if isinstance(message, Challenge):
            self._say(self.handshake.answer(message))
        elif isinstance(message, Welcome):
            self.handshake.check(message)
            self._reader.limit = MAX_FRAME
            self.welcome.set_result(message)
        else:
            raise NotAStoreError("its first frame is not a welcome")

    def _say(self, message: ClientMessage) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(frame(message))

    def fail(self, error: Exception) -> None:
        """End the connection and tell why, unless it has ended."""
        if self.over:
            return
        self.hang_up()
        if self.welcome.done():
            self.on_lost(self, reason_of(error))
        else:
            self.welcome.set_exception(error)


@attrs.define(eq=False, repr=False)
class _TlsGate(Receiver):
    """The first bytes of a server that was asked for TLS.

    Attributes:
        connection: Who asks.
        transport: The connection's bytes.
        stream: Gets all that follows the server's consent.
    """

    connection: Connection
    transport: asyncio.Transport
    stream: Receiver
    _opening: bytes = attrs.field(default=b"", init=False)

    def data_received(self, data: bytes) -> None:
        """Find out whether it speaks TLS."""
        self._opening += data
        opening = self._opening
        if not TLS_MAGIC.startswith(opening[: len(TLS_MAGIC)]):
            self._opening = b""
            self.connection.take_in_the_clear(opening)
        elif len(opening) >= len(TLS_MAGIC):
            self.transport.set_protocol(self.stream)
            self.stream.data_received(opening[len(TLS_MAGIC) :])

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        self.connection.connection_lost(exc)


async def _connect(
    endpoint: Endpoint, connection: Connection, until: float
) -> asyncio.Transport:
    """Connect to the first address of the host that takes us.

    One that is silent gets its share of the time: a name may have an address of a
    family, or on a network, that leads nowhere from here.
    """
    loop = asyncio.get_running_loop()
    ways = await ways_to(endpoint.host, endpoint.port)
    refusal: OSError = OSError("the name has no address")
    for tried, way in enumerate(ways):
        share = (until - loop.time()) / (len(ways) - tried)
        try:
            async with asyncio.timeout(share):
                transport, _ = await loop.create_connection(
                    lambda: connection, way, endpoint.port
                )
        except OSError as error:
            refusal = error
        else:
            return transport
    raise refusal


async def dial(
    endpoint: Endpoint,
    hello: Hello,
    security: Security,
    on_message: Callable[[ServerMessage], None],
    on_lost: Callable[[Connection, str], None],
) -> tuple[Connection, Welcome]:
    """Connect and shake hands, once.

    Raises:
        OSError: If that fails in a way that may pass.
        HandshakeError: If something answers that is not our store, or is and refuses.
    """
    loop = asyncio.get_running_loop()
    handshake = ClientHandshake(hello, security.token)
    connection = Connection(handshake, loop.create_future(), on_message, on_lost)
    missing = "no connection"
    try:
        until = loop.time() + DIAL_TIMEOUT
        async with asyncio.timeout_at(until):
            transport = await _connect(endpoint, connection, until)
            missing = "a connection, but no answer"
            if security.tls:
                context = security.tls.client
                connection.open_encrypted(transport, context, endpoint.host)
            else:
                connection.open(transport)
            welcome = await connection.welcome
    except BaseException as error:
        connection.hang_up()
        if isinstance(error, TimeoutError) and not error.errno:
            raise TimeoutError(f"{missing} within {DIAL_TIMEOUT:g} s") from None
        raise
    if connection.over:
        raise ConnectionResetError("it broke the connection after its welcome")
    return connection, welcome
