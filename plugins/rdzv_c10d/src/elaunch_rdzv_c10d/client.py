"""A blocking TCPStore client for workers. Standard library only.

It shows a worker without torch the same keys that torch's own client would: each key
goes over the wire with ``/`` before it.
"""

import contextlib
import os
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Self

from elaunch_rdzv_c10d.wire import (
    I64,
    MAX_KEY,
    MAX_KEYS,
    MAX_VALUE,
    READY,
    STOP_WAITING,
    U32,
    U64,
    WAIT_CANCELED,
    Op,
    blob,
    blobs,
    counted,
    hello,
)


_PREFIX = b"/"
_ACK_TIMEOUT = 10.0  # seconds the server may take to confirm the end of a wait
_CONNECT_TIMEOUT = 10.0  # seconds before another try is better
_CHUNK = 1024 * 1024
_MAX_PORT = 65_535
_NAMED = 8  # keys that a message looks for


class StoreError(ConnectionError):
    """The connection to the store is gone, or the store sent nonsense."""


class StoreTimeout(TimeoutError):
    """The store, or what was waited for in it, did not come in time."""


class Store:
    """A connection to the store of a generation's workers.

    Usable from several threads, which take turns: a wait of one holds up the others.
    After a `StoreError` it stays broken, because nobody knows what the server did with
    the last request.

    Args:
        host: Name or address of the store's host.
        port: Its port.
        timeout: Seconds to try to connect, and seconds any operation may take.

    Raises:
        StoreTimeout: If nobody answers within ``timeout``.
    """

    def __init__(self, host: str, port: int, timeout: float = 300.0) -> None:
        self.host = host
        self.port = port
        self.timeout = timeout
        self._lock = threading.Lock()
        self._socket: socket.socket | None = self._connect()

    @classmethod
    def from_env(cls, timeout: float = 300.0) -> "Store":
        """Connect to the store that ``MASTER_ADDR`` and ``MASTER_PORT`` name.

        Raises:
            ValueError: If one of them is missing or no port.
            StoreTimeout: If nobody answers within ``timeout``.
        """
        host = os.environ.get("MASTER_ADDR", "")
        port = os.environ.get("MASTER_PORT", "")
        if not host or not port.isdecimal() or int(port) > _MAX_PORT:
            raise ValueError(
                f"MASTER_ADDR={host!r} and MASTER_PORT={port!r} name no store; "
                "does this process run under 'elaunch run'?"
            )
        return cls(host, int(port), timeout)

    def set(self, key: str, value: bytes | str) -> None:
        """Write a key. Nothing is answered: a later operation shows a lost server."""
        self._ask(Op.SET, blob(_key(key)) + blob(_value(value)))

    def get(self, key: str, timeout: float | None = None) -> bytes:
        """Wait until a key is there and return its value.

        Raises:
            StoreTimeout: If it is not there within ``timeout`` seconds.
        """
        self.wait([key], timeout)
        return self._ask_blobs(Op.GET, blob(_key(key)), 1)[0]

    def add(self, key: str, amount: int) -> int:
        """Add to the number in a key, 0 if it is missing; return the sum."""
        return self._ask_number(Op.ADD, blob(_key(key)) + I64.pack(amount))

    def check(self, keys: Iterable[str]) -> bool:
        """Return whether all keys are there."""
        return self._ask(Op.CHECK, _keys(keys), 1) == READY

    def wait(self, keys: Iterable[str], timeout: float | None = None) -> None:
        """Wait until all keys are there.

        Args:
            keys: The keys.
            timeout: Seconds; 0 looks only once, `None` takes the store's.

        Raises:
            StoreTimeout: If they are not; names those that are missing.
        """
        names = list(keys)
        limit = self.timeout if timeout is None else timeout
        if limit <= 0:
            if self.check(names):
                return
        elif self._wait(_keys(names), limit):
            return
        missing = [name for name in names[:_NAMED] if not self.check([name])]
        if not missing and self.check(names):
            return  # the last of them came while we looked
        shown = ", ".join(map(repr, missing)) or f"one of {len(names)} keys"
        raise StoreTimeout(
            f"after {limit:g} s nobody has set {shown} in the store at "
            f"{self.host}:{self.port}; has a rank failed?"
        )

    def compare_set(
        self, key: str, expected: bytes | str, desired: bytes | str
    ) -> bytes:
        """Write a key if it holds ``expected``; nothing stands for a missing key.

        Returns:
            What the key holds now; ``expected`` if it is missing and was not written.
        """
        arguments = blobs([_key(key), _value(expected), _value(desired)])
        return self._ask_blobs(Op.COMPARE_SET, arguments, 1)[0]

    def append(self, key: str, value: bytes | str) -> None:
        """Write a key that is missing, or lengthen its value."""
        self._ask(Op.APPEND, blob(_key(key)) + blob(_value(value)))

    def delete_key(self, key: str) -> bool:
        """Delete a key; return whether it was there."""
        return self._ask_number(Op.DELETE_KEY, blob(_key(key))) > 0

    def num_keys(self) -> int:
        """Return how many keys the store holds."""
        return self._ask_number(Op.GETNUMKEYS, b"")

    def multi_get(
        self, keys: Iterable[str], timeout: float | None = None
    ) -> list[bytes]:
        """Wait until all keys are there and return their values in order.

        Raises:
            StoreTimeout: If they are not there within ``timeout`` seconds.
        """
        names = list(keys)
        self.wait(names, timeout)
        return self._ask_blobs(Op.MULTI_GET, _keys(names), len(names))

    def multi_set(self, items: Mapping[str, bytes | str]) -> None:
        """Write several keys at once."""
        _check_count(len(items))
        pairs = [p for k, v in items.items() for p in (_key(k), _value(v))]
        self._ask(Op.MULTI_SET, U64.pack(len(items)) + blobs(pairs))

    def ping(self) -> None:
        """Make sure that the server answers.

        Raises:
            StoreError: If it does not.
        """
        nonce = U32.pack(random.getrandbits(32))
        with self._turn() as connection:
            _send(connection, Op.PING, nonce)
            _expect(connection, nonce, self._until())

    def close(self) -> None:
        """Close the connection. Twice is fine."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _connect(self) -> socket.socket:
        until = self._until()
        delay = 0.05
        while True:
            try:
                return self._dial(until)
            except OSError as error:
                if time.monotonic() + delay >= until:
                    raise StoreTimeout(
                        f"the store at {self.host}:{self.port} could not be reached "
                        f"for {self.timeout:g} s: {error}"
                    ) from error
            # Random, so that all workers of a node don't come back in one moment.
            time.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
            delay = min(delay * 2, 1.0)

    def _dial(self, until: float) -> socket.socket:
        limit = min(_left(until), _CONNECT_TIMEOUT)
        connection = socket.create_connection((self.host, self.port), limit)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            nonce = random.getrandbits(32)
            connection.sendall(hello(nonce))
            _expect(connection, U32.pack(nonce), until)
        except BaseException:
            connection.close()
            raise
        return connection

    @contextlib.contextmanager
    def _turn(self) -> Iterator[socket.socket]:
        """Have the connection for one request and its reply."""
        with self._lock:
            where = f"the store at {self.host}:{self.port}"
            if self._socket is None:
                raise StoreError(f"the connection to {where} is closed")
            self._socket.settimeout(self.timeout)
            try:
                yield self._socket
            except BaseException as error:
                # Whatever it was: an answer may still be on its way, and would be
                # taken for that of the next request.
                self.close()
                if isinstance(error, TimeoutError):
                    raise StoreTimeout(f"{where} does not answer") from None
                if isinstance(error, OSError):
                    raise StoreError(f"lost {where}: {error}") from error
                raise

    def _until(self) -> float:
        return time.monotonic() + self.timeout

    def _ask(self, op: Op, arguments: bytes, size: int = 0) -> bytes:
        with self._turn() as connection:
            _send(connection, op, arguments)
            return _read(connection, size, self._until())

    def _ask_number(self, op: Op, arguments: bytes) -> int:
        number: int = I64.unpack(self._ask(op, arguments, I64.size))[0]
        return number

    def _ask_blobs(self, op: Op, arguments: bytes, count: int) -> list[bytes]:
        found = []
        with self._turn() as connection:
            _send(connection, op, arguments)
            until = self._until()
            for _ in range(count):
                (length,) = U64.unpack(_read(connection, U64.size, until))
                found.append(_read(connection, length, until))
        return found

    def _wait(self, keys: bytes, timeout: float) -> bool:
        """Wait for keys; return whether they came."""
        with self._turn() as connection:
            _send(connection, Op.WAIT, keys)
            try:
                reply = _read(connection, 1, time.monotonic() + timeout)
            except TimeoutError:
                _send(connection, Op.CANCEL_WAIT, b"")
                until = time.monotonic() + _ACK_TIMEOUT
                reply = _read(connection, 1, until)
                if reply == WAIT_CANCELED:
                    return False
                # The keys came just before the server read our cancellation, whose
                # confirmation follows.
                _expect(connection, WAIT_CANCELED, until)
            if reply != STOP_WAITING:
                raise ConnectionError(f"it answers a wait with {reply!r}")
        return True


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no answer in time")
    return left


def _send(connection: socket.socket, op: Op, arguments: bytes) -> None:
    # In one piece: torch's older server serves nobody else while half a request is in.
    connection.sendall(bytes((op,)) + arguments)


def _read(connection: socket.socket, size: int, until: float) -> bytes:
    parts = []
    while size:
        connection.settimeout(_left(until))
        part = connection.recv(min(size, _CHUNK))
        if not part:
            raise ConnectionError("it closed the connection")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _expect(connection: socket.socket, reply: bytes, until: float) -> None:
    found = _read(connection, len(reply), until)
    if found != reply:
        raise ConnectionError(f"it answers {found!r} instead of {reply!r}")


def _key(key: str) -> bytes:
    encoded = _PREFIX + key.encode()
    if len(encoded) > MAX_KEY:
        raise ValueError(f"a key of {len(encoded)} bytes; the limit is {MAX_KEY}")
    return encoded


def _value(value: bytes | str) -> bytes:
    encoded = value.encode() if isinstance(value, str) else value
    if len(encoded) > MAX_VALUE:
        raise ValueError(f"a value of {len(encoded)} bytes; the limit is {MAX_VALUE}")
    return encoded


def _keys(keys: Iterable[str]) -> bytes:
    encoded = [_key(key) for key in keys]
    _check_count(len(encoded))
    return counted(encoded)


def _check_count(count: int) -> None:
    if count > MAX_KEYS:
        raise ValueError(f"{count} keys at once; the limit is {MAX_KEYS}")
