"""One side of a byte stream over the simulated network: what asyncio calls a transport.

What TCP promises holds, and no more: the bytes come in order, cut and merged anywhere;
a close comes after them; a reset loses what is under way.
"""

import asyncio
import errno
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from elaunch.testing.simulation.network import End


Address = tuple[str, int]
"""Host and port."""

_CUT = 0.3
"""How likely it is that what is sent together is cut, and cut again."""

_LINGER = 0.001
"""Most seconds that a system keeps bytes back to send them with more."""


@attrs.frozen
class SimulatedSocket:
    """Stands for a socket where a name is all that is needed of it.

    Attributes:
        address: Its own address.
        peer: The other side's, if it is connected.
    """

    address: Address
    peer: Address | None = None

    def getsockname(self) -> Address:
        """Return its own address."""
        return self.address

    def getpeername(self) -> Address:
        """Return the other side's address.

        Raises:
            OSError: If there is no other side.
        """
        if self.peer is None:
            raise OSError(errno.ENOTCONN, "the socket is not connected")
        return self.peer

    def setsockopt(self, *option: object) -> None:
        """Accept any option; none makes a difference here."""

    def listen(self, backlog: int = 0) -> None:
        """Accept any length of the queue; it has no limit here."""

    def fileno(self) -> int:
        """Return -1, as of a socket that is closed: the system knows nothing of it."""
        return -1

    def close(self) -> None:
        """Do nothing: there is nothing to give back."""


class SimulatedTransport(asyncio.Transport):
    """One side of a stream.

    Args:
        end: Its connection of the network.
        socket: What stands for its socket.
    """

    def __init__(self, end: End, socket: SimulatedSocket) -> None:
        super().__init__(
            {"socket": socket, "sockname": socket.address, "peername": socket.peer}
        )
        self.end = end
        self._network = end.network
        self._loop = end.network.loop
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._unsent = bytearray()
        self._unread: deque[bytes] = deque()
        self._reading = True
        self._closing = False
        self._ended = False

    def open(self, protocol: asyncio.BaseProtocol) -> None:
        """Begin to serve a protocol."""
        self._protocol = protocol
        self.end.on_message, self.end.on_lost = self._arrived, self._lost
        protocol.connection_made(self)

    # -- what protocols call -----------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what comes from now on to another protocol."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol that is served."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether it is closed or will be."""
        return self._closing

    def is_reading(self) -> bool:
        """Whether what arrives is delivered."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Keep what arrives."""
        self._reading = False

    def resume_reading(self) -> None:
        """Deliver what was kept, and what arrives."""
        self._reading = True
        self._soon(self._read)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes, now or a moment later together with more."""
        if self._closing or not data:
            return
        waiting = bool(self._unsent)
        self._unsent += data
        if waiting:
            return
        if self._network.random.random() < 0.5:
            self._transmit()
        else:
            # The system sends it, even if the process stands still by then.
            linger = self._network.random.uniform(0, _LINGER)
            self._loop.arrive(linger, self._loop.root, self._transmit)

    def writelines(
        self, list_of_data: Iterable[bytes | bytearray | memoryview]
    ) -> None:
        """Send them all."""
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        """Return how many bytes have not been handed to the network."""
        return len(self._unsent)

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Accept any limits: the network takes what it is given."""

    def can_write_eof(self) -> bool:
        """Return that a stream can't be closed by half."""
        return False

    def close(self) -> None:
        """Send what was written, then end the stream."""
        self._transmit()
        self._finish(None)

    def abort(self) -> None:
        """End the stream; what has not been sent yet is lost."""
        self._unsent.clear()
        self._finish(None)

    # -- what the network calls --------------------------------------------------

    def _transmit(self) -> None:
        """Hand the unsent bytes to the network, cut somewhere."""
        data, self._unsent = bytes(self._unsent), bytearray()
        draw = self._network.random
        cuts = {0, len(data)}
        while len(data) > 1 and draw.random() < _CUT:
            cuts.add(draw.randrange(1, len(data)))
        for begin, end in itertools.pairwise(sorted(cuts)):
            self.end.send(data[begin:end])

    def _arrived(self, data: bytes) -> None:
        self._unread.append(data)
        self._read()

    def _read(self) -> None:
        while self._unread and self.is_reading():
            self._deliver(self._unread.popleft())
        if self._ended and self.is_reading():
            receiver = self._protocol
            if isinstance(receiver, asyncio.Protocol | asyncio.BufferedProtocol):
                receiver.eof_received()
            self._finish(None)

    def _deliver(self, data: bytes) -> None:
        receiver = self._protocol
        if isinstance(receiver, asyncio.BufferedProtocol):
            buffer = memoryview(receiver.get_buffer(len(data)))
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            if data[size:]:
                self._unread.appendleft(data[size:])
            receiver.buffer_updated(size)
        elif isinstance(receiver, asyncio.Protocol):
            receiver.data_received(data)

    def _lost(self, reason: str) -> None:
        if self.end.ended:
            self._ended = True
            self._read()
        else:
            self._finish(ConnectionResetError(errno.ECONNRESET, reason))

    def _finish(self, error: Exception | None) -> None:
        if not self._closing:
            self._closing = True
            self._unread.clear()
            self._unsent.clear()
            self.end.close()
            self._soon(self._protocol_lost, error)

    def _protocol_lost(self, error: Exception | None) -> None:
        self._protocol.connection_lost(error)

    def _soon(self, callback: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon(callback, *args, context=self.end.process.context)
