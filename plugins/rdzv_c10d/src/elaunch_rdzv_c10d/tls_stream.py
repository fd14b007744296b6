"""TLS over a transport, between its bytes and whoever wants them in the clear.

asyncio's own TLS keeps a quarter of a MiB for each connection, and takes over a
connection that began in the clear from a task only. This is neither: it can begin in
the middle of what was received.
"""

import ssl
from collections.abc import Callable
from typing import Any

import attrs

from elaunch_rdzv_c10d.receiver import Receiver, Wire
from elaunch_rdzv_c10d.tls import reason_of_tls


_CHUNK = 64 * 1024


@attrs.define(eq=False, repr=False)
class TlsStream(Receiver):
    """One side of one connection: a protocol to its transport, a wire to its user.

    Attributes:
        on_failure: Called once with the reason if TLS fails. The other side has been
            told so; the connection is not closed.
        above: Who gets what was encrypted, and the end of the connection.
    """

    on_failure: Callable[[str], None]
    _transport: Wire
    _tls: ssl.SSLObject
    _incoming: ssl.MemoryBIO
    _outgoing: ssl.MemoryBIO
    above: Receiver = attrs.field(init=False)
    _is_secure: bool = attrs.field(default=False, init=False)
    _is_over: bool = attrs.field(default=False, init=False)
    _unsent: list[bytes] = attrs.field(factory=list, init=False)

    @classmethod
    def over(
        cls,
        transport: Wire,
        context: ssl.SSLContext,
        on_failure: Callable[[str], None],
        host: str | None = None,
    ) -> "TlsStream":
        """Return a stream over a transport, which has to be told of it.

        Args:
            transport: What carries it.
            context: Certificates and rules.
            on_failure: See the class.
            host: Name or address of the server; `None` for the server's side.
        """
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(
            incoming, outgoing, server_side=host is None, server_hostname=host
        )
        return cls(on_failure, transport, tls, incoming, outgoing)

    def begin(self) -> None:
        """Send what opens the handshake, as the client does."""
        self._advance()

    def data_received(self, data: bytes) -> None:
        """Decrypt what arrived and hand it on."""
        if not self._is_over:
            self._incoming.write(data)
            self._advance()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand it on."""
        self._is_over = True
        self.above.connection_lost(exc)

    def write(self, data: bytes, /) -> None:
        """Encrypt and send bytes; before the handshake is done, keep them."""
        if not self._is_secure:
            self._unsent.append(data)
        elif not self._is_over:
            self._encrypt(data)
            self._flush()

    def is_closing(self) -> bool:
        """Whether it is closed or will be."""
        return self._transport.is_closing()

    def abort(self) -> None:
        """Close it at once."""
        self._is_over = True
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not sent yet."""
        return self._transport.get_write_buffer_size()

    def get_extra_info(self, name: str, /) -> Any:
        """Return what asyncio knows of the connection."""
        return self._transport.get_extra_info(name)

    def _advance(self) -> None:
        try:
            if not self._is_secure:
                self._tls.do_handshake()
                self._is_secure = True
                for data in self._unsent:
                    self._encrypt(data)
                self._unsent.clear()
            while not self._is_over and not self._transport.is_closing():
                data = self._tls.read(_CHUNK)
                if not data:
                    self._fail("the other side ended it")
                    return
                self.above.data_received(data)
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._fail(reason_of_tls(error))

    def _fail(self, reason: str) -> None:
        self._is_over = True
        self._flush()  # the alert that tells the other side
        self.on_failure(reason)

    def _encrypt(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and not self._transport.is_closing():
            self._transport.write(data)
