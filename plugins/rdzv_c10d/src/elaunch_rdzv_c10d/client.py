"""A blocking TCPStore client for workers. Standard library only.

It shows a worker without torch the same keys that torch's own client would.
"""

import math
import os
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from elaunch_rdzv_c10d.arguments import (
    key_blob,
    key_list,
    number,
    pair_list,
    value_blob,
    visible,
)
from elaunch_rdzv_c10d.channel import Channel, StoreError, StoreTimeout
from elaunch_rdzv_c10d.wire import (
    NOT_READY,
    READY,
    STOP_WAITING,
    U32,
    WAIT_CANCELED,
    Op,
)


TYPE_CHECKING = False  # as in __init__
if TYPE_CHECKING:
    from typing import Self

__all__ = ["QueueEmpty", "Store", "StoreError", "StoreTimeout"]

_ACK_TIMEOUT = 10.0  # seconds the server may take to confirm the end of a wait
_LOOK_AGAIN = 5.0  # seconds: a push wakes one waiter, which may die before it pops
_LOST_RACE = 0.001  # seconds before waiting again; doubles up to the longest
_LONGEST_LOST_RACE = 0.05
_MAX_LISTED = 1 << 24  # keys of a store
_MAX_PORT = 65_535
_NAMED = 8  # keys that a message looks for

_QUEUES = "; if torch hosts it: queues need torch 2.8 and not use_libuv=False"
_LISTING = "; if torch hosts it: list_keys needs torch 2.10"


class QueueEmpty(LookupError):
    """There is nothing in a queue, and nobody wants to wait for it."""


