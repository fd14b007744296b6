"""The queues of our client, and what lists keys: what not every server has."""

import contextlib
import threading

import pytest

from elaunch_rdzv_c10d import QueueEmpty, Store, StoreTimeout


def test_queues_are_first_in_first_out(store: Store) -> None:
    for value in ("a", b"", "c"):
        store.queue_push("q", value)

    assert store.queue_len("q") == 3
    assert [store.queue_pop("q") for _ in range(3)] == [b"a", b"", b"c"]
    assert store.queue_len("q") == 0
    assert store.num_keys() == 0


def test_queues_may_be_empty(store: Store) -> None:
    with pytest.raises(QueueEmpty, match=r"queue 'q' in the store at .* is empty"):
        store.queue_pop("q", block=False)
    for timeout in (0, 0.01):
        with pytest.raises(StoreTimeout, match="take from the queue 'q'"):
            store.queue_pop("q", timeout=timeout)
    store.queue_push("q", "late")

    assert store.queue_pop("q") == b"late"


def test_queues_are_waited_for(store: Store) -> None:
    found = []
    with store.clone() as other:
        popper = threading.Thread(target=lambda: found.append(other.queue_pop("q")))
        popper.start()
        store.queue_push("q", "value")
        popper.join()

    assert found == [b"value"]


def test_queues_give_each_value_to_one_of_many(store: Store) -> None:
    """Poppers that wait and some that don't, which take what others woke for."""
    found: list[bytes] = []

    def wait() -> None:
        with store.clone() as own:
            while (value := own.queue_pop("q", timeout=10.0)) != b"end":
                found.append(value)

    def snatch() -> None:
        with store.clone() as own:
            while not own.check(["over"]):
                with contextlib.suppress(QueueEmpty):
                    value = own.queue_pop("q", block=False)
                    if value == b"end":
                        own.queue_push("q", value)
                    else:
                        found.append(value)

    waiters = [threading.Thread(target=wait) for _ in range(4)]
    snatcher = threading.Thread(target=snatch)
    for thread in (*waiters, snatcher):
        thread.start()
    values = [str(number) for number in range(300)]
    for value in [*values, *(["end"] * 4)]:
        store.queue_push("q", value)
    for waiter in waiters:
        waiter.join()
    store.set("over", "")
    snatcher.join()

    assert sorted(int(value) for value in found) == list(range(300))


def test_queues_of_the_name_of_a_key_still_work(store: Store) -> None:
    """The wait ends at once, since the key is there."""
    store.set("q", "")
    with pytest.raises(StoreTimeout):
        store.queue_pop("q", timeout=0.02)
    store.queue_push("q", "value")

    assert store.queue_pop("q") == b"value"


def test_list_keys(store: Store) -> None:
    store.multi_set({"a": "", "b/c": "", "ü": ""})
    store.queue_push("q", "")

    assert sorted(store.list_keys()) == ["a", "b/c", "ü"]
