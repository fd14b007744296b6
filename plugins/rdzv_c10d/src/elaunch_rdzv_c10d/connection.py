"""One client of a TCPStore: its frames applied to the table, in order."""

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import ClassVar

import attrs

from elaunch_rdzv_c10d.budget import StoreFullError, cost_of
from elaunch_rdzv_c10d.door import Caller
from elaunch_rdzv_c10d.parser import Frame, Parser, ProtocolError
from elaunch_rdzv_c10d.receiver import Receiver
from elaunch_rdzv_c10d.table import KeyTable, NotANumberError, Wait
from elaunch_rdzv_c10d.wire import (
    I64,
    MAGIC,
    NOT_READY,
    READY,
    STOP_WAITING,
    U32,
    U64,
    WAIT_CANCELED,
    Op,
    blob,
    blobs,
)


_PIECE = 256 * 1024
"""Bytes of a long reply that are sent before it is seen whether they are read."""


@attrs.define(eq=False, repr=False)
class TcpStoreConnection(Receiver):
    """Serves one connection whose first byte was that of VALIDATE.

    Attributes:
        table: What all connections of this store share.
        caller: What the server knows of the connection.
    """

    table: KeyTable
    caller: Caller
    _transport: asyncio.Transport
    _parser: Parser = attrs.field(factory=Parser, init=False)
    _validated: bool = attrs.field(default=False, init=False)
    # Nothing more is served: until the client reads its replies, or for ever.
    _paused: bool = attrs.field(default=False, init=False)
    _wait: Wait | None = attrs.field(default=None, init=False)
    # The wait that ended last, until it is known that it was not for nothing.
    _woken: Wait | None = attrs.field(default=None, init=False)
    # What is left of a long reply; only while paused.
    _unsent: Iterator[bytes] | None = attrs.field(default=None, init=False)
    _unsent_cost: int = attrs.field(default=0, init=False)
    _owed: int = attrs.field(default=0, init=False)

    def data_received(self, data: bytes) -> None:
        """Apply every frame that is whole."""
        frame = None if self._paused or self._owed else self._parser.only(data)
        if frame is None:
            self._parser.feed(data)
            self._work()
            return
        try:
            self._apply(frame)
        except (NotANumberError, StoreFullError) as error:
            self._give_up(error)
        if self._paused or self._wait:
            self._account()

    def pause_writing(self) -> None:
        """Serve nothing more to a client that does not read its replies."""
        self._paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on where `pause_writing` stopped."""
        self._paused = False
        if self._transport.is_closing():
            return
        if self._unsent is not None:
            self._send(self._unsent, self._unsent_cost)
        if self._paused:
            self._account()
        else:
            self._transport.resume_reading()
            self._work()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Forget the client; what it wrote stays."""
        self._let_go()
        self.caller.leave()

    def drop(self) -> None:
        """End the connection, and hold nothing for it from now on."""
        self.caller.drop(
            f"there is no room for the {self._owed} bytes that it has sent and not "
            "finished, or was sent and has not read"
        )
        self._let_go()

    def _work(self) -> None:
        parser = self._parser
        try:
            while not self._paused and (frame := parser.next()) is not None:
                if self._owed:
                    self._account()  # what is to be stored is not under way any more
                self._apply(frame)
        except (ProtocolError, NotANumberError, StoreFullError) as error:
            self._give_up(error)
        if parser.held or self._owed or self._paused or self._wait:
            self._account()

    def _apply(self, frame: Frame) -> None:
        opcode, items, number = frame
        self._HANDLERS[opcode](self, items, number)

    def _give_up(self, error: Exception) -> None:
        self.caller.turn_away(str(error))
        self._let_go()

    def _account(self) -> None:
        """Count what this client has under way, if it has changed."""
        owed = self._parser.held
        if self._wait:
            owed += self._wait.cost
        if self._unsent is not None:
            owed += self._unsent_cost
        if self._paused:
            owed += self._transport.get_write_buffer_size()
        if owed != self._owed:
            self._owed = owed
            self.table.budget.owe(self, owed)

    def _let_go(self) -> None:
        self._paused = True
        self._unsent = None
        self._parser = Parser()
        self._forget_wait()
        self._pass_on()
        self._owed = 0
        self.table.budget.owe(self, 0)

    def _send(self, parts: Iterator[bytes], cost: int) -> None:
        """Send a long reply, as much of it as the client reads.

        Args:
            parts: What is left of it, made as it is sent.
            cost: Bytes that are held to make it.
        """
        self._unsent = None
        piece = []
        size = 0
        for part in parts:
            piece.append(part)
            size += len(part)
            if size < _PIECE:
                continue
            self._transport.write(b"".join(piece))
            if self._paused:
                self._unsent, self._unsent_cost = parts, cost
                return
            piece.clear()
            size = 0
        self._transport.write(b"".join(piece))

    def _validate(self, _: list[bytes], magic: int) -> None:
        if self._validated or magic != MAGIC:
            raise ProtocolError(
                "a second handshake" if self._validated else f"wrong magic {magic:#x}"
            )
        self._validated = True
        self.caller.admit()

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

    def _barrier(self, items: list[bytes], size: int) -> None:
        self._forget_wait()
        self._wait = self.table.arrive(items[0], size, self._wake)
        if self._wait is None:
            self._transport.write(STOP_WAITING)

    def _wake(self) -> None:
        self._woken, self._wait = self._wait, None
        if self._unsent is None:
            self._transport.write(STOP_WAITING)
        else:  # a client that asks on while it waits gets no reply within another
            self._unsent = itertools.chain(self._unsent, (STOP_WAITING,))
        if self._owed:
            self._account()

    def _cancel_wait(self, _: list[bytes], __: int) -> None:
        self._forget_wait()
        self._pass_on()
        self._transport.write(WAIT_CANCELED)

    def _get_num_keys(self, _: list[bytes], __: int) -> None:
        self._transport.write(I64.pack(len(self.table)))

    def _list_keys(self, _: list[bytes], __: int) -> None:
        keys = self.table.keys()
        parts = itertools.chain((I64.pack(len(keys)),), _parts(keys))
        self._send(parts, cost_of(keys))

    def _delete_key(self, items: list[bytes], _: int) -> None:
        self._transport.write(I64.pack(self.table.delete(items[0])))

    def _append(self, items: list[bytes], _: int) -> None:
        self.table.append(items[0], items[1])

    def _multi_get(self, items: list[bytes], _: int) -> None:
        values = [self.table.get(key) for key in items]
        if sum(map(len, values)) < _PIECE:
            self._transport.write(blobs(values))
        else:
            # Looked up as they are sent: what is overwritten meanwhile is not kept.
            self._send(_parts(map(self.table.get, items)), cost_of(items))

    def _multi_set(self, items: list[bytes], _: int) -> None:
        self.table.set_all(dict(zip(items[::2], items[1::2], strict=True)))

    def _ping(self, _: list[bytes], nonce: int) -> None:
        self._transport.write(U32.pack(nonce))

    def _queue_push(self, items: list[bytes], _: int) -> None:
        self.table.push(items[0], items[1])

    def _queue_pop(self, items: list[bytes], _: int) -> None:
        self._woken = None
        length = I64.pack(self.table.length(items[0]))
        item = self.table.pop(items[0])
        self._transport.write(length if item is None else length + blob(item))

    def _queue_len(self, items: list[bytes], _: int) -> None:
        self._transport.write(I64.pack(self.table.length(items[0])))

    def _forget_wait(self) -> None:
        if self._wait is not None:
            self.table.forget(self._wait)
            self._wait = None

    def _pass_on(self) -> None:
        if self._woken is not None:
            woken, self._woken = self._woken, None
            self.table.pass_on(woken)

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
        Op.QUEUE_PUSH: _queue_push,
        Op.QUEUE_POP: _queue_pop,
        Op.QUEUE_LEN: _queue_len,
        Op.LIST_KEYS: _list_keys,
        Op.BARRIER: _barrier,
    }


def _parts(items: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the encodings of several blobs in parts."""
    for item in items:
        yield U64.pack(len(item))
        yield item
