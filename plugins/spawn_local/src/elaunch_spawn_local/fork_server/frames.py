"""What agent and fork server say to each other: JSON objects, each after its length.

Both sides are processes of one user that share a socket pair which nobody else has.
Descriptors travel beside the first byte of the message that they belong to.
"""

from __future__ import annotations

import json


TYPE_CHECKING = False  # `typing` takes longer to import than all that is needed here
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


DESCRIPTORS = 3
"""Most descriptors that one message carries."""

_LENGTH = 4


def pack(message: dict[str, Any]) -> bytes:
    """Return a message as it travels."""
    # Arguments and variables may hold bytes that are no text: surrogates, in ASCII.
    body = json.dumps(message).encode("ascii")
    return len(body).to_bytes(_LENGTH, "big") + body


class Frames:
    """Puts messages together from what a stream brings."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield each message that ``data`` completes."""
        self._rest += data
        while len(self._rest) >= _LENGTH:
            end = _LENGTH + int.from_bytes(self._rest[:_LENGTH], "big")
            if len(self._rest) < end:
                return
            body = bytes(self._rest[_LENGTH:end])
            del self._rest[:end]
            yield json.loads(body)
