"""The bytes of torch's TCPStore protocol: numbers, limits and encodings.

All integers are little endian. A blob is a 64-bit length and that many bytes; a list is
a 64-bit count and its blobs. There is no frame length, no status and no request id: a
server that can't go on closes the connection. Standard library only, because workers
use it through `elaunch_rdzv_c10d.client`.
"""

import enum
import struct
from collections.abc import Sequence


MAGIC = 0x3C85F7CE
"""What a VALIDATE frame carries."""

MAX_KEY = 8192
"""Most bytes of a key, as in torch's default server."""

MAX_VALUE = 8 * 1024 * 1024
"""Most bytes of a value, as in torch's default server."""

MAX_KEYS = 131_072
"""Most keys, or pairs, in one frame, as in torch's default server."""

U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")
I64 = struct.Struct("<q")


class Op(enum.IntEnum):
    """The first byte of a request. Append-only since torch 2.2."""

    VALIDATE = 0
    SET = 1
    COMPARE_SET = 2
    GET = 3
    ADD = 4
    CHECK = 5
    WAIT = 6
    GETNUMKEYS = 7
    DELETE_KEY = 8
    APPEND = 9
    MULTI_GET = 10
    MULTI_SET = 11
    CANCEL_WAIT = 12
    PING = 13
    QUEUE_PUSH = 14
    QUEUE_POP = 15
    QUEUE_LEN = 16
    LIST_KEYS = 17
    BARRIER = 18


READY = b"\x00"
"""Reply to CHECK: every key is present, or names a queue that is not empty."""

NOT_READY = b"\x01"
"""Reply to CHECK: a key is missing."""

STOP_WAITING = b"\x00"
"""Reply to WAIT and BARRIER, now or later: every key, or everybody, has appeared."""

WAIT_CANCELED = b"\x01"
"""Reply to CANCEL_WAIT, always."""


def blob(data: bytes) -> bytes:
    """Return the encoding of one key or value."""
    return U64.pack(len(data)) + data


def blobs(items: Sequence[bytes]) -> bytes:
    """Return the encodings of several blobs, without a count."""
    return b"".join([blob(item) for item in items])


def counted(items: Sequence[bytes]) -> bytes:
    """Return the encoding of a list."""
    return U64.pack(len(items)) + blobs(items)


def hello(nonce: int) -> bytes:
    """Return VALIDATE and PING as one write.

    In one, because torch's default server drops a connection whose VALIDATE arrives in
    two pieces.
    """
    return bytes((Op.VALIDATE,)) + U32.pack(MAGIC) + bytes((Op.PING,)) + U32.pack(nonce)
