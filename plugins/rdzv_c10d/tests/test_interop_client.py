"""Our client with torch's own servers: its default one and the older one."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from elaunch_rdzv_c10d import QueueEmpty, Store, StoreError, StoreTimeout


pytestmark = pytest.mark.interop

Connect = Callable[..., Any]


@pytest.fixture(params=[True, False], ids=["libuv", "legacy"])
def master(request: pytest.FixtureRequest, torch_store: Connect) -> Any:
    """Torch's own server, and its client in one."""
    return torch_store(("127.0.0.1", 0), is_master=True, use_libuv=request.param)


@pytest.fixture
def default(torch_store: Connect) -> Any:
    """The server that has queues."""
    return torch_store(("127.0.0.1", 0), is_master=True)


@pytest.fixture
def older(torch_store: Connect) -> Any:
    """The server that has none."""
    return torch_store(("127.0.0.1", 0), is_master=True, use_libuv=False)


def connect(master: Any) -> Store:
    return Store("127.0.0.1", master.port, timeout=20.0)


@pytest.fixture
def store(master: Any) -> Iterator[Store]:
    """Our client of it."""
    with connect(master) as store:
        yield store


def test_keys(master: Any, store: Store) -> None:
    store.set("a", "1")
    store.append("a", "2")
    store.multi_set({"b": "3", "c": ""})

    assert master.get("a") == b"12"
    assert store.get("a") == b"12"
    assert store.multi_get(["c", "a", "b"]) == [b"", b"12", b"3"]
    assert store.add("n", 5) == 5
    assert store.add("n", -7) == -2
    assert store.check(["a", "b"])
    assert not store.check(["a", "z"])
    assert store.compare_set("k", "expected", "desired") == b"expected"
    assert store.compare_set("k", "", "first") == b"first"
    assert store.compare_set("k", "", "second") == b"first"
    assert store.compare_set("k", "first", "second") == b"second"
    assert store.delete_key("k")
    assert not store.delete_key("k")
    assert store.num_keys() == master.num_keys()
    assert sorted(store.list_keys()) == ["a", "b", "c", "n"]
    store.ping()


def test_large_values(master: Any, store: Store) -> None:
    value = bytes(range(256)) * (5 << 12)
    store.set("k", value)
    store.append("k", value)

    assert store.get("k") == value * 2
    assert master.get("k") == value * 2


def test_thousands_of_keys(store: Store) -> None:
    keys = [f"key-{number}" for number in range(3_000)]
    store.multi_set(dict.fromkeys(keys, "v"))

    assert store.multi_get(keys) == [b"v"] * 3_000
    assert sorted(store.list_keys()) == sorted(keys)


def test_waits_end_in_time(store: Store) -> None:
    for timeout in (0.05, 0):
        with pytest.raises(StoreTimeout, match="nobody has set 'never'"):
            store.wait(["never"], timeout)
    store.ping()


def test_waits_race_with_their_end(master: Any, store: Store) -> None:
    for number in range(200):
        key = f"key-{number}"
        setter = threading.Thread(target=master.set, args=(key, "v"))
        setter.start()
        try:
            store.wait([key], timeout=0.001)
        except StoreTimeout:
            store.wait([key])
        setter.join()

        assert store.get(key) == b"v"


def test_barriers_end_in_time(store: Store) -> None:
    with pytest.raises(StoreTimeout, match=r"1 of 2 have come to the barrier 'b'"):
        store.barrier("b", 2, timeout=0.05)
    store.barrier("b", 2)


def test_queues(default: Any) -> None:
    with connect(default) as store:
        for value in ("a", b"", "c"):
            store.queue_push("q", value)

        assert store.queue_len("q") == default.queue_len("q") == 3
        assert default.queue_pop("q") == b"a"
        assert [store.queue_pop("q") for _ in range(2)] == [b"", b"c"]
        with pytest.raises(QueueEmpty, match="queue 'q' in the store"):
            store.queue_pop("q", block=False)
        with pytest.raises(StoreTimeout, match="take from the queue 'q'"):
            store.queue_pop("q", timeout=0.05)


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.queue_len("q"),
        lambda s: s.queue_push("q", "v"),
        lambda s: s.queue_pop("q"),
    ],
)
def test_queues_of_a_server_without(older: Any, use: Callable[[Store], object]) -> None:
    with (
        connect(older) as store,
        pytest.raises(StoreError, match="queues need torch"),
    ):
        use(store)
