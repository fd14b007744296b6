"""Our client with servers that answer wrong, late, in part or not at all."""

import contextlib
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from elaunch_rdzv_c10d import Store, StoreError, StoreTimeout
from elaunch_rdzv_c10d.wire import I64, MAGIC, MAX_VALUE, U32, U64, Op, blob


Address = tuple[str, int]
Step = Callable[[socket.socket], object]

KEY = blob(b"/k")
ONE = U64.pack(1)
CANCEL = bytes((Op.CANCEL_WAIT,))
WAIT = bytes((Op.WAIT,)) + ONE + KEY
ADD = bytes((Op.ADD,)) + KEY + I64.pack(1)


def receive(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        assert part, f"the client left after {data!r}"
        data += part
    return data


def greet(connection: socket.socket) -> None:
    connection.sendall(receive(connection, 10)[6:])


def read(request: bytes) -> Step:
    """Receive exactly this."""

    def step(connection: socket.socket) -> None:
        assert receive(connection, len(request)) == request

    return step


def say(reply: bytes) -> Step:
    return lambda connection: connection.sendall(reply)


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


@contextlib.contextmanager
def serving(*scripts: list[Step]) -> Iterator[Address]:
    """Serve one client after the other, each by its script and then with silence."""

    def serve() -> None:
        for script in scripts:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(10.0)
                for step in script:
                    step(connection)
                with contextlib.suppress(OSError):  # it may be closed
                    while connection.recv(1024):
                        pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10.0)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()
        finally:
            thread.join()
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):  # nobody has connected once more
            listener.accept()


@contextlib.contextmanager
def client(*steps: Step, timeout: float = 10.0) -> Iterator[Store]:
    """Our client of a server that greets, then does these steps."""
    with serving([greet, *steps]) as address, Store(*address) as store:
        store.timeout = timeout
        yield store


OPERATIONS: dict[str, tuple[Callable[[Store], object], bytes, bytes]] = {
    "add": (lambda s: s.add("k", 1), ADD, I64.pack(7)),
    "check": (lambda s: s.check(["k"]), bytes((Op.CHECK,)) + ONE + KEY, b"\x00"),
    "wait": (lambda s: s.wait(["k"]), WAIT, b"\x00"),
    "compare_set": (
        lambda s: s.compare_set("k", "a", "b"),
        bytes((Op.COMPARE_SET,)) + KEY + blob(b"a") + blob(b"b"),
        blob(b"b"),
    ),
    "delete_key": (
        lambda s: s.delete_key("k"),
        bytes((Op.DELETE_KEY,)) + KEY,
        I64.pack(1),
    ),
    "num_keys": (lambda s: s.num_keys(), bytes((Op.GETNUMKEYS,)), I64.pack(1)),
    "list_keys": (
        lambda s: s.list_keys(),
        bytes((Op.LIST_KEYS,)),
        I64.pack(2) + KEY + blob(b"/key"),
    ),
    "queue_len": (
        lambda s: s.queue_len("k"),
        bytes((Op.QUEUE_LEN,)) + KEY,
        I64.pack(1),
    ),
    "queue_pop": (
        lambda s: s.queue_pop("k"),
        bytes((Op.QUEUE_POP,)) + KEY,
        I64.pack(1) + blob(b"value"),
    ),
}
"""Requests that one reply answers: how to make them, their bytes, the reply's."""


@pytest.fixture(params=OPERATIONS)
def operation(
    request: pytest.FixtureRequest,
) -> tuple[Callable[[Store], object], bytes, bytes]:
    return OPERATIONS[request.param]


class TestReplies:
    def test_may_come_byte_by_byte(
        self, operation: tuple[Callable[[Store], object], bytes, bytes]
    ) -> None:
        ask, request, reply = operation
        bits = [say(reply[n : n + 1]) for n in range(len(reply))]
        with client(read(request), *bits, read(ADD), say(I64.pack(9))) as store:
            ask(store)

            assert store.add("k", 1) == 9

    @pytest.mark.parametrize("leave", [close, reset])
    def test_may_be_cut_anywhere(
        self,
        leave: Step,
        operation: tuple[Callable[[Store], object], bytes, bytes],
    ) -> None:
        ask, request, reply = operation
        scripts = [
            [greet, read(request), say(reply[:cut]), leave] for cut in range(len(reply))
        ]
        with serving(*scripts) as address:
            for _ in scripts:
                with Store(*address, timeout=10.0) as store:
                    with pytest.raises(StoreError, match="lost the store at 127"):
                        ask(store)
                    with pytest.raises(StoreError, match="is closed"):
                        ask(store)

    @pytest.mark.parametrize("end", [0, -1])
    def test_may_never_come_or_not_whole(
        self, end: int, operation: tuple[Callable[[Store], object], bytes, bytes]
    ) -> None:
        ask, request, reply = operation
        with client(read(request), say(reply[:end]), timeout=0.02) as store:
            with pytest.raises(StoreTimeout, match="does not answer"):
                ask(store)
            with pytest.raises(StoreError, match="is closed"):
                ask(store)

    def test_that_trickle_are_not_waited_for_longer(self) -> None:
        def trickle(connection: socket.socket) -> None:
            connection.settimeout(0.001)
            with contextlib.suppress(OSError):
                while True:
                    connection.sendall(b"x")
                    with contextlib.suppress(TimeoutError):
                        if not connection.recv(1):
                            return

        get = bytes((Op.GET,)) + KEY
        announce = say(U64.pack(MAX_VALUE))
        with (
            client(
                read(WAIT), say(b"\x00"), read(get), announce, trickle, timeout=0.1
            ) as store,
            pytest.raises(StoreTimeout, match="does not answer"),
        ):
            store.get("k")


