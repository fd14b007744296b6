"""Frames of the TCPStore protocol out of bytes that arrive cut anywhere.

Nothing is handed out before its last byte is there, and no byte is looked at twice
without need: a frame goes on where it was cut, and a large value is joined once. The
usual case, a read that holds whole frames, copies nothing but the blobs.
"""

import struct

import attrs

from elaunch_rdzv_c10d.budget import ITEM
from elaunch_rdzv_c10d.wire import I64, MAX_KEY, MAX_KEYS, MAX_VALUE, U32, U64, Op


class ProtocolError(Exception):
    """The peer sent what no client of the protocol sends."""


Frame = tuple[int, list[bytes], int]
"""Opcode; the blobs in order, those of a list or of pairs one after the other; and the
number that ends the request, or 0."""

_NO_FRAME = -1

# For `only`: an opcode with the number that follows it, and opcodes as plain numbers,
# which are compared faster.
_HEAD = struct.Struct("<BQ")
_GET, _ADD, _WAIT = int(Op.GET), int(Op.ADD), int(Op.WAIT)
_BEFORE_ONE_KEY = _HEAD.size + U64.size

# How many blobs belong together, the first of them a key and the others values; whether
# a count comes first, of how many such groups follow; and the number at the end.
_LAYOUTS: dict[int, tuple[int, bool, struct.Struct | None]] = {
    Op.VALIDATE: (0, False, U32),
    Op.SET: (2, False, None),
    Op.COMPARE_SET: (3, False, None),
    Op.GET: (1, False, None),
    Op.ADD: (1, False, I64),
    Op.CHECK: (1, True, None),
    Op.WAIT: (1, True, None),
    Op.GETNUMKEYS: (0, False, None),
    Op.DELETE_KEY: (1, False, None),
    Op.APPEND: (2, False, None),
    Op.MULTI_GET: (1, True, None),
    Op.MULTI_SET: (2, True, None),
    Op.CANCEL_WAIT: (0, False, None),
    Op.PING: (0, False, U32),
    Op.QUEUE_PUSH: (2, False, None),
    Op.QUEUE_POP: (1, False, None),
    Op.QUEUE_LEN: (1, False, None),
    Op.LIST_KEYS: (0, False, None),
    Op.BARRIER: (1, False, I64),
}


@attrs.define(eq=False, repr=False)
class Parser:
    """The receiving half of one connection: `feed` it, then take frames with `next`."""

    _data: bytes = attrs.field(default=b"", init=False)
    _at: int = attrs.field(default=0, init=False)
    # What came after _data, as long as both together don't reach _need.
    _later: list[bytes] = attrs.field(factory=list, init=False)
    _later_size: int = attrs.field(default=0, init=False)
    _need: int = attrs.field(default=0, init=False)  # bytes from _at on
    # The frame that has begun.
    _opcode: int = attrs.field(default=_NO_FRAME, init=False)
    _group: int = attrs.field(default=0, init=False)
    _number: struct.Struct | None = attrs.field(default=None, init=False)
    _left: int = attrs.field(default=0, init=False)
    _items: list[bytes] = attrs.field(factory=list, init=False)
    _items_size: int = attrs.field(default=0, init=False)

    @property
    def held(self) -> int:
        """Bytes that unfinished frames take in memory, about."""
        rest = len(self._data) - self._at + self._later_size + ITEM * len(self._later)
        if self._opcode == _NO_FRAME:
            return rest
        return rest + self._items_size + ITEM * len(self._items)

    def only(self, data: bytes) -> Frame | None:
        """Return the frame if exactly one has arrived, of those that come most often.

        `None` says nothing: `feed` takes the bytes then.
        """
        size = len(data)
        if self._data or self._opcode != _NO_FRAME or size < _HEAD.size:
            return None
        opcode, length = _HEAD.unpack_from(data)
        if length > MAX_KEY:
            return None
        if opcode == _ADD and size == _HEAD.size + length + I64.size:
            end = _HEAD.size + length
            return opcode, [data[_HEAD.size : end]], I64.unpack_from(data, end)[0]
        if opcode == _GET and size == _HEAD.size + length:
            return opcode, [data[_HEAD.size :]], 0
        if opcode == _WAIT and length == 1 and size >= _BEFORE_ONE_KEY:
            (length,) = U64.unpack_from(data, _HEAD.size)
            if length <= MAX_KEY and size == _BEFORE_ONE_KEY + length:
                return opcode, [data[_BEFORE_ONE_KEY:]], 0
        return None

    def feed(self, data: bytes) -> None:
        """Take what arrived."""
        rest = len(self._data) - self._at
        if not rest:
            self._data = data
            self._at = 0
            return
        self._later.append(data)
        self._later_size += len(data)
        if rest + self._later_size >= self._need:
            self._data = b"".join((self._data[self._at :], *self._later))
            self._at = 0
            self._later.clear()
            self._later_size = 0

    def next(self) -> Frame | None:
        """Return the next whole frame, or `None` until more has arrived.

        Raises:
            ProtocolError: If what arrived can't be a frame. The parser is spent.
        """
        if self._later or (self._opcode == _NO_FRAME and not self._begin()):
            return None
        data = self._data
        size = len(data)
        at = end = self._at
        group = self._group
        left = self._left
        items = self._items
        while left:
            end = at + 8
            if end > size:
                break
            (length,) = U64.unpack_from(data, at)
            if length > (MAX_VALUE if left % group else MAX_KEY):
                raise ProtocolError(f"a key or value of {length} bytes is too long")
            begin = end
            end += length
            if end > size:
                break
            items.append(data[begin:end])
            at = end
            left -= 1
        else:
            number = self._number
            end = at + number.size if number else at
            if end <= size:
                opcode = self._opcode
                self._opcode = _NO_FRAME
                self._at = end
                self._need = 0
                return opcode, items, number.unpack_from(data, at)[0] if number else 0
        self._items_size += at - self._at
        self._left = left
        self._keep(at, end)
        return None

    def _keep(self, at: int, end: int) -> None:
        """Go on at ``at`` once there is everything up to ``end``."""
        self._data = self._data[at:]  # and not all that came before it
        self._at = 0
        self._need = end - at

    def _begin(self) -> bool:
        """Read the head of a frame; return whether it is all there."""
        data = self._data
        at = self._at
        if at == len(data):
            self._data = b""  # it may have been large
            self._at = 0
            return False
        layout = _LAYOUTS.get(data[at])
        if layout is None:
            raise ProtocolError(f"unknown opcode {data[at]}")
        self._group, counted, self._number = layout
        self._left = self._group
        end = at + 1
        if counted:
            end += 8
            if end > len(data):
                self._keep(at, end)
                return False
            (count,) = U64.unpack_from(data, at + 1)
            if count > MAX_KEYS:
                raise ProtocolError(f"{count} keys at once; the limit is {MAX_KEYS}")
            self._left *= count
        self._opcode = data[at]
        self._items = []
        self._items_size = 0
        self._at = end
        return True
