"""Our server with torch's client, and our client with torch's servers."""

import asyncio
import threading
import warnings
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from elaunch_rdzv_c10d import Store, StoreTimeout
from elaunch_rdzv_c10d.thread_host import ThreadedServer


pytestmark = pytest.mark.interop

SHORT = timedelta(milliseconds=50)


@pytest.fixture(scope="module")
def dist() -> Any:
    """The part of torch that has the stores."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of a missing numpy
        pytest.importorskip("torch", reason="torch is not installed: make test-interop")
        from torch import distributed
    return distributed


@pytest.fixture
def theirs(dist: Any, address: tuple[str, int]) -> Any:
    """Torch's client of our server."""
    host, port = address
    return dist.TCPStore(
        host,
        port,
        is_master=False,
        timeout=timedelta(seconds=10),
        wait_for_workers=False,
    )


@pytest.fixture
def ours(address: tuple[str, int]) -> Iterator[Store]:
    """Our client of the same server."""
    with Store(*address, timeout=10.0) as store:
        yield store


class TestOurServer:
    def test_set_and_get(self, theirs: Any, ours: Store) -> None:
        theirs.set("a", "1")
        ours.set("b", b"\x00\xff")

        assert theirs.get("a") == b"1"
        assert ours.get("a") == b"1"
        assert theirs.get("b") == b"\x00\xff"
        assert theirs.num_keys() == ours.num_keys() == 2

    def test_large_values(self, theirs: Any, ours: Store) -> None:
        value = bytes(range(256)) * (5 << 12)
        theirs.set("k", value)

        assert theirs.get("k") == value
        assert ours.get("k") == value

    def test_add(self, theirs: Any, ours: Store) -> None:
        assert theirs.add("n", 2) == 2
        assert ours.add("n", -5) == -3
        assert theirs.add("n", 0) == -3
        assert theirs.get("n") == b"-3"

    def test_check_and_delete(self, theirs: Any, ours: Store) -> None:
        ours.set("a", "")

        assert theirs.check(["a"])
        assert not theirs.check(["a", "b"])
        assert theirs.delete_key("a")
        assert not theirs.delete_key("a")
        assert not ours.check(["a"])

    def test_compare_set(self, theirs: Any, ours: Store) -> None:
        assert theirs.compare_set("k", "expected", "desired") == b"expected"
        assert theirs.compare_set("k", "", "first") == b"first"
        assert theirs.compare_set("k", "", "second") == b"first"
        assert theirs.compare_set("k", "first", "second") == b"second"
        assert ours.get("k") == b"second"

    def test_append_and_multi(self, theirs: Any, ours: Store) -> None:
        theirs.append("a", "1")
        theirs.append("a", "2")
        theirs.multi_set(["b", "c"], ["3", "4"])

        assert theirs.multi_get(["c", "a", "b"]) == [b"4", b"12", b"3"]
        assert ours.multi_get(["c", "a", "b"]) == [b"4", b"12", b"3"]

    def test_thousands_of_keys(self, theirs: Any) -> None:
        keys = [f"key-{number}" for number in range(3_000)]
        theirs.multi_set(keys, keys)
        theirs.wait(keys)

        assert theirs.multi_get(keys) == [key.encode() for key in keys]

    def test_wait(self, theirs: Any, ours: Store) -> None:
        waiter = threading.Thread(target=theirs.wait, args=(["a", "b"],))
        waiter.start()
        ours.set("a", "")
        ours.add("b", 1)
        waiter.join()

        theirs.wait(["a", "b"])

    def test_wait_times_out_and_the_connection_lives(
        self, dist: Any, theirs: Any, ours: Store
    ) -> None:
        with pytest.raises(dist.DistStoreError, match="wait timeout"):
            theirs.wait(["never"], SHORT)
        with pytest.raises(dist.DistStoreError):
            theirs.wait(["never"], timedelta(0))

        ours.set("never", "ever")
        assert theirs.get("never") == b"ever"

    def test_waits_race_with_their_end(
        self, dist: Any, theirs: Any, ours: Store
    ) -> None:
        for number in range(100):
            key = f"key-{number}"
            setter = threading.Thread(target=ours.set, args=(key, "v"))
            setter.start()
            try:
                theirs.wait([key], timedelta(milliseconds=1))
            except dist.DistStoreError:
                theirs.wait([key])
            setter.join()

            assert theirs.get(key) == b"v"

    def test_prefixes_nest(self, dist: Any, theirs: Any, ours: Store) -> None:
        dist.PrefixStore("outer", dist.PrefixStore("in/", theirs)).set("k", "v")

        assert ours.get("in//outer/k") == b"v"

    def test_a_clone_is_another_connection(self, theirs: Any) -> None:
        clone = theirs.clone()
        clone.set("k", "v")

        assert theirs.get("k") == b"v"

    def test_world_size_is_counted(self, dist: Any, address: tuple[str, int]) -> None:
        host, port = address
        counted = dist.TCPStore(host, port, world_size=2, is_master=False)

        assert counted.num_keys() == 1

    def test_a_store_that_ends_frees_its_waiters(self, dist: Any) -> None:
        server = ThreadedServer(control=False)
        host, port = asyncio.run(server.start("127.0.0.1", 0))
        store = dist.TCPStore(
            host,
            port,
            is_master=False,
            timeout=timedelta(seconds=30),
            wait_for_workers=False,
        )
        failed: list[Exception] = []

        def wait() -> None:
            try:
                store.wait(["never"])
            except dist.DistNetworkError as error:
                failed.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        asyncio.run(server.stop())
        waiter.join()

        assert len(failed) == 1


