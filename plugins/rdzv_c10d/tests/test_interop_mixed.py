"""Torch's clients and ours in one store, whoever serves it."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from elaunch_rdzv_c10d import Store


pytestmark = pytest.mark.interop

Address = tuple[str, int]
Connect = Callable[..., Any]


@pytest.fixture(params=["elaunch", "libuv", "legacy"])
def place(request: pytest.FixtureRequest, torch_store: Connect) -> Iterator[Address]:
    """Where the store is."""
    if request.param == "elaunch":
        yield request.getfixturevalue("far_address")
        return
    master = torch_store(
        ("127.0.0.1", 0), is_master=True, use_libuv=request.param == "libuv"
    )
    yield "127.0.0.1", master.port


@pytest.fixture
def theirs(torch_store: Connect, place: Address) -> Any:
    return torch_store(place)


@pytest.fixture
def ours(place: Address) -> Iterator[Store]:
    with Store(*place, timeout=20.0) as store:
        yield store


def at_once(*calls: Callable[[], object]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_they_see_the_same_keys(theirs: Any, ours: Store) -> None:
    theirs.set("a", "1")
    ours.set("b", b"\x00\xff")

    assert theirs.get("b") == b"\x00\xff"
    assert ours.get("a") == b"1"
    assert ours.add("n", 1) + theirs.add("n", 1) == 3
    assert sorted(theirs.list_keys()) == sorted(ours.list_keys()) == ["a", "b", "n"]
    assert ours.compare_set("a", "1", "2") == b"2"
    assert theirs.compare_set("a", "1", "3") == b"2"


def test_theirs_wakes_ours(theirs: Any, ours: Store) -> None:
    at_once(lambda: ours.wait(["set"]), lambda: theirs.set("set", ""))
    at_once(lambda: ours.wait(["add"]), lambda: theirs.add("add", 1))
    at_once(lambda: ours.wait(["append"]), lambda: theirs.append("append", ""))
    at_once(
        lambda: ours.wait(["a", "b"]), lambda: theirs.multi_set(["a", "b"], ["", ""])
    )

    assert ours.check(["set", "add", "append", "a", "b"])


def test_ours_wakes_theirs(theirs: Any, ours: Store) -> None:
    at_once(lambda: theirs.wait(["set"]), lambda: ours.set("set", ""))
    at_once(lambda: theirs.wait(["add"]), lambda: ours.add("add", 1))
    at_once(lambda: theirs.wait(["append"]), lambda: ours.append("append", ""))
    at_once(lambda: theirs.wait(["a", "b"]), lambda: ours.multi_set({"a": "", "b": ""}))

    assert theirs.check(["set", "add", "append", "a", "b"])


def test_they_meet_in_a_barrier(dist: Any, theirs: Any, ours: Store) -> None:
    at_once(
        lambda: ours.barrier("p/b", 2),
        lambda: dist.PrefixStore("p", theirs).barrier("b", 2),
    )

    assert ours.get("p/b/num_members") == b"2"


def test_they_meet_in_a_barrier_of_torchelastic(theirs: Any, ours: Store) -> None:
    from torch.distributed.elastic.utils.store import barrier

    at_once(lambda: ours.barrier("b", 2), lambda: barrier(theirs, 2, "b", 20))

    assert ours.get("b/num_members") == b"2"


@pytest.mark.parametrize("place", ["elaunch", "libuv"], indirect=True)
def test_each_value_of_a_queue_goes_to_one(dist: Any, theirs: Any, ours: Store) -> None:
    found: list[bytes] = []
    other = theirs.clone()

    def pop_ours() -> None:
        while (value := ours.queue_pop("q")) != b"end":
            found.append(value)

    def pop_theirs() -> None:
        value = b""
        while value != b"end":
            try:
                value = theirs.queue_pop("q")
            except dist.QueueEmptyError:
                continue  # ours was faster
            found.append(value)
        found.remove(b"end")

    def push() -> None:
        for value in [*map(str, range(200)), "end", "end"]:
            other.queue_push("q", value)

    at_once(pop_ours, pop_theirs, push)

    assert sorted(map(int, found)) == list(range(200))
