"""Reading from a connection without a new buffer for every read."""

import abc
import asyncio
import threading


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
