"""How often a node of a large job tells how it goes, in virtual time."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from elaunch.api import Lease, MemoryStore, Store, StoreRendezvous, Vitals
from elaunch.keyspace import Keyspace
from elaunch.membership import rendezvous
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.records import Keys, decode
from elaunch.testing import join_all, parameters


pytestmark = pytest.mark.asyncio

TURN = 8.0
"""Seconds between two turns of a node, as in a job of 4,000."""

told: list[tuple[float, float | None]] = []
"""When a node told of which progress."""


class Watched(MemoryStore):
    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        if key.startswith(Keys("contract").all_vitals):
            now = asyncio.get_running_loop().time()
            told.append((now, decode(Vitals, key, value).progress))
        return await super().put(key, value, lease=lease)


@pytest_asyncio.fixture
async def node(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoreRendezvous]:
    """A member of a job whose nodes take long turns."""
    monkeypatch.setattr(rendezvous, "TELL_RATE", 2 / TURN)
    keyspace = Keyspace()
    told.clear()

    async def open_store() -> Store:
        return Watched(keyspace)

    nodes = [
        StoreRendezvous(open_store, parameters(name), RendezvousOptions())
        for name in ("n0", "n1")
    ]
    await join_all(nodes)
    yield nodes[0]
    for each in nodes:
        await each.aclose()


def vitals(progress: float) -> Vitals:
    return Vitals(generation=1, progress=progress)


async def test_a_node_waits_for_its_turn(node: StoreRendezvous) -> None:
    for progress in (1.0, 2.0, 3.0):
        await node.tell(vitals(progress))

    assert [marker for _, marker in told] == [1.0, 2.0, 3.0]
    since = [time - told[0][0] for time, _ in told]
    assert since == pytest.approx([0.0, TURN, 2 * TURN], abs=1e-6)


async def test_what_must_be_known_before_something_else_waits_for_none(
    node: StoreRendezvous,
) -> None:
    await node.tell(vitals(1.0))
    await node.tell(vitals(2.0), at_once=True)

    assert [marker for _, marker in told] == [1.0, 2.0]
    assert told[1][0] - told[0][0] < 1e-3


async def test_it_counts_as_a_turn(node: StoreRendezvous) -> None:
    await node.tell(vitals(1.0), at_once=True)
    await node.tell(vitals(2.0))

    assert told[1][0] - told[0][0] >= TURN
