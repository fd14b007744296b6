"""Ranks over the store of a rendezvous that blocks: torchelastic's keys and numbers."""

import json

import pytest

from elaunch.blocking.ranks import (
    ASSIGNED,
    GENERATION,
    ROLE_INFO,
    Member,
    Past,
    agree,
    next_generation,
    places,
)
from elaunch.errors import RendezvousCorrupt
from elaunch.rendezvous import NodeFacts


class Store:
    """A store that never waits: what is asked for must be there."""

    def __init__(self, values: dict[str, bytes] | None = None) -> None:
        self.values = values or {}

    def set(self, key: str, value: bytes) -> None:
        self.values[key] = value

    def get(self, key: str) -> bytes:
        return self.values[key]

    def multi_get(self, keys: list[str]) -> list[bytes]:
        return [self.values[key] for key in keys]

    def check(self, keys: list[str]) -> bool:
        return all(key in self.values for key in keys)


def node(**more: object) -> NodeFacts:
    facts = {"host": "h", "address": "10.0.0.1", "role": "tr", "local_world_size": 2}
    return NodeFacts(**{**facts, **more})  # type: ignore[arg-type] # as given


def test_ranks_are_torchelastics() -> None:
    members = [
        Member(role=role, workers=workers)
        for role, workers in (("ps", 4), ("tr", 1), ("tr", 2), ("tr", 3), ("ps", 5))
    ]

    assert places(members) == [
        (0, 15, 0, 9),
        (4, 15, 0, 6),
        (5, 15, 1, 6),
        (7, 15, 3, 6),
        (10, 15, 4, 9),
    ]


def past(*facts: Past) -> Past:
    members = [Member(role="r", workers=1, past=known) for known in facts]
    return next_generation(members)


def test_a_failure_that_several_nodes_saw_counts_once() -> None:
    failed = Past(generation=3, restarts=1, failed=True, reason="rank 0 failed")
    joined = Past(generation=3, restarts=1, reason="1 node waits to join")

    assert past(Past(), joined, failed, failed) == Past(
        generation=4, restarts=2, reason="rank 0 failed"
    )
    assert past(joined, Past()) == Past(
        generation=4, restarts=1, reason="1 node waits to join"
    )
    assert past(Past(), Past()).generation == 1


def test_a_failure_of_a_generation_that_others_have_passed_does_not_count() -> None:
    old = Past(generation=2, restarts=0, failed=True, reason="long ago")
    new = Past(generation=5, restarts=3, reason="1 node waits to join")

    assert past(old, new).restarts == 3


def test_rank_0_assigns_and_all_read_the_same() -> None:
    store = Store()
    store.set(
        f"{ROLE_INFO}1",  # as an agent of torchelastic writes it
        json.dumps({"role": "ps", "rank": 1, "local_world_size": 3}).encode(),
    )
    known = Past(generation=6, restarts=2, failed=True, reason="rank 4 failed")
    first, addresses = agree(store, 0, 2, node(), known)

    assert addresses == {"10.0.0.1"}
    assert (first.base_rank, first.world_size, first.role_world_size) == (0, 5, 2)
    assert (first.generation, first.restart_count) == (7, 3)
    assert first.reason == "rank 4 failed"
    assert json.loads(store.get(f"{ASSIGNED}1")) == [2, 5, 0, 3]
    own = node(role="ps", local_world_size=3, address="10.0.0.2", addresses=("fe::1",))
    second, _ = agree(store, 1, 2, own, Past())
    assert (second.generation, second.restart_count) == (7, 3)
    assert (second.base_rank, second.group_rank, second.group_size) == (2, 1, 2)


def test_rank_0_knows_from_where_all_connect() -> None:
    store = Store()
    with pytest.raises(KeyError):  # nobody has assigned ranks yet
        agree(store, 1, 2, node(address="a", addresses=("b",)), Past())
    _, addresses = agree(store, 0, 2, node(), Past())

    assert addresses == {"10.0.0.1", "a", "b"}


def test_a_node_goes_on_counting_where_rank_0_is_torchelastics() -> None:
    store = Store({f"{ASSIGNED}1": b"[2, 4, 2, 4]"})
    known = Past(generation=2, restarts=1, failed=True)
    place, _ = agree(store, 1, 2, node(), known)

    assert (place.base_rank, place.base_role_rank) == (2, 2)
    assert (place.generation, place.restart_count) == (3, 2)


@pytest.mark.parametrize(
    "values",
    [
        {f"{ASSIGNED}1": b"nonsense"},
        {f"{ASSIGNED}1": b"[1]"},
        {f"{ASSIGNED}1": b"[0, 1, 0, 1]", GENERATION: b'{"x": 1}'},
    ],
)
def test_nonsense_in_the_store_is_told(values: dict[str, bytes]) -> None:
    with pytest.raises(RendezvousCorrupt, match="holds no ranks"):
        agree(Store(values), 1, 2, node(), Past())


def test_nonsense_of_a_node_is_told() -> None:
    with pytest.raises(RendezvousCorrupt, match=r"a node says b'{}' of itself"):
        agree(Store({f"{ROLE_INFO}1": b"{}"}), 0, 2, node(), Past())
