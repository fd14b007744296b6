"""What a TCPStore server remembers: keys, queues and who waits for which. No I/O."""

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from elaunch_rdzv_c10d.budget import Budget, cost_of


class NotANumberError(Exception):
    """A key that should be counted holds something else."""


_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?)0*([0-9]+)")
_DIGITS = 19  # of the largest 64-bit number
_LIMIT = 1 << 63
_WRAP = 1 << 64

_ENTRY = 150
"""Bytes that a key or an item costs beside those it consists of, about."""


def to_number(value: bytes) -> int:
    """Return the number at the start of ``value``, read as C's ``strtoll`` reads it.

    Leading blanks and a sign are allowed, what follows the digits is ignored.

    Raises:
        NotANumberError: If there is no digit, or the number needs more than 64 bits.
    """
    if value.isdigit() and len(value) < _DIGITS:
        return int(value)
    found = _NUMBER.match(value)
    if found is None:
        raise NotANumberError(f"{value[:40]!r} is not a number")
    sign, digits = found.groups()
    number = int(sign + digits) if len(digits) <= _DIGITS else _LIMIT
    if not -_LIMIT <= number < _LIMIT:
        raise NotANumberError(f"{value[:40]!r} does not fit in 64 bits")
    return number


@attrs.define(eq=False, repr=False)
class Wait:
    """One connection's wait for keys.

    A set of keys and not a count: a key named twice, or one that appears again, can't
    end the wait too early.

    Attributes:
        missing: Keys that have not appeared since the wait began.
        wake: Called once, when the last of them has.
        queue: The queue that an item of woke it, if one did.
        forgotten: Whether nobody waits any more.
    """

    missing: set[bytes]
    wake: Callable[[], None]
    queue: bytes | None = None
    forgotten: bool = False

    @property
    def cost(self) -> int:
        """Bytes that it takes, about."""
        return cost_of(self.missing, _ENTRY)


