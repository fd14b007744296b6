"""Coverage-guided fuzzing of what reads bytes from the network.

``make fuzz SECONDS=60`` runs it. The input is cut into pieces as its own bytes say; a
finding is an exception that no client may cause, a difference between the pieces and
the whole, or more memory than the budget allows.
"""

import sys
from types import SimpleNamespace
from typing import Any, cast

import atheris


with atheris.instrument_imports(include=["elaunch_rdzv_c10d"]):
    from elaunch_rdzv_c10d.budget import Budget
    from elaunch_rdzv_c10d.connection import TcpStoreConnection
    from elaunch_rdzv_c10d.messages import (
        BrokenFrameError,
        FrameReader,
        decode_client_message,
    )
    from elaunch_rdzv_c10d.table import KeyTable


ROOM = 1 << 20
UNCOUNTED = 1 << 18  # what one client has under way without being counted, and more


class Wire:
    """Takes what is sent, as a socket would whose other end reads everything."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data
        if len(self.sent) > ROOM:
            del self.sent[:-ROOM]

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, _: str) -> None:
        return None


def serve(pieces: list[bytes]) -> tuple[bytes, bool, int]:
    """Return what a client that sends these pieces gets, and what is left of it."""
    wire = Wire()
    caller = SimpleNamespace(
        admit=lambda: None,
        leave=lambda: None,
        turn_away=lambda _: wire.close(),
        drop=lambda _: wire.close(),
    )
    table = KeyTable(Budget(ROOM))
    connection = TcpStoreConnection(table, cast("Any", caller), cast("Any", wire))
    for piece in pieces:
        if wire.closed:
            break
        connection.data_received(piece)
        if table.budget.held > ROOM + UNCOUNTED:
            raise AssertionError(f"{table.budget.held} bytes are held")
    closed = wire.closed
    connection.connection_lost(None)
    return bytes(wire.sent), closed, len(table)


def control(data: bytes) -> None:
    """Read control frames."""
    try:
        for body in FrameReader().feed(data):
            decode_client_message(body)
    except BrokenFrameError:
        return


def cut(data: bytes) -> list[bytes]:
    """Cut the bytes where they say."""
    if not data:
        return []
    step = data[0] % 32 + 1
    return [data[start : start + step] for start in range(0, len(data), step)]


def one_input(data: bytes) -> None:
    """Feed one input in every way."""
    handshake = b"\x00\xce\xf7\x85\x3c"
    if data[:1] == b"E":
        control(data[1:])
        return
    whole = serve([handshake + data])
    if whole != serve([handshake, *cut(data)]):
        raise AssertionError("it matters how a request is cut")


if __name__ == "__main__":
    import logging

    logging.disable(logging.CRITICAL)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
