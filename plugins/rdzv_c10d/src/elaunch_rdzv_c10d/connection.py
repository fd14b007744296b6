"""One client of a TCPStore: its frames applied to the table, in order."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import ClassVar

import attrs

from elaunch_rdzv_c10d.parser import Parser, ProtocolError
from elaunch_rdzv_c10d.receiver import Receiver
from elaunch_rdzv_c10d.table import KeyTable, NotANumberError, Wait
from elaunch_rdzv_c10d.wire import (
    I64,
    MAGIC,
    NOT_READY,
    READY,
    STOP_WAITING,
    U32,
    WAIT_CANCELED,
    Op,
    blob,
    blobs,
)


logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class TcpStoreConnection(Receiver):
    """Serves one connection whose first byte was that of VALIDATE.

    Attributes:
        table: What all connections of this store share.
        deadline: Closes the connection unless the handshake cancels it.
        on_end: Called when the connection is gone.
    """

    table: KeyTable
    deadline: asyncio.TimerHandle
    on_end: Callable[[asyncio.Transport], None]
    _transport: asyncio.Transport
    _parser: Parser = attrs.field(factory=Parser, init=False)
    _validated: bool = attrs.field(default=False, init=False)
    _paused: bool = attrs.field(default=False, init=False)
    _wait: Wait | None = attrs.field(default=None, init=False)

    def data_received(self, data: bytes) -> None:
        """Apply every frame that is whole."""
        self._parser.feed(data)
        self._work()

    def pause_writing(self) -> None:
        """Serve nothing more to a client that does not read its replies."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on where `pause_writing` stopped."""
        self._paused = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Forget the client; what it wrote stays."""
        self.deadline.cancel()
        self._paused = True
        self._forget_wait()
        self.on_end(self._transport)

    def _work(self) -> None:
        parser = self._parser
        try:
            while not self._paused:
                frame = parser.next()
                if frame is None:
                    return
                opcode, items, number = frame
                self._HANDLERS[opcode](self, items, number)
        except (ProtocolError, NotANumberError) as error:
            peer = self._transport.get_extra_info("peername")
            logger.warning("closing the connection of %s: %s", peer, error)
            self._paused = True
            self._transport.close()

    def _validate(self, _: list[bytes], magic: int) -> None:
        if self._validated or magic != MAGIC:
            raise ProtocolError(
                "a second handshake" if self._validated else f"wrong magic {magic:#x}"
            )
        self._validated = True
        self.deadline.cancel()

    def _set(self, items: list[bytes], _: int) -> None:
        self.table.set(items[0], items[1])

    def _compare_set(self, items: list[bytes], _: int) -> None:
        key, expected, desired = items
        self._transport.write(blob(self.table.compare_set(key, expected, desired)))

    def _get(self, items: list[bytes], _: int) -> None:
        self._transport.write(blob(self.table.get(items[0])))

    def _add(self, items: list[bytes], delta: int) -> None:
        self._transport.write(I64.pack(self.table.add(items[0], delta)))

    def _check(self, items: list[bytes], _: int) -> None:
        self._transport.write(READY if self.table.has_all(items) else NOT_READY)

    def _begin_wait(self, items: list[bytes], _: int) -> None:
        self._forget_wait()
        self._wait = self.table.wait(items, self._wake)
        if self._wait is None:
            self._transport.write(STOP_WAITING)

    def _wake(self) -> None:
        self._wait = None
        self._transport.write(STOP_WAITING)

    def _cancel_wait(self, _: list[bytes], __: int) -> None:
        self._forget_wait()
        self._transport.write(WAIT_CANCELED)

    def _get_num_keys(self, _: list[bytes], __: int) -> None:
        self._transport.write(I64.pack(len(self.table)))

    def _delete_key(self, items: list[bytes], _: int) -> None:
        self._transport.write(I64.pack(self.table.delete(items[0])))

    def _append(self, items: list[bytes], _: int) -> None:
        self.table.append(items[0], items[1])

    def _multi_get(self, items: list[bytes], _: int) -> None:
        self._transport.write(blobs([self.table.get(key) for key in items]))

    def _multi_set(self, items: list[bytes], _: int) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.table.set(key, value)

    def _ping(self, _: list[bytes], nonce: int) -> None:
        self._transport.write(U32.pack(nonce))

    def _forget_wait(self) -> None:
        if self._wait is not None:
            self.table.forget(self._wait)
            self._wait = None

    # A new operation is a row here, one in `parser._LAYOUTS` and one in `wire.Op`.
    _HANDLERS: ClassVar[
        Mapping[int, Callable[["TcpStoreConnection", list[bytes], int], None]]
    ] = {
        Op.VALIDATE: _validate,
        Op.SET: _set,
        Op.COMPARE_SET: _compare_set,
        Op.GET: _get,
        Op.ADD: _add,
        Op.CHECK: _check,
        Op.WAIT: _begin_wait,
        Op.GETNUMKEYS: _get_num_keys,
        Op.DELETE_KEY: _delete_key,
        Op.APPEND: _append,
        Op.MULTI_GET: _multi_get,
        Op.MULTI_SET: _multi_set,
        Op.CANCEL_WAIT: _cancel_wait,
        Op.PING: _ping,
    }
