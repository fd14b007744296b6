"""What a TCPStore server remembers: keys, values and who waits for which. No I/O."""

import re
from collections.abc import Callable, Iterable, Sequence

import attrs


class NotANumberError(Exception):
    """A key that should be counted holds something else."""


_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?)0*([0-9]+)")
_DIGITS = 19  # of the largest 64-bit number
_LIMIT = 1 << 63
_WRAP = 1 << 64


def to_number(value: bytes) -> int:
    """Return the number at the start of ``value``, read as C's ``strtoll`` reads it.

    Leading blanks and a sign are allowed, what follows the digits is ignored.

    Raises:
        NotANumberError: If there is no digit, or the number needs more than 64 bits.
    """
    found = _NUMBER.match(value)
    if found is None:
        raise NotANumberError(f"{value[:40]!r} is not a number")
    sign, digits = found.groups()
    number = int(sign + digits) if len(digits) <= _DIGITS else _LIMIT
    if not -_LIMIT <= number < _LIMIT:
        raise NotANumberError(f"{value[:40]!r} does not fit in 64 bits")
    return number


@attrs.define(eq=False)
class Wait:
    """One connection's wait for keys.

    A set of keys and not a count: a key named twice, or one that appears again, can't
    end the wait too early.

    Attributes:
        missing: Keys that have not appeared since the wait began.
        wake: Called once, when the last of them has.
    """

    missing: set[bytes]
    wake: Callable[[], None]


@attrs.define(eq=False)
class KeyTable:
    """Keys, values and pending waits of one TCPStore."""

    _values: dict[bytes, bytes] = attrs.field(factory=dict, init=False)
    # A dict without values is a set that remembers who came first.
    _waits: dict[bytes, dict[Wait, None]] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: bytes) -> bytes:
        """Return the value of a key; of a missing one, nothing."""
        return self._values.get(key, b"")

    def has_all(self, keys: Iterable[bytes]) -> bool:
        """Return whether every key is present."""
        values = self._values
        return all(key in values for key in keys)

    def set(self, key: bytes, value: bytes) -> None:
        """Write a key."""
        self._values[key] = value
        if key in self._waits:
            self._appeared(key)

    def append(self, key: bytes, value: bytes) -> None:
        """Write a key that is missing, or lengthen the one that is there."""
        self.set(key, self._values.get(key, b"") + value)

    def add(self, key: bytes, delta: int) -> int:
        """Add to the decimal number in a key, 0 if it is missing; return the sum.

        The sum wraps around at 64 bits, as in C.

        Raises:
            NotANumberError: If the key holds something else. Nothing is changed.
        """
        value = self._values.get(key)
        total = delta if value is None else to_number(value) + delta
        if not -_LIMIT <= total < _LIMIT:
            total = (total + _LIMIT) % _WRAP - _LIMIT
        self.set(key, b"%d" % total)
        return total

    def compare_set(self, key: bytes, expected: bytes, desired: bytes) -> bytes:
        """Write a key if it holds ``expected``; an empty one means that it is missing.

        Returns:
            What the key holds now, or ``expected`` if the key is missing and was not
            written. The caller can't tell that from success: so it is with torch.
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
        return self._values.pop(key, None) is not None

    def wait(self, keys: Sequence[bytes], wake: Callable[[], None]) -> Wait | None:
        """Call ``wake`` once every key has appeared, at whatever different times.

        Returns:
            The wait, for `forget`; `None` if every key is there and ``wake`` was not
            and will not be called.
        """
        missing = {key for key in keys if key not in self._values}
        if not missing:
            return None
        wait = Wait(missing, wake)
        for key in missing:
            self._waits.setdefault(key, {})[wait] = None
        return wait

    def forget(self, wait: Wait) -> None:
        """Drop a wait. Twice, or after it woke, is fine."""
        for key in wait.missing:
            waits = self._waits[key]
            del waits[wait]
            if not waits:
                del self._waits[key]
        wait.missing.clear()

    def _appeared(self, key: bytes) -> None:
        for wait in self._waits.pop(key):
            wait.missing.discard(key)
            if not wait.missing:
                wait.wake()
