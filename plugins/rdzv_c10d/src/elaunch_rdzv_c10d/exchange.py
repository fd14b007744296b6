"""Requests and replies on one socket, with a deadline on every byte. Blocking.

The socket itself never blocks: only `Exchange` decides how long something may take.
"""

import contextlib
import select
import socket
import time

from elaunch_rdzv_c10d.wire import I64, U64, Op


_AHEAD = 64 * 1024  # bytes read at once, so that a reply of many parts costs few reads
_CHUNK = 1024 * 1024  # more of them, where more are known to come
_LARGEST = 1 << 30  # bytes of a value; `append` may have made it longer than MAX_VALUE
_SHOWN = 20  # bytes of what nobody asked for
_LONGEST_POLL = 3600.0  # seconds; a poll can't be told to take for ever


class Exchange:
    """The two directions of a connection.

    Attributes:
        until: When, on the monotonic clock, what is under way is too late.
    """

    def __init__(self, connection: socket.socket, until: float) -> None:
        connection.settimeout(0)
        self.until = until
        self._socket = connection
        self._data = b""
        self._at = 0
        self._readable = select.poll()
        self._readable.register(connection, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(connection, select.POLLOUT)

    def send(self, request: bytes) -> None:
        """Send one request in one piece, as far as the system takes it.

        torch's older server serves nobody else while half a request is in.

        Raises:
            TimeoutError: If the peer takes it not in time.
            OSError: If the connection is broken.
        """
        rest = memoryview(request)
        while rest:
            try:
                rest = rest[self._socket.send(rest) :]
            except BlockingIOError:
                self._poll(self._writable)

    def request(self, op: Op, arguments: bytes = b"") -> None:
        """Send a request, unless the connection shows already that it is of no use.

        Raises:
            ConnectionError: If the peer has closed it, or has said what nobody asked.
        """
        self.expect_silence()
        self.send(bytes((op,)) + arguments)

    def expect_silence(self) -> None:
        """Make sure that nothing is left of the last reply.

        Raises:
            ConnectionError: If there is, or the peer has closed the connection.
        """
        unasked = self._data[self._at :]
        if not unasked:
            try:
                unasked = self._receive(_SHOWN)
            except BlockingIOError:
                return
        raise ConnectionError(f"it sent {unasked[:_SHOWN]!r}, which nobody asked for")

    def read(self, size: int) -> bytes:
        """Read so many bytes.

        Raises:
            TimeoutError: If they don't come in time.
            ConnectionError: If the peer closes the connection before.
        """
        end = self._at + size
        if end > len(self._data):
            self._fill(size)
            end = size
        found = self._data[self._at : end]
        if end == len(self._data):
            self._data = b""  # it may have been large
            end = 0
        self._at = end
        return found

    def read_number(self) -> int:
        """Read a signed number."""
        number: int = I64.unpack(self.read(I64.size))[0]
        return number

    def read_blob(self) -> bytes:
        """Read a length and as many bytes."""
        (length,) = U64.unpack(self.read(U64.size))
        if length > _LARGEST:
            raise ConnectionError(f"it announces a value of {length} bytes")
        return self.read(length)

    def expect(self, *replies: bytes) -> bytes:
        """Read one of these, which are of one size.

        Raises:
            ConnectionError: If something else comes.
        """
        found = self.read(len(replies[0]))
        if found not in replies:
            known = " or ".join(map(repr, replies))
            raise ConnectionError(f"it answers {found!r} instead of {known}")
        return found

    def hang_up(self) -> None:
        """End both directions, which wakes who waits for one of them."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the socket up. What another process has of it goes on."""
        self._socket.close()

    def _fill(self, size: int) -> None:
        parts = [self._data[self._at :]]
        missing = size - len(parts[0])
        while missing > 0:
            self._poll(self._readable)
            try:
                part = self._receive(max(min(missing, _CHUNK), _AHEAD))
            except BlockingIOError:
                continue  # the poll was wrong
            parts.append(part)
            missing -= len(part)
        self._data = b"".join(parts)
        self._at = 0

    def _receive(self, size: int) -> bytes:
        part = self._socket.recv(size)
        if not part:
            raise ConnectionError("it closed the connection")
        return part

    def _poll(self, poll: select.poll) -> None:
        left = self.until - time.monotonic()
        while left > 0:
            if poll.poll(min(left, _LONGEST_POLL) * 1000):
                return
            left = self.until - time.monotonic()
        raise TimeoutError("no answer in time")
