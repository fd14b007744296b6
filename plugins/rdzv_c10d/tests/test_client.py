import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from elaunch_rdzv_c10d import Store, StoreError, StoreTimeout
from elaunch_rdzv_c10d.thread_host import ThreadedServer
from elaunch_rdzv_c10d.wire import MAX_KEY, MAX_KEYS, MAX_VALUE, U64


Address = tuple[str, int]


@pytest.fixture
def store(address: Address) -> Iterator[Store]:
    with Store(*address, timeout=10.0) as store:
        yield store


@contextlib.contextmanager
def scripted(*steps: tuple[int, bytes]) -> Iterator[Address]:
    """A server of one client: shakes hands, reads so many bytes, answers these, ..."""

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10.0)
            connection.sendall(connection.recv(10)[6:])
            for size, answer in steps:
                left = size
                while left:
                    left -= len(connection.recv(left))
                connection.sendall(answer)
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()
        thread.join()


class TestOperations:
    def test_set_and_get(self, store: Store) -> None:
        store.set("text", "ü")
        store.set("bytes", bytes(range(256)))
        store.set("empty", b"")

        assert store.get("text") == "ü".encode()
        assert store.get("bytes") == bytes(range(256))
        assert store.get("empty") == b""

    def test_add(self, store: Store) -> None:
        assert store.add("n", 5) == 5
        assert store.add("n", -7) == -2
        assert store.get("n") == b"-2"

    def test_compare_set(self, store: Store) -> None:
        assert store.compare_set("k", "expected", "desired") == b"expected"
        assert store.compare_set("k", "", "first") == b"first"
        assert store.compare_set("k", "", "second") == b"first"
        assert store.compare_set("k", "first", "second") == b"second"

    def test_append_delete_and_count(self, store: Store) -> None:
        store.append("k", "a")
        store.append("k", b"b")

        assert store.get("k") == b"ab"
        assert store.num_keys() == 1
        assert store.delete_key("k")
        assert not store.delete_key("k")
        assert store.num_keys() == 0

    def test_check(self, store: Store) -> None:
        store.set("a", "")

        assert store.check(["a"])
        assert not store.check(["a", "b"])
        assert store.check([])

    def test_multi_set_and_multi_get(self, store: Store) -> None:
        store.multi_set({"a": "1", "b": b"2", "c": ""})

        assert store.multi_get(["c", "a", "b"]) == [b"", b"1", b"2"]
        assert store.multi_get([]) == []

    def test_large_values(self, store: Store) -> None:
        value = bytes(range(256)) * (MAX_VALUE // 256)
        store.set("k", value)
        store.append("k", value)

        assert store.get("k") == value * 2

    def test_keys_are_those_of_torch(self, store: Store) -> None:
        """Torch puts a slash before each key; so the wire shows one byte more."""
        store.set("k" * (MAX_KEY - 1), "")

        with pytest.raises(ValueError, match="a key of 8193 bytes"):
            store.set("k" * MAX_KEY, "")

    def test_limits_are_checked_before_anything_is_sent(self, store: Store) -> None:
        with pytest.raises(ValueError, match="a value of 8388609 bytes"):
            store.set("k", bytes(MAX_VALUE + 1))
        with pytest.raises(ValueError, match="131073 keys at once"):
            store.check(["k"] * (MAX_KEYS + 1))
        with pytest.raises(ValueError, match="131073 keys at once"):
            store.multi_set({str(n): b"" for n in range(MAX_KEYS + 1)})
        store.ping()


class TestWaiting:
    def test_ends_when_another_client_sets(
        self, store: Store, address: Address
    ) -> None:
        with Store(*address, timeout=10.0) as other:
            waiter = threading.Thread(target=store.wait, args=(["a", "b"],))
            waiter.start()
            other.set("a", "")
            other.set("b", "")
            waiter.join()

        assert store.check(["a", "b"])

    def test_names_what_is_missing_in_time(self, store: Store) -> None:
        store.set("a", "")

        with pytest.raises(
            StoreTimeout, match=r"after 0\.01 s nobody has set 'b', 'c'"
        ):
            store.wait(["a", "b", "c"], timeout=0.01)
        with pytest.raises(StoreTimeout, match="nobody has set 'b'"):
            store.get("b", timeout=0.01)
        store.ping()

    def test_with_no_time_looks_once(self, store: Store) -> None:
        store.set("a", "")
        store.wait(["a"], timeout=0)

        with pytest.raises(StoreTimeout):
            store.wait(["b"], timeout=0)

    def test_for_many_keys_names_a_few(self, store: Store) -> None:
        with pytest.raises(StoreTimeout) as caught:
            store.wait([f"key-{n}" for n in range(100)], timeout=0.01)

        assert str(caught.value).count("key-") == 8

    def test_survives_many_races_with_the_end(
        self, store: Store, address: Address
    ) -> None:
        with Store(*address, timeout=10.0) as other:
            for number in range(100):
                key = f"key-{number}"
                setter = threading.Thread(target=other.set, args=(key, "v"))
                setter.start()
                with contextlib.suppress(StoreTimeout):
                    store.wait([key], timeout=0.0005)
                setter.join()

                assert store.get(key) == b"v"

    def test_takes_keys_that_come_while_it_is_cancelled(self) -> None:
        wait = 1 + 8 + 8 + 2
        with scripted((wait + 1, b"\x00\x01")) as (host, port):
            store = Store(host, port, timeout=10.0)
            store.wait(["k"], timeout=0.01)
            store.close()

    def test_gives_up_on_a_server_that_confirms_nonsense(self) -> None:
        wait = 1 + 8 + 8 + 2
        with (
            scripted((wait + 1, b"\x00\x07")) as (host, port),
            Store(host, port, timeout=10.0) as store,
        ):
            with pytest.raises(StoreError, match="instead of"):
                store.wait(["k"], timeout=0.01)
            with pytest.raises(StoreError, match="is closed"):
                store.ping()


class TestTrouble:
    def test_nobody_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]

        with pytest.raises(
            StoreTimeout, match=f"127.0.0.1:{port} could not be reached"
        ):
            Store("127.0.0.1", port, timeout=0.1)

    def test_a_server_that_is_late_is_waited_for(self, address: Address) -> None:
        host, port = address
        server = ThreadedServer(control=False)
        late = threading.Thread(
            target=lambda: asyncio.run(server.start("127.0.0.2", port))
        )
        late.start()
        with Store("127.0.0.2", port, timeout=10.0) as store:
            store.ping()
        late.join()
        asyncio.run(server.stop())

        assert host == "127.0.0.1"

    def test_a_server_that_never_answers(self) -> None:
        with scripted((1 + 8 + 2 + 8, b"\x00")) as (host, port):
            store = Store(host, port, timeout=0.05)
            store.timeout = 0.01

            with pytest.raises(StoreTimeout, match="does not answer"):
                store.add("k", 1)
            with pytest.raises(StoreError, match="is closed"):
                store.add("k", 1)

    def test_a_server_that_answers_half(self) -> None:
        get = 1 + 8 + 2
        with (
            scripted((get + 8, b"\x00"), (get, U64.pack(5) + b"ab")) as (
                host,
                port,
            ),
            Store(host, port, timeout=10.0) as store,
        ):
            store.timeout = 0.05
            with pytest.raises(StoreTimeout):
                store.get("k")

    def test_a_server_that_leaves(self, address: Address) -> None:
        server = ThreadedServer(control=False)
        host, port = asyncio.run(server.start("127.0.0.2", address[1]))
        store = Store(host, port, timeout=10.0)
        asyncio.run(server.stop())

        with pytest.raises(StoreError, match=f"lost the store at {host}:{port}"):
            store.get("k")

    def test_an_interrupt_does_not_mix_up_answers(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("elaunch_rdzv_c10d.client._read", interrupt)
            with pytest.raises(KeyboardInterrupt):
                store.add("k", 1)

        with pytest.raises(StoreError, match="is closed"):
            store.add("k", 1)

    def test_close_twice(self, store: Store) -> None:
        store.close()
        store.close()


class TestEnvironment:
    def test_names_the_store(
        self, address: Address, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MASTER_ADDR", address[0])
        monkeypatch.setenv("MASTER_PORT", str(address[1]))
        with Store.from_env(timeout=10.0) as store:
            store.ping()

            assert (store.host, store.port) == address

    @pytest.mark.parametrize(
        ("host", "port"), [("", "1"), ("h", ""), ("h", "x"), ("h", "65536")]
    )
    def test_may_name_none(
        self, host: str, port: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MASTER_ADDR", host)
        monkeypatch.setenv("MASTER_PORT", port)

        with pytest.raises(ValueError, match="run under 'elaunch run'"):
            Store.from_env()


def test_threads_take_turns(store: Store) -> None:
    def work() -> None:
        for _ in range(100):
            store.add("n", 1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.add("n", 0) == 800