@pytest.fixture(params=[True, False], ids=["libuv", "legacy"])
def guest(dist: Any, request: pytest.FixtureRequest) -> Iterator[tuple[Any, Store]]:
    """Torch's own server, and our client of it."""
    master = dist.TCPStore(
        "127.0.0.1",
        0,
        is_master=True,
        timeout=timedelta(seconds=10),
        wait_for_workers=False,
        use_libuv=request.param,
    )
    with Store("127.0.0.1", master.port, timeout=10.0) as store:
        yield master, store


class TestTheirServer:
    def test_all_operations(self, guest: tuple[Any, Store]) -> None:
        master, store = guest
        store.set("a", "1")
        store.append("a", "2")
        store.multi_set({"b": "3", "c": ""})

        assert master.get("a") == b"12"
        assert store.multi_get(["c", "a", "b"]) == [b"", b"12", b"3"]
        assert store.add("n", 5) == 5
        assert store.add("n", -7) == -2
        assert store.check(["a", "b"])
        assert not store.check(["a", "z"])
        assert store.compare_set("k", "", "first") == b"first"
        assert store.compare_set("k", "", "second") == b"first"
        assert store.delete_key("k")
        assert not store.delete_key("k")
        assert store.num_keys() == master.num_keys()
        store.ping()

    def test_large_values(self, guest: tuple[Any, Store]) -> None:
        master, store = guest
        value = bytes(range(256)) * (6 << 12)
        store.set("k", value)

        assert store.get("k") == value
        assert master.get("k") == value

    def test_wait_and_timeout(self, guest: tuple[Any, Store]) -> None:
        master, store = guest
        waiter = threading.Thread(target=store.wait, args=(["a"],))
        waiter.start()
        master.set("a", "")
        waiter.join()

        with pytest.raises(StoreTimeout, match="nobody has set 'never'"):
            store.wait(["never"], timeout=0.05)
        store.ping()

    def test_waits_race_with_their_end(self, guest: tuple[Any, Store]) -> None:
        master, store = guest
        for number in range(100):
            key = f"key-{number}"
            setter = threading.Thread(target=master.set, args=(key, "v"))
            setter.start()
            try:
                store.wait([key], timeout=0.0005)
            except StoreTimeout:
                store.wait([key])
            setter.join()

            assert store.get(key) == b"v"