class TestNonsense:
    @pytest.mark.parametrize(
        ("name", "reply", "complaint"),
        [
            ("check", b"\x07", "instead of .* or"),
            ("wait", b"\x01", "instead of"),
            ("compare_set", U64.pack((1 << 30) + 1), "value of 1073741825 bytes"),
            ("compare_set", b"\xff" * 8, "value of 18446744073709551615 bytes"),
            ("list_keys", I64.pack(-1), "announces -1 keys"),
            ("list_keys", I64.pack(1 << 40), "announces 1099511627776 keys"),
            ("queue_pop", I64.pack(-1), "queue of -1 values"),
        ],
    )
    def test_ends_the_connection(self, name: str, reply: bytes, complaint: str) -> None:
        ask, request, _ = OPERATIONS[name]
        with client(read(request), say(reply)) as store:
            with pytest.raises(StoreError, match=complaint):
                ask(store)
            with pytest.raises(StoreError, match="is closed"):
                ask(store)

    def test_with_a_reply_is_found_before_the_next_request(self) -> None:
        with client(read(ADD), say(I64.pack(1) + b"more")) as store:
            assert store.add("k", 1) == 1
            with pytest.raises(StoreError, match="b'more', which nobody asked for"):
                store.add("k", 1)

    def test_that_nobody_asked_for_is_found(self) -> None:
        said = threading.Event()
        with client(say(b"hello"), lambda _: said.set()) as store:
            assert said.wait(60.0)
            with pytest.raises(StoreError, match="b'hello', which nobody asked for"):
                store.set("k", "v")

    def test_instead_of_a_ping(self) -> None:
        with (
            client(lambda c: receive(c, 5), say(b"pong")) as store,
            pytest.raises(StoreError, match="answers b'pong' instead of"),
        ):
            store.ping()


class TestTheEndOfAWait:
    @pytest.mark.parametrize(
        ("replies", "error"),
        [
            (b"\x01", "nobody has set 'k'"),
            (b"\x00\x01", None),
            (b"\x07", "instead of"),
            (b"\x00\x07", "instead of"),
            (b"\x00", "does not answer"),
            (b"", "does not answer"),
        ],
    )
    def test_is_confirmed(self, replies: bytes, error: str | None) -> None:
        steps = [read(WAIT), read(CANCEL), say(replies)]
        if replies == b"\x01":
            steps += [read(OPERATIONS["check"][1]), say(b"\x01")]
        mute = error == "does not answer"
        with client(*steps, timeout=0.02 if mute else 10.0) as store:
            if error is None:
                store.wait(["k"], timeout=0.01)
            else:
                with pytest.raises((StoreError, StoreTimeout), match=error):
                    store.wait(["k"], timeout=0.01)

    @pytest.mark.parametrize("replies", [b"", b"\x00"])
    def test_may_be_that_of_the_server(self, replies: bytes) -> None:
        with (
            client(read(WAIT), read(CANCEL), say(replies), close) as store,
            pytest.raises(StoreError, match="it closed the connection"),
        ):
            store.wait(["k"], timeout=0.01)

    def test_comes_with_close_in_another_thread(self) -> None:
        errors = []
        waiting = threading.Event()

        def wait(store: Store) -> None:
            with pytest.raises(StoreError, match="is closed") as caught:
                store.wait(["k"])
            errors.append(caught.value)

        with client(read(WAIT), lambda _: waiting.set()) as store:
            waiter = threading.Thread(target=wait, args=(store,))
            waiter.start()
            assert waiting.wait(60.0)
            store.close()
            waiter.join()

        assert len(errors) == 1


POP = bytes((Op.QUEUE_POP,)) + KEY
EMPTY = say(I64.pack(0))
ITEM = say(I64.pack(1) + blob(b"v"))


