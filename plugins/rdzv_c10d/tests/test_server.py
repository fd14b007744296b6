import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import attrs
import pytest

from elaunch_rdzv_c10d.addresses import Endpoint, listen, resolve
from elaunch_rdzv_c10d.budget import Budget
from elaunch_rdzv_c10d.limits import Limits
from elaunch_rdzv_c10d.messages import MAGIC as CONTROL_MAGIC
from elaunch_rdzv_c10d.server import StoreServer
from elaunch_rdzv_c10d.table import KeyTable
from elaunch_rdzv_c10d.wire import (
    I64,
    MAX_KEY,
    MAX_VALUE,
    U64,
    Op,
    blob,
    blobs,
    counted,
    hello,
)


pytestmark = pytest.mark.asyncio

NONCE = 0x04030201
PONG = b"\x01\x02\x03\x04"


@attrs.define(eq=False)
class Raw:
    """A client that sends any bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, *parts: bytes | int, size: int) -> bytes:
        self.send(*parts)
        return await self.read(size)

    def send(self, *parts: bytes | int) -> None:
        self.writer.write(
            b"".join(bytes([p]) if isinstance(p, int) else p for p in parts)
        )

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.readexactly(size)

    async def ends(self) -> bool:
        """Return whether the server closes the connection without another byte."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read() == b""
            except ConnectionResetError:
                return True

    async def lives(self) -> bool:
        return await self.ask(Op.PING, PONG, size=4) == PONG