class Store:
    """A connection to the store of a generation's workers.

    Usable from several threads, which take turns: a wait of one holds up the others, so
    one that waits for another thread's work needs a `clone`. A process that is forked
    off can't use its parent's, but clone it.

    After a `StoreError`, and after a `StoreTimeout` that says that the store does not
    answer, it stays closed: nobody knows what the server did with the last request.

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
        self._channel = Channel(host, port, timeout)
        self._doubt = _QUEUES  # nothing when the server has shown that it has them
        self._waited_for_queue = False

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

    def clone(self) -> "Store":
        """Return another connection to the same store, for a thread or a child."""
        return Store(self.host, self.port, self.timeout)

    def set(self, key: str, value: bytes | str) -> None:
        """Write a key. Nothing is answered: a later operation shows a lost server."""
        self._tell(Op.SET, key_blob(key) + value_blob(value))

    def get(self, key: str, timeout: float | None = None) -> bytes:
        """Wait until a key is there and return its value.

        Raises:
            StoreTimeout: If it is not there within ``timeout`` seconds.
        """
        self.wait([key], timeout)
        return self._ask_blobs(Op.GET, key_blob(key), 1)[0]

    def add(self, key: str, amount: int) -> int:
        """Add to the number in a key, 0 if it is missing; return the sum."""
        return self._ask_number(Op.ADD, key_blob(key) + number(amount))

    def check(self, keys: Iterable[str]) -> bool:
        """Return whether all keys are there."""
        arguments = key_list(keys)
        with self._channel.turn(self.timeout) as exchange:
            exchange.request(Op.CHECK, arguments)
            return exchange.expect(READY, NOT_READY) == READY

    def wait(self, keys: Iterable[str], timeout: float | None = None) -> None:
        """Wait until all keys are there.

        Args:
            keys: The keys.
            timeout: Seconds; 0 looks only once, `None` takes the store's.

        Raises:
            StoreTimeout: If they are not; names those that are missing.
        """
        names = list(keys)
        limit = self._limit(timeout)
        if self._came(names, limit):
            return
        missing = [name for name in names[:_NAMED] if not self.check([name])]
        if not missing and self.check(names):
            return  # the last of them came while we looked
        shown = ", ".join(map(repr, missing)) or f"one of {len(names)} keys"
        raise StoreTimeout(
            f"after {limit:g} s nobody has set {shown} in {self._channel.where}; "
            "has a rank failed?"
        )

    def compare_set(
        self, key: str, expected: bytes | str, desired: bytes | str
    ) -> bytes:
        """Write a key if it holds ``expected``; nothing stands for a missing key.

        Returns:
            What the key holds now; ``expected`` if it is missing and was not written.
        """
        arguments = key_blob(key) + value_blob(expected) + value_blob(desired)
        return self._ask_blobs(Op.COMPARE_SET, arguments, 1)[0]

    def append(self, key: str, value: bytes | str) -> None:
        """Write a key that is missing, or lengthen its value."""
        self._tell(Op.APPEND, key_blob(key) + value_blob(value))

    def delete_key(self, key: str) -> bool:
        """Delete a key; return whether it was there."""
        return self._ask_number(Op.DELETE_KEY, key_blob(key)) > 0

    def num_keys(self) -> int:
        """Return how many keys the store holds."""
        return self._ask_number(Op.GETNUMKEYS)

    def list_keys(self) -> list[str]:
        """Return the keys that the store holds, in no order.

        Not every server has this: ours has, and torch's since 2.10.
        """
        with self._channel.turn(self.timeout, _LISTING) as exchange:
            exchange.request(Op.LIST_KEYS)
            count = exchange.read_number()
            if not 0 <= count <= _MAX_LISTED:
                raise ConnectionError(f"it announces {count} keys")
            found = [exchange.read_blob() for _ in range(count)]
        return visible(found)

    def multi_get(
        self, keys: Iterable[str], timeout: float | None = None
    ) -> list[bytes]:
        """Wait until all keys are there and return their values in order.

        Raises:
            StoreTimeout: If they are not there within ``timeout`` seconds.
        """
        names = list(keys)
        self.wait(names, timeout)
        return self._ask_blobs(Op.MULTI_GET, key_list(names), len(names))

    def multi_set(self, items: Mapping[str, bytes | str]) -> None:
        """Write several keys at once."""
        self._tell(Op.MULTI_SET, pair_list(items))

    def barrier(self, key: str, world_size: int, timeout: float | None = None) -> None:
        """Wait until so many have come here. Each key is good for one time.

        It meets those in ``PrefixStore(prefix, store).barrier(name, world_size)`` of
        torch if ``key`` is ``prefix/name``, but not those in its ``TCPStore.barrier``.

        Raises:
            StoreTimeout: If they have not within ``timeout`` seconds. Who has come is
                counted all the same, and does not come a second time.
        """
        if world_size < 1:
            raise ValueError(f"a barrier for {world_size}; at least one must come")
        arrived, complete = f"{key}/num_members", f"{key}/last_member"
        # At least: the last may have died between the two.
        if self.add(arrived, 1) >= world_size:
            self.set(complete, b"1")
        limit = self._limit(timeout)
        if self._came([complete], limit) or self.check([complete]):
            return
        raise StoreTimeout(
            f"after {limit:g} s {self.add(arrived, 0)} of {world_size} have come to "
            f"the barrier {key!r} in {self._channel.where}; has a rank failed?"
        )

    def queue_push(self, key: str, value: bytes | str) -> None:
        """Put a value at the end of a queue. Nothing is answered, as with `set`.

        Not every server has queues: ours has, and torch's since 2.8, but not with
        ``use_libuv=False``. The first of these operations finds out.
        """
        arguments = key_blob(key) + value_blob(value)
        if self._doubt:
            self.queue_len(key)
        self._tell(Op.QUEUE_PUSH, arguments)

    def queue_pop(
        self,
        key: str,
        block: bool = True,  # noqa: FBT001, FBT002 - as torch's
        timeout: float | None = None,
    ) -> bytes:
        """Take the value at the head of a queue, which nobody else gets then.

        Args:
            key: The queue's name. A queue and a key of one name are two things, but a
                wait for the queue also ends when the key is there: don't share names.
            block: Whether to wait for a value.
            timeout: Seconds to wait; `None` takes the store's.

        Raises:
            QueueEmpty: If there is none and we don't wait.
            StoreTimeout: If none has come within ``timeout`` seconds.
        """
        limit = self._limit(timeout)
        until = time.monotonic() + limit
        keys = key_list([key])
        pause = 0.0
        while True:
            value = self._pop(key)
            if value is not None:
                return value
            if not block:
                raise QueueEmpty(f"queue {key!r} in {self._channel.where} is empty")
            left = until - time.monotonic()
            if left <= 0:
                raise StoreTimeout(
                    f"after {limit:g} s there is nothing to take from the queue "
                    f"{key!r} in {self._channel.where}"
                )
            time.sleep(min(pause, left))
            self._waited_for_queue = True
            if self._wait(keys, left, _LOOK_AGAIN):
                # If another is faster again, he may be so many times.
                pause = min(pause * 2 or _LOST_RACE, _LONGEST_LOST_RACE)
            else:
                pause = 0.0

    def queue_len(self, key: str) -> int:
        """Return how many values are in a queue."""
        length = self._ask_number(Op.QUEUE_LEN, key_blob(key), self._doubt)
        self._doubt = ""
        return length

    def ping(self) -> None:
        """Make sure that the server answers.

        Raises:
            StoreError: If it does not.
        """
        nonce = os.urandom(U32.size)
        with self._channel.turn(self.timeout) as exchange:
            exchange.request(Op.PING, nonce)
            exchange.expect(nonce)

    def close(self) -> None:
        """Close the connection. Twice is fine; another thread's wait ends."""
        self._channel.close()

    def __enter__(self) -> "Self":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _limit(self, timeout: float | None) -> float:
        return self.timeout if timeout is None else timeout

    def _tell(self, op: Op, arguments: bytes) -> None:
        with self._channel.turn(self.timeout) as exchange:
            exchange.request(op, arguments)

    def _ask_number(self, op: Op, arguments: bytes = b"", needs: str = "") -> int:
        with self._channel.turn(self.timeout, needs) as exchange:
            exchange.request(op, arguments)
            return exchange.read_number()

    def _ask_blobs(self, op: Op, arguments: bytes, count: int) -> list[bytes]:
        with self._channel.turn(self.timeout) as exchange:
            exchange.request(op, arguments)
            return [exchange.read_blob() for _ in range(count)]

    def _pop(self, key: str) -> bytes | None:
        with self._channel.turn(self.timeout, self._doubt) as exchange:
            exchange.request(Op.QUEUE_POP, key_blob(key))
            length = exchange.read_number()
            if length < 0:
                raise ConnectionError(f"it announces a queue of {length} values")
            self._doubt = ""
            return exchange.read_blob() if length else None

    def _came(self, names: list[str], limit: float) -> bool:
        """Wait for keys; return whether they came."""
        if limit <= 0:
            return self.check(names)
        until = time.monotonic() + limit
        keys = key_list(names)
        while self._wait(keys, until - time.monotonic()):
            # A wait for a queue that has ended makes torch's server end a later one too
            # when something else is pushed to the queue.
            if not self._waited_for_queue or self.check(names):
                return True
        return False

    def _wait(self, keys: bytes, limit: float, at_most: float = math.inf) -> bool:
        """Wait once, ``at_most`` so long when it is our turn; return what for."""
        with self._channel.turn(limit) as exchange:
            exchange.until = min(exchange.until, time.monotonic() + at_most)
            exchange.request(Op.WAIT, keys)
            try:
                exchange.expect(STOP_WAITING)
            except TimeoutError:
                limit = min(self.timeout, _ACK_TIMEOUT)
                exchange.until = time.monotonic() + limit
                exchange.send(bytes((Op.CANCEL_WAIT,)))
                if exchange.expect(WAIT_CANCELED, STOP_WAITING) == WAIT_CANCELED:
                    return False
                # The keys came just before the server read our cancellation, whose
                # confirmation follows.
                exchange.expect(WAIT_CANCELED)
        return True
