"""What connections read, without a new buffer for every read, and what they write."""

import abc
import asyncio
import threading
from typing import Any, Protocol


_SIZE = 256 * 1024


class _Buffers(threading.local):
    """One buffer for each thread that reads."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_SIZE))


_buffers = _Buffers()


class Receiver(asyncio.BufferedProtocol, asyncio.Protocol, abc.ABC):
    """A protocol that gets what arrives in `data_received`.

    asyncio allocates 256 KiB for each read of an `asyncio.Protocol`. For the few bytes
    of a request that costs more than all the rest. A read and the delivery of what it
    read are one step of the loop, so one buffer does for all connections of a thread.
    uvloop has a buffer of its own, so it takes this for an `asyncio.Protocol`.

    Those who inherit have no repr of attrs: both loops log the repr of a protocol that
    raised an exception, and it would tell all that the store knows.
    """

    __slots__ = ()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's
        """Return where the next read goes."""
        return _buffers.view

    def buffer_updated(self, nbytes: int) -> None:
        """Deliver what was read."""
        self.data_received(bytes(_buffers.view[:nbytes]))

    @abc.abstractmethod
    def data_received(self, data: bytes) -> None:
        """Take what arrived."""


class Wire(Protocol):
    """What a connection is to those who talk over it, with TLS or without."""

    def write(self, data: bytes, /) -> None:
        """Send bytes."""

    def is_closing(self) -> bool:
        """Whether it is closed or will be."""

    def abort(self) -> None:
        """Close it at once."""

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not sent yet."""

    def get_extra_info(self, name: str, /) -> Any:
        """Return what asyncio knows of the connection."""
