import asyncio
import contextlib
import socket
import threading

import pytest

from elaunch_rdzv_c10d import Store, StoreError, StoreTimeout
from elaunch_rdzv_c10d.thread_host import ThreadedServer
from elaunch_rdzv_c10d.wire import MAX_KEY, MAX_KEYS, MAX_VALUE


Address = tuple[str, int]


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

    def test_numbers_have_64_bits(self, store: Store) -> None:
        assert store.add("n", (1 << 63) - 1) == (1 << 63) - 1
        assert store.add("n", 1) == -(1 << 63)
        with pytest.raises(ValueError, match="9223372036854775808 does not fit"):
            store.add("n", 1 << 63)


class TestBarrier:
    def test_holds_all_until_the_last(self, store: Store) -> None:
        def arrive() -> None:
            with store.clone() as own:
                own.barrier("b", 3)
                own.add("passed", 1)

        threads = [threading.Thread(target=arrive) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert store.add("passed", 0) == 0
        store.barrier("b", 3)
        for thread in threads:
            thread.join()

        assert store.add("passed", 0) == 2

    def test_tells_how_many_have_come_in_time(self, store: Store) -> None:
        with pytest.raises(StoreTimeout, match=r"after 0 s 1 of 3 .* barrier 'b'"):
            store.barrier("b", 3, timeout=0)
        with pytest.raises(StoreTimeout, match=r"after 0\.01 s 2 of 3"):
            store.barrier("b", 3, timeout=0.01)
        store.barrier("b", 3, timeout=0)

    def test_opens_though_the_last_died_on_its_way(self, store: Store) -> None:
        store.add("b/num_members", 3)

        store.barrier("b", 3, timeout=0)

    def test_is_for_somebody(self, store: Store) -> None:
        with pytest.raises(ValueError, match="a barrier for 0"):
            store.barrier("b", 0)


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


class TestAddresses:
    def test_may_be_ipv6(self) -> None:
        server = ThreadedServer(control=False)
        host, port = asyncio.run(server.start("::1", 0))
        with Store(host, port, timeout=10.0) as store:
            store.set("k", "v")

            assert store.get("k") == b"v"
            asyncio.run(server.stop())
            with pytest.raises(StoreError, match=rf"lost the store at \[::1\]:{port}"):
                store.ping()

    def test_may_be_a_name(self, address: Address) -> None:
        with Store("localhost", address[1], timeout=10.0) as store:
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

    def test_a_server_that_leaves(self, address: Address) -> None:
        server = ThreadedServer(control=False)
        host, port = asyncio.run(server.start("127.0.0.2", address[1]))
        store = Store(host, port, timeout=10.0)
        asyncio.run(server.stop())

        with pytest.raises(StoreError, match=f"lost the store at {host}:{port}"):
            store.get("k")

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