@contextlib.asynccontextmanager
async def raw(endpoint: Endpoint) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection(endpoint.host, endpoint.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving(server: StoreServer) -> AsyncIterator[Endpoint]:
    listeners = listen(await resolve("127.0.0.1", 0))
    await server.start(listeners)
    try:
        yield Endpoint(*listeners[0].getsockname())
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def client(endpoint: Endpoint) -> AsyncIterator[Raw]:
    async with raw(endpoint) as connection:
        assert await connection.ask(hello(NONCE), size=4) == PONG
        yield connection


class TestOperations:
    async def test_set_and_get(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.SET, blobs([b"/a", b"1"]))

            assert await one.ask(Op.GET, blob(b"/a"), size=9) == blob(b"1")
            assert await one.ask(Op.GET, blob(b"/b"), size=8) == blob(b"")

    async def test_compare_set(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            request = Op.COMPARE_SET, blobs([b"/a", b"x", b"y"])
            assert await one.ask(*request, size=9) == blob(b"x")
            request = Op.COMPARE_SET, blobs([b"/a", b"", b"y"])
            assert await one.ask(*request, size=9) == blob(b"y")
            assert await one.ask(*request, size=9) == blob(b"y")
            assert await one.ask(Op.GET, blob(b"/a"), size=9) == blob(b"y")

    async def test_add(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            add = Op.ADD, blob(b"/a")
            assert await one.ask(*add, I64.pack(3), size=8) == I64.pack(3)
            assert await one.ask(*add, I64.pack(-5), size=8) == I64.pack(-2)
            assert await one.ask(Op.GET, blob(b"/a"), size=10) == blob(b"-2")

    async def test_check(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.SET, blobs([b"/a", b""]))

            assert await one.ask(Op.CHECK, counted([b"/a"]), size=1) == b"\x00"
            assert await one.ask(Op.CHECK, counted([b"/a", b"/b"]), size=1) == b"\x01"
            assert await one.ask(Op.CHECK, counted([]), size=1) == b"\x00"

    async def test_delete_and_count(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.SET, blobs([b"/a", b""]))

            assert await one.ask(Op.GETNUMKEYS, size=8) == I64.pack(1)
            assert await one.ask(Op.DELETE_KEY, blob(b"/a"), size=8) == I64.pack(1)
            assert await one.ask(Op.DELETE_KEY, blob(b"/a"), size=8) == I64.pack(0)
            assert await one.ask(Op.GETNUMKEYS, size=8) == I64.pack(0)

    async def test_append_beyond_the_limit_of_one_value(
        self, endpoint: Endpoint
    ) -> None:
        async with client(endpoint) as one:
            half = bytes(MAX_VALUE)
            one.send(Op.APPEND, blobs([b"/a", half]))
            one.send(Op.APPEND, blobs([b"/a", half]))

            length = await one.ask(Op.GET, blob(b"/a"), size=8)
            assert length == U64.pack(2 * MAX_VALUE)
            assert await one.read(2 * MAX_VALUE) == half * 2

    async def test_multi_set_and_multi_get(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.MULTI_SET, U64.pack(2), blobs([b"/a", b"1", b"/b", b"22"]))
            reply = blobs([b"22", b"", b"1"])

            assert (
                await one.ask(
                    Op.MULTI_GET, counted([b"/b", b"/c", b"/a"]), size=len(reply)
                )
                == reply
            )

    async def test_pipelined_requests_are_answered_in_order(
        self, endpoint: Endpoint
    ) -> None:
        async with client(endpoint) as one:
            add = bytes([Op.ADD]) + blob(b"/a") + I64.pack(1)
            one.send(add * 1_000)

            replies = await one.read(8_000)
            assert [n for (n,) in struct.iter_unpack("<q", replies)] == list(
                range(1, 1_001)
            )

    async def test_frames_may_come_byte_by_byte(self, endpoint: Endpoint) -> None:
        async with raw(endpoint) as one:
            for part in hello(NONCE) + bytes([Op.ADD]) + blob(b"/a") + I64.pack(7):
                one.send(part)
                await one.writer.drain()
                await asyncio.sleep(0)

            assert await one.read(12) == PONG + I64.pack(7)

    async def test_queues(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            pop = Op.QUEUE_POP, blob(b"/q")
            one.send(Op.QUEUE_PUSH, blobs([b"/q", b"first"]))
            one.send(Op.QUEUE_PUSH, blobs([b"/q", b""]))

            assert await one.ask(Op.QUEUE_LEN, blob(b"/q"), size=8) == I64.pack(2)
            assert await one.ask(Op.CHECK, counted([b"/q"]), size=1) == b"\x00"
            assert await one.ask(Op.WAIT, counted([b"/q"]), size=1) == b"\x00"
            assert await one.ask(*pop, size=21) == I64.pack(2) + blob(b"first")
            assert await one.ask(*pop, size=16) == I64.pack(1) + blob(b"")
            assert await one.ask(*pop, size=8) == I64.pack(0)
            assert await one.ask(Op.QUEUE_LEN, blob(b"/q"), size=8) == I64.pack(0)
            assert await one.ask(Op.CHECK, counted([b"/q"]), size=1) == b"\x01"

    async def test_queues_are_no_keys(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.QUEUE_PUSH, blobs([b"/q", b"item"]))

            assert await one.ask(Op.GETNUMKEYS, size=8) == I64.pack(0)
            assert await one.ask(Op.LIST_KEYS, size=8) == I64.pack(0)
            assert await one.ask(Op.GET, blob(b"/q"), size=8) == blob(b"")
            assert await one.ask(Op.DELETE_KEY, blob(b"/q"), size=8) == I64.pack(0)
            assert await one.ask(Op.QUEUE_LEN, blob(b"/q"), size=8) == I64.pack(1)

    async def test_list_keys(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.SET, blobs([b"/a", b"1"]), Op.SET, blobs([b"init/", b"2"]))
            reply = I64.pack(2) + blobs([b"/a", b"init/"])

            assert await one.ask(Op.LIST_KEYS, size=len(reply)) == reply


class TestBarriers:
    async def test_end_with_the_last_arrival(self, endpoint: Endpoint) -> None:
        arrive = Op.BARRIER, blob(b"/b"), I64.pack(3)
        async with (
            client(endpoint) as one,
            client(endpoint) as two,
            client(endpoint) as three,
        ):
            for early in (one, two):
                early.send(*arrive, Op.PING, PONG)
                assert await early.read(4) == PONG
            assert await three.ask(*arrive, size=1) == b"\x00"

            assert await one.read(1) == b"\x00"
            assert await two.read(1) == b"\x00"
            assert await one.ask(Op.GET, blob(b"/b"), size=9) == blob(b"3")
            # The key has had its barrier: nobody waits at it any more.
            assert await one.ask(*arrive, size=1) == b"\x00"

    @pytest.mark.parametrize("size", [1, 0, -1])
    async def test_of_one_end_at_once(self, endpoint: Endpoint, size: int) -> None:
        async with client(endpoint) as one:
            arrive = Op.BARRIER, blob(b"/b"), I64.pack(size)

            assert await one.ask(*arrive, size=1) == b"\x00"

    async def test_a_cancelled_arrival_stays_counted(self, endpoint: Endpoint) -> None:
        arrive = Op.BARRIER, blob(b"/b"), I64.pack(2)
        async with client(endpoint) as one, client(endpoint) as two:
            one.send(*arrive)
            assert await one.ask(Op.CANCEL_WAIT, size=1) == b"\x01"

            assert await two.ask(*arrive, size=1) == b"\x00"
            assert await one.lives()

    async def test_a_write_to_the_key_ends_them(self, endpoint: Endpoint) -> None:
        arrive = Op.BARRIER, blob(b"/b"), I64.pack(5)
        async with client(endpoint) as one, client(endpoint) as two:
            one.send(*arrive, Op.PING, PONG)
            assert await one.read(4) == PONG
            two.send(Op.SET, blobs([b"/b", b"9"]))

            assert await one.read(1) == b"\x00"

    async def test_at_no_number_close_the_connection(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.SET, blobs([b"/b", b"x"]))
            one.send(Op.BARRIER, blob(b"/b"), I64.pack(2))

            assert await one.ends()


class TestWaits:
    async def test_end_at_once_if_the_keys_are_there(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one:
            one.send(Op.SET, blobs([b"/a", b""]))

            assert await one.ask(Op.WAIT, counted([b"/a"]), size=1) == b"\x00"
            assert await one.ask(Op.WAIT, counted([]), size=1) == b"\x00"

    @pytest.mark.parametrize(
        "write",
        [
            bytes([Op.SET]) + blobs([b"/b", b""]),
            bytes([Op.ADD]) + blob(b"/b") + I64.pack(0),
            bytes([Op.APPEND]) + blobs([b"/b", b""]),
            bytes([Op.COMPARE_SET]) + blobs([b"/b", b"", b"x"]),
            bytes([Op.MULTI_SET]) + U64.pack(1) + blobs([b"/b", b""]),
        ],
    )
    async def test_end_with_any_write(self, endpoint: Endpoint, write: bytes) -> None:
        async with client(endpoint) as one, client(endpoint) as other:
            one.send(Op.SET, blobs([b"/a", b""]))
            one.send(Op.WAIT, counted([b"/a", b"/b", b"/b"]))
            other.send(write)

            assert await one.read(1) == b"\x00"
            assert await one.lives()

    async def test_an_item_wakes_one_of_those_who_wait_for_its_queue(
        self, endpoint: Endpoint
    ) -> None:
        async with (
            client(endpoint) as one,
            client(endpoint) as two,
            client(endpoint) as other,
        ):
            one.send(Op.WAIT, counted([b"/q"]), Op.PING, PONG)
            assert await one.read(4) == PONG  # it waits, and came first
            two.send(Op.WAIT, counted([b"/q"]), Op.PING, PONG)
            assert await two.read(4) == PONG
            other.send(Op.QUEUE_PUSH, blobs([b"/q", b"item"]))

            assert await one.read(1) == b"\x00"
            assert await two.ask(Op.CANCEL_WAIT, size=1) == b"\x01"

    @pytest.mark.parametrize("cancels", [True, False])
    async def test_an_item_that_is_not_taken_wakes_the_next(
        self, endpoint: Endpoint, *, cancels: bool
    ) -> None:
        async with (
            client(endpoint) as one,
            client(endpoint) as two,
            client(endpoint) as other,
        ):
            for waiter in (one, two):
                waiter.send(Op.WAIT, counted([b"/q"]), Op.PING, PONG)
                assert await waiter.read(4) == PONG
            other.send(Op.QUEUE_PUSH, blobs([b"/q", b"item"]))
            assert await one.read(1) == b"\x00"
            if cancels:
                assert await one.ask(Op.CANCEL_WAIT, size=1) == b"\x01"
            else:
                one.writer.close()

            assert await two.read(1) == b"\x00"
            reply = I64.pack(1) + blob(b"item")
            pop = Op.QUEUE_POP, blob(b"/q")
            assert await two.ask(*pop, size=len(reply)) == reply

    async def test_survive_a_deletion_in_between(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one, client(endpoint) as other:
            one.send(Op.PING, PONG, Op.WAIT, counted([b"/a", b"/b"]))
            await one.read(4)
            other.send(Op.SET, blobs([b"/a", b""]))
            await other.ask(Op.DELETE_KEY, blob(b"/a"), size=8)
            other.send(Op.SET, blobs([b"/b", b""]))

            assert await one.read(1) == b"\x00"

    async def test_can_be_cancelled(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one, client(endpoint) as other:
            one.send(Op.WAIT, counted([b"/a"]))

            assert await one.ask(Op.CANCEL_WAIT, size=1) == b"\x01"
            other.send(Op.SET, blobs([b"/a", b""]))
            assert await other.lives()
            assert await one.lives()  # and no other byte came before

    async def test_may_end_while_they_are_cancelled(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one, client(endpoint) as other:
            one.send(Op.WAIT, counted([b"/a"]))
            await other.ask(Op.PING, PONG, size=4)
            other.send(Op.SET, blobs([b"/a", b""]))
            assert await other.lives()

            assert await one.ask(Op.CANCEL_WAIT, size=2) == b"\x00\x01"

    async def test_without_one_a_cancellation_is_confirmed(
        self, endpoint: Endpoint
    ) -> None:
        async with client(endpoint) as one:
            assert await one.ask(Op.CANCEL_WAIT, size=1) == b"\x01"

    async def test_a_second_replaces_the_first(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as one, client(endpoint) as other:
            one.send(Op.WAIT, counted([b"/a"]))
            one.send(Op.WAIT, counted([b"/b"]))
            assert await other.lives()
            other.send(Op.SET, blobs([b"/a", b""]))
            assert await other.lives()
            other.send(Op.SET, blobs([b"/b", b""]))

            assert await one.read(1) == b"\x00"
            assert await one.lives()

    async def test_wake_all_who_wait(self, endpoint: Endpoint) -> None:
        async with contextlib.AsyncExitStack() as stack:
            waiters = [
                await stack.enter_async_context(client(endpoint)) for _ in range(20)
            ]
            for waiter in waiters:
                waiter.send(Op.WAIT, counted([b"/a"]))
            waiters[0].writer.close()  # gone, and in nobody's way
            async with client(endpoint) as other:
                other.send(Op.SET, blobs([b"/a", b""]))

                for waiter in waiters[1:]:
                    assert await waiter.read(1) == b"\x00"


class TestRoom:
    async def test_a_store_that_is_full_refuses_and_lives_on(self) -> None:
        async with (
            serving(StoreServer(table=KeyTable(Budget(100_000)))) as address,
            client(address) as good,
            client(address) as greedy,
        ):
            good.send(Op.SET, blobs([b"/a", bytes(60_000)]))
            assert await good.lives()
            greedy.send(Op.SET, blobs([b"/b", bytes(60_000)]))

            assert await greedy.ends()
            assert await good.ask(Op.GETNUMKEYS, size=8) == I64.pack(1)
            await good.ask(Op.DELETE_KEY, blob(b"/a"), size=8)
            good.send(Op.SET, blobs([b"/b", bytes(60_000)]))
            assert await good.ask(Op.CHECK, counted([b"/b"]), size=1) == b"\x00"

    async def test_of_several_keys_none_is_written_if_there_is_no_room_for_all(
        self,
    ) -> None:
        table = KeyTable(Budget(100_000))
        async with serving(StoreServer(table=table)) as address:
            async with client(address) as greedy:
                pairs = [b"/a", b"1", b"/b", bytes(100_000)]
                greedy.send(Op.MULTI_SET, U64.pack(2), blobs(pairs))

                assert await greedy.ends()
            assert len(table) == 0
            assert table.budget.held == 0

    @pytest.mark.parametrize(
        "unfinished",
        [
            bytes([Op.SET]) + blob(b"/b") + U64.pack(MAX_VALUE) + bytes(200_000),
            bytes([Op.MULTI_SET])
            + U64.pack(100_000)
            + blobs([b"/b", bytes(1_000)]) * 200,
            bytes([Op.WAIT]) + counted([b"/%d" % n for n in range(5_000)]),
        ],
    )
    async def test_half_a_request_does_not_push_out_others(
        self, unfinished: bytes
    ) -> None:
        table = KeyTable(Budget(200_000))
        async with (
            serving(StoreServer(table=table)) as address,
            client(address) as good,
            client(address) as greedy,
        ):
            good.send(Op.WAIT, counted([b"/a"]))
            greedy.send(unfinished)

            assert await greedy.ends()
            good.send(Op.SET, blobs([b"/a", bytes(150_000)]))
            assert await good.read(1) == b"\x00"
            assert await good.lives()
            assert table.budget.held < 200_000

    async def test_what_nobody_reads_is_let_go(self) -> None:
        table = KeyTable(Budget(9 * MAX_VALUE // 2))
        async with (
            serving(StoreServer(table=table)) as address,
            client(address) as good,
            client(address) as lazy,
        ):
            # More than the system buffers between the two.
            good.send((bytes([Op.APPEND]) + blobs([b"/a", bytes(MAX_VALUE)])) * 2)
            assert await good.lives()
            lazy.send(Op.GET, blob(b"/a"))
            assert await lazy.read(8) == U64.pack(2 * MAX_VALUE)
            good.send((bytes([Op.APPEND]) + blobs([b"/b", bytes(MAX_VALUE)])) * 2)

            assert await good.lives()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await lazy.read(2 * MAX_VALUE)

    async def test_nor_is_what_nobody_reads_of_a_long_reply(self) -> None:
        table = KeyTable(Budget(9 * MAX_VALUE // 2))
        async with (
            serving(StoreServer(table=table)) as address,
            client(address) as good,
            client(address) as lazy,
        ):
            good.send(Op.SET, blobs([b"/a", bytes(MAX_VALUE // 8)]))
            good.send((bytes([Op.APPEND]) + blobs([b"/b", bytes(MAX_VALUE)])) * 2)
            assert await good.lives()
            # It reads until the large value is under way, which is what it leaves.
            lazy.send(Op.MULTI_GET, counted([b"/a"] * 8 + [b"/b"]))
            await lazy.read(8 * (8 + MAX_VALUE // 8) + 8)
            good.send((bytes([Op.APPEND]) + blobs([b"/c", bytes(MAX_VALUE)])) * 2)

            assert await good.lives()
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await lazy.read(2 * MAX_VALUE)

    async def test_a_long_reply_is_made_as_it_is_read(self) -> None:
        async with (
            serving(StoreServer()) as address,
            client(address) as good,
            client(address) as greedy,
        ):
            greedy.send(Op.SET, blobs([b"/a", bytes(MAX_VALUE)]))
            keys = [b"/a"] * 64
            # A wait that ends meanwhile is answered after it, and not in its middle.
            greedy.send(Op.WAIT, counted([b"/b"]), Op.MULTI_GET, counted(keys))
            assert await greedy.read(8) == U64.pack(MAX_VALUE)
            good.send(Op.SET, blobs([b"/b", b""]))
            assert await good.lives()

            assert await greedy.read(MAX_VALUE) == bytes(MAX_VALUE)
            for _ in keys[1:]:
                assert await greedy.read(8) == U64.pack(MAX_VALUE)
                assert await greedy.read(MAX_VALUE) == bytes(MAX_VALUE)
            assert await greedy.read(1) == b"\x00"
            assert await greedy.lives()

    async def test_a_reply_that_nobody_reads_keeps_no_old_values(self) -> None:
        table = KeyTable(Budget(8 * MAX_VALUE))
        async with (
            serving(StoreServer(table=table)) as address,
            client(address) as good,
            client(address) as lazy,
        ):
            for value in (b"1", b"2"):
                good.send(Op.SET, blobs([b"/a", value * MAX_VALUE]))
                assert await good.lives()
                if value == b"1":
                    lazy.send(Op.MULTI_GET, counted([b"/a"] * 8))
                    assert await lazy.read(8) == U64.pack(MAX_VALUE)

            values = []
            for _ in range(7):
                values.append(await lazy.read(MAX_VALUE))
                assert await lazy.read(8) == U64.pack(MAX_VALUE)
            assert values[0] == b"1" * MAX_VALUE
            assert values[-1] == b"2" * MAX_VALUE

    async def test_many_small_keys_count_for_what_they_take(self) -> None:
        table = KeyTable(Budget(4 * 1024 * 1024))
        async with (
            serving(StoreServer(table=table)) as address,
            client(address) as greedy,
        ):
            # A megabyte on the wire, but each key is an object of its own.
            keys = [b"%05d" % number for number in range(90_000)]
            greedy.send(Op.MULTI_GET, U64.pack(90_001), blobs(keys))

            assert await greedy.ends()


class TestBadClients:
    @pytest.mark.parametrize(
        "opening",
        [
            b"\x00\xff\xff\xff\xff",  # wrong magic
            bytes([Op.SET]) + blobs([b"/a", b"1"]),  # no handshake
            b"\x0d\x01\x02\x03\x04",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff",
            b"ELAUNCH0\n" + bytes(20),
            b"ELAUNCH1\n" + struct.pack("<I", 1 << 30),  # a frame that is too long
            b"ELAUNCH1\n" + struct.pack("<I", 4) + b"nope",
            b"ELAUNCH1\n" + struct.pack("<I", 2) + b"{}",
            hello(NONCE)[:5] + hello(NONCE)[:5],  # a second handshake
            hello(NONCE)[:5] + b"\x13",  # one more than there are
            hello(NONCE)[:5] + b"\xff",
            hello(NONCE)[:5] + bytes([Op.SET]) + U64.pack(MAX_KEY + 1),
            hello(NONCE)[:5] + bytes([Op.SET]) + blob(b"k") + U64.pack(MAX_VALUE + 1),
            hello(NONCE)[:5] + bytes([Op.WAIT]) + U64.pack(1 << 60),
            hello(NONCE)[:5]
            + bytes([Op.SET])
            + blobs([b"/n", b"x"])
            + bytes([Op.ADD])
            + blob(b"/n")
            + I64.pack(1),  # not a number
        ],
    )
    async def test_are_closed_and_nobody_else_notices(
        self, endpoint: Endpoint, opening: bytes
    ) -> None:
        async with client(endpoint) as good, raw(endpoint) as bad:
            good.send(Op.WAIT, counted([b"/a"]))
            bad.send(opening)

            assert await bad.ends()
            async with client(endpoint) as other:
                other.send(Op.SET, blobs([b"/a", b""]))
                assert await good.read(1) == b"\x00"

    async def test_half_a_frame_stalls_only_its_sender(
        self, endpoint: Endpoint
    ) -> None:
        async with client(endpoint) as good, client(endpoint) as half:
            whole = bytes([Op.MULTI_SET]) + U64.pack(1) + blobs([b"/a", b"1"])
            half.send(whole[:-1])
            await half.writer.drain()

            assert await good.ask(Op.CHECK, counted([b"/a"]), size=1) == b"\x01"
            half.send(whole[-1:])
            assert await half.lives()
            assert await good.ask(Op.CHECK, counted([b"/a"]), size=1) == b"\x00"

    async def test_who_leaves_in_a_frame_is_forgotten(
        self, endpoint: Endpoint, server: StoreServer
    ) -> None:
        async with client(endpoint) as good:
            async with client(endpoint) as gone:
                gone.send(Op.WAIT, counted([b"/a"]), Op.SET, U64.pack(2))
            good.send(Op.SET, blobs([b"/a", b""]))

            assert await good.lives()
            assert len(server.table) == 1

    @pytest.mark.parametrize("opening", [b"", b"\x00\xce", CONTROL_MAGIC])
    async def test_the_silent_are_dropped(self, opening: bytes) -> None:
        server = StoreServer(limits=Limits(handshake_timeout=0.05))
        listeners = listen(await resolve("127.0.0.1", 0))
        await server.start(listeners)
        address = Endpoint(*listeners[0].getsockname())
        try:
            async with raw(address) as silent:
                silent.send(opening)

                assert await silent.ends()
            async with client(address) as patient:
                # Who has introduced itself has no deadline any more.
                patient.send(Op.WAIT, counted([b"/a"]))
                async with raw(address) as other:
                    assert await other.ends()
                assert await patient.ask(Op.CANCEL_WAIT, size=1) == b"\x01"
        finally:
            await server.stop()

    async def test_who_does_not_read_is_not_served(self, endpoint: Endpoint) -> None:
        async with client(endpoint) as good, client(endpoint) as greedy:
            value = bytes(MAX_VALUE)
            greedy.send(Op.SET, blobs([b"/a", value]))
            requests = 64
            greedy.send((bytes([Op.GET]) + blob(b"/a")) * requests)
            await greedy.writer.drain()

            # 512 MiB of replies are due, but they are not made before they are read.
            assert await good.lives()
            for _ in range(requests):
                assert await greedy.read(8) == U64.pack(MAX_VALUE)
                assert await greedy.read(MAX_VALUE) == value
            assert await greedy.lives()


class TestListening:
    async def test_no_answer_waits_for_an_acknowledgement(
        self, endpoint: Endpoint, server: StoreServer
    ) -> None:
        async with client(endpoint) as one:
            assert await one.lives()
            (caller,) = server.door._callers
            accepted = caller.transport.get_extra_info("socket")

            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    async def test_control_is_refused_where_it_is_not_offered(self) -> None:
        server = StoreServer()
        listeners = listen(await resolve("127.0.0.1", 0))
        await server.start(listeners)
        try:
            async with raw(Endpoint(*listeners[0].getsockname())) as one:
                one.send(CONTROL_MAGIC)

                assert await one.ends()
        finally:
            await server.stop()

    async def test_stop_ends_every_connection(
        self, endpoint: Endpoint, server: StoreServer
    ) -> None:
        async with client(endpoint) as waiting, raw(endpoint) as silent:
            waiting.send(Op.WAIT, counted([b"/a"]))
            await server.stop()

            assert await waiting.ends()
            assert await silent.ends()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(endpoint.host, endpoint.port)