@attrs.define(eq=False, repr=False)
class KeyTable:
    """Keys, queues and pending waits of one TCPStore.

    A queue has a name space of its own: only waits and `has_all` look at both.

    Attributes:
        budget: What keys and items are counted against.
    """

    budget: Budget = attrs.field(factory=Budget)
    _values: dict[bytes, bytes] = attrs.field(factory=dict, init=False)
    # Only queues that are not empty.
    _queues: dict[bytes, deque[bytes]] = attrs.field(factory=dict, init=False)
    # A dict without values is a set that remembers who came first.
    _waits: dict[bytes, dict[Wait, None]] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[bytes]:
        """Return all keys; queues are not among them."""
        return list(self._values)

    def get(self, key: bytes) -> bytes:
        """Return the value of a key; of a missing one, nothing."""
        return self._values.get(key, b"")

    def has_all(self, keys: Iterable[bytes]) -> bool:
        """Return whether every key is present, or names a queue that is not empty."""
        values = self._values
        queues = self._queues
        return all(key in values or key in queues for key in keys)

    def set(self, key: bytes, value: bytes) -> None:
        """Write a key.

        Raises:
            StoreFullError: If there is no room. Nothing is changed.
        """
        self._store(key, value)
        if key in self._waits:
            self._appeared(key)

    def set_all(self, values: Mapping[bytes, bytes]) -> None:
        """Write several keys.

        Raises:
            StoreFullError: If there is no room for all. Nothing is changed.
        """
        self.budget.store(sum(self._growth(key, values[key]) for key in values))
        self._values.update(values)
        for key in values:
            if key in self._waits:
                self._appeared(key)

    def append(self, key: bytes, value: bytes) -> None:
        """Write a key that is missing, or lengthen the one that is there.

        Raises:
            StoreFullError: If there is no room. Nothing is changed.
        """
        self.set(key, self._values.get(key, b"") + value)

    def add(self, key: bytes, delta: int) -> int:
        """Add to the decimal number in a key, 0 if it is missing; return the sum.

        The sum wraps around at 64 bits, as in C.

        Raises:
            NotANumberError: If the key holds something else. Nothing is changed.
            StoreFullError: If there is no room. Nothing is changed.
        """
        old = self._values.get(key)
        total = delta if old is None else _counted(key, old) + delta
        if not -_LIMIT <= total < _LIMIT:
            total = (total + _LIMIT) % _WRAP - _LIMIT
        new = b"%d" % total
        if old is not None and len(new) == len(old):
            self._values[key] = new  # the usual case, and the budget stays as it is
        else:
            self._store(key, new)
        if key in self._waits:
            self._appeared(key)
        return total

    def compare_set(self, key: bytes, expected: bytes, desired: bytes) -> bytes:
        """Write a key if it holds ``expected``; an empty one means that it is missing.

        Returns:
            What the key holds now, or ``expected`` if the key is missing and was not
            written. The caller can't tell that from success: so it is with torch.

        Raises:
            StoreFullError: If there is no room. Nothing is changed.
        """
        present = self._values.get(key)
        if present is None and expected:
            return expected
        if present is None or present == expected:
            self.set(key, desired)
            return desired
        return present

    def delete(self, key: bytes) -> bool:
        """Delete a key; return whether it was there. Nobody's wait is disturbed."""
        value = self._values.pop(key, None)
        if value is None:
            return False
        self.budget.store(-len(key) - len(value) - _ENTRY)
        return True

    def push(self, key: bytes, item: bytes) -> None:
        """Put an item at the end of a queue and wake the first who waits for it.

        Raises:
            StoreFullError: If there is no room. Nothing is changed.
        """
        queue = self._queues.get(key)
        self.budget.store(len(item) + _ENTRY + (len(key) if queue is None else 0))
        if queue is None:
            queue = self._queues[key] = deque()
        queue.append(item)
        self._call_next(key)

    def pop(self, key: bytes) -> bytes | None:
        """Take the first item of a queue, or nothing."""
        queue = self._queues.get(key)
        if queue is None:
            return None
        item = queue.popleft()
        if not queue:
            del self._queues[key]
        self.budget.store(-len(item) - _ENTRY - (0 if queue else len(key)))
        return item

    def pass_on(self, wait: Wait) -> None:
        """Wake the next who waits for a queue, if this one has left the item to it."""
        if wait.queue in self._queues:
            self._call_next(wait.queue)

    def length(self, key: bytes) -> int:
        """Return how many items a queue has."""
        return len(self._queues.get(key, ()))

    def wait(self, keys: Sequence[bytes], wake: Callable[[], None]) -> Wait | None:
        """Call ``wake`` once every key has appeared, at whatever different times.

        Returns:
            The wait, for `forget`; `None` if every key is there and ``wake`` was not
            and will not be called.
        """
        values = self._values
        queues = self._queues
        missing = {key for key in keys if key not in values and key not in queues}
        if not missing:
            return None
        return self._begin(Wait(missing, wake))

    def arrive(self, key: bytes, size: int, wake: Callable[[], None]) -> Wait | None:
        """Count one arrival at a barrier of ``size``; wake all with the last.

        The count stays in the key when an arrival is given up, and so it does when
        everybody has arrived: a key is good for one barrier. So it is with torch.

        Returns:
            The wait, for `forget`; `None` if ``size`` have arrived and ``wake`` was not
            and will not be called.

        Raises:
            NotANumberError: If the key holds something else. Nothing is changed.
            StoreFullError: If there is no room. Nothing is changed.
        """
        count = _counted(key, self._values.get(key, b"0")) + 1
        self._store(key, b"%d" % count)
        if count < size:
            return self._begin(Wait({key}, wake))
        if key in self._waits:
            self._appeared(key)
        return None

    def forget(self, wait: Wait) -> None:
        """Drop a wait. Twice, or after it woke, is fine."""
        for key in wait.missing:
            waits = self._waits[key]
            del waits[wait]
            if not waits:
                del self._waits[key]
        wait.missing.clear()
        wait.forgotten = True

    def _store(self, key: bytes, value: bytes) -> None:
        growth = self._growth(key, value)
        if growth:
            self.budget.store(growth)
        self._values[key] = value

    def _growth(self, key: bytes, value: bytes) -> int:
        old = self._values.get(key)
        if old is None:
            return len(key) + len(value) + _ENTRY
        return len(value) - len(old)

    def _call_next(self, key: bytes) -> None:
        waits = self._waits.get(key)
        if waits:
            first = next(iter(waits))
            del waits[first]
            if not waits:
                del self._waits[key]
            first.queue = key
            first.missing.remove(key)
            if not first.missing:
                first.wake()

    def _begin(self, wait: Wait) -> Wait:
        for key in wait.missing:
            self._waits.setdefault(key, {})[wait] = None
        return wait

    def _appeared(self, key: bytes) -> None:
        waits = self._waits.pop(key)
        for wait in waits:
            wait.missing.remove(key)
        for wait in waits:
            if not (wait.missing or wait.forgotten):
                wait.wake()  # which may make others forget theirs


def _counted(key: bytes, value: bytes) -> int:
    try:
        return to_number(value)
    except NotANumberError as error:
        raise NotANumberError(f"key {key[:80]!r} can't be counted: {error}") from None