class TestAQueue:
    def test_is_waited_for_again_when_another_was_faster(self) -> None:
        lost = [read(WAIT), say(b"\x00"), read(POP), EMPTY]
        won = [read(WAIT), say(b"\x00"), read(POP), ITEM]
        with client(read(POP), EMPTY, *lost, *lost, *won) as store:
            assert store.queue_pop("k") == b"v"

    def test_is_looked_at_again_though_nobody_wakes_us(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server has woken another, who has died."""
        monkeypatch.setattr("elaunch_rdzv_c10d.client._LOOK_AGAIN", 0.01)
        again = [read(WAIT), read(CANCEL), say(b"\x01"), read(POP)]
        steps = [read(POP), EMPTY, *again, EMPTY, *again, ITEM]
        with client(*steps) as store:
            assert store.queue_pop("k") == b"v"

    def test_that_was_waited_for_does_not_end_a_later_wait(self) -> None:
        """With torch's default server a push to the queue does."""
        _, check, there = OPERATIONS["check"]
        get = bytes((Op.GET,)) + KEY
        queue = [read(POP), EMPTY, read(WAIT), say(b"\x00"), read(POP), ITEM]
        woken = [read(WAIT), say(b"\x00"), read(check), say(b"\x01")]
        came = [read(WAIT), say(b"\x00"), read(check), say(there)]
        with client(*queue, *woken, *came, read(get), say(blob(b"v"))) as store:
            store.queue_pop("k")

            assert store.get("k") == b"v"

    def test_that_the_server_lacks_is_explained(self) -> None:
        with (
            client(read(POP), close) as store,
            pytest.raises(StoreError, match="if torch hosts it: queues need torch"),
        ):
            store.queue_pop("k")

    def test_of_a_server_that_leaves_later_needs_no_explanation(self) -> None:
        with client(read(POP), ITEM, read(POP), close) as store:
            store.queue_pop("k")
            with pytest.raises(StoreError, match=r"it closed the connection$"):
                store.queue_pop("k")

    def test_is_not_pushed_to_before_it_is_known(self) -> None:
        length = bytes((Op.QUEUE_LEN,)) + KEY
        push = bytes((Op.QUEUE_PUSH,)) + KEY + blob(b"v")
        with client(read(length), say(I64.pack(0)), read(push), read(push)) as store:
            store.queue_push("k", "v")
            store.queue_push("k", "v")


class TestRequests:
    def test_begin_with_one_write(self) -> None:
        """Torch's default server drops a client whose handshake comes in two."""
        writes = []

        def take(connection: socket.socket) -> None:
            writes.append(connection.recv(64))
            connection.sendall(writes[0][6:])

        with serving([take]) as address:
            Store(*address, timeout=10.0).close()

        assert len(writes[0]) == 10
        assert writes[0].startswith(b"\x00" + U32.pack(MAGIC) + b"\x0d")

    def test_that_nobody_takes_end(self) -> None:
        done = threading.Event()
        with client(lambda _: done.wait(60.0), timeout=0.2) as store:
            with pytest.raises(StoreTimeout, match="does not answer"):
                store.multi_set({str(n): bytes(MAX_VALUE) for n in range(10)})
            done.set()

    @pytest.mark.parametrize("leave", [close, reset])
    def test_to_a_server_that_has_left_fail_at_once(self, leave: Step) -> None:
        """Torch's client loses the first write."""
        left = threading.Event()
        with client(leave, lambda _: left.set()) as store:
            assert left.wait(60.0)
            with pytest.raises(StoreError, match="lost the store"):
                store.set("k", "v")

    def test_are_not_made_twice(self) -> None:
        with serving([greet, read(ADD), close]) as address:
            store = Store(*address, timeout=10.0)
            with pytest.raises(StoreError, match="lost the store"):
                store.add("k", 1)
            with pytest.raises(StoreError, match="is closed"):
                store.add("k", 1)

    def test_that_are_interrupted_end_the_connection(self) -> None:
        """Else the next request would get the reply of this one."""
        us = threading.get_ident()
        with client(
            read(ADD),
            lambda _: signal.pthread_kill(us, signal.SIGINT),
            say(I64.pack(1)),
        ) as store:
            with pytest.raises(KeyboardInterrupt):
                store.add("k", 1)
            with pytest.raises(StoreError, match="is closed"):
                store.add("k", 1)

    def test_wait_for_their_turn_as_long_as_the_reply(self) -> None:
        waiting = threading.Event()
        go_on = threading.Event()
        steps = [
            read(WAIT),
            lambda _: waiting.set(),
            lambda _: go_on.wait(60.0),
            say(b"\x00"),
            read(ADD),
            say(I64.pack(1)),
        ]
        with client(*steps) as store:
            waiter = threading.Thread(target=store.wait, args=(["k"],))
            waiter.start()
            assert waiting.wait(60.0)
            store.timeout = 0.01
            with pytest.raises(StoreTimeout, match="another thread has been using"):
                store.add("k", 1)
            store.timeout = 10.0
            go_on.set()

            assert store.add("k", 1) == 1
            waiter.join()


class TestConnecting:
    @pytest.mark.parametrize("first", [close, reset, say(b"????")])
    def test_is_tried_again(self, first: Step) -> None:
        with serving([first], [greet]) as address:
            Store(*address, timeout=10.0).close()

    def test_to_a_mute_server_ends(self) -> None:
        with (
            serving([]) as address,
            pytest.raises(StoreTimeout, match="could not be reached"),
        ):
            Store(*address, timeout=0.05)
