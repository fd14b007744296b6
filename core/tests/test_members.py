"""Whom a node that hosts something for a generation's workers takes for its members."""

import asyncio
from collections.abc import Sequence

import attrs
import pytest

from elaunch.errors import RendezvousUnreachable
from elaunch.keyspace import Keyspace
from elaunch.membership.members import Members
from elaunch.membership.records import (
    Assignment,
    Keys,
    NodePhase,
    NodeRecord,
    encode,
)
from elaunch.memory_store import MemoryStore
from elaunch.rendezvous import JobSettings, Membership, NodeFacts
from elaunch.store import Listing


KEYS = Keys("job")
SETTINGS = JobSettings(min_nodes=1, max_nodes=2)
PLACE = Membership(
    generation=2,
    group_rank=0,
    group_size=2,
    base_rank=0,
    world_size=2,
    base_role_rank=0,
    role_world_size=2,
    restart_count=0,
    reason="",
)


def say(keyspace: Keyspace, node: str, phase: NodePhase, generation: int) -> None:
    facts = NodeFacts(host=node, address=node)
    record = NodeRecord(
        facts=facts, settings=SETTINGS, phase=phase, generation=generation
    )
    keyspace.put(KEYS.node(node), encode(record))


def assign(
    keyspace: Keyspace, node: str, *, generation: int = 2, token: int = 7
) -> None:
    place = attrs.evolve(PLACE, generation=generation)
    given = Assignment(membership=place, host=node, token=token)
    keyspace.put(KEYS.assignment(node), encode(given))


async def turns() -> None:
    """Let other tasks do what they can without waiting for anybody."""
    for _ in range(20):
        await asyncio.sleep(0)


def members_of(keyspace: Keyspace) -> Members:
    assignments, nodes = keyspace.list(KEYS.assignments), keyspace.list(KEYS.nodes)
    return Members.read(KEYS, (2, 7), assignments, nodes)


@pytest.fixture
def told() -> list[Sequence[str]]:
    """Whose workers still ran, each time that was told."""
    return []


@pytest.fixture
def keyspace() -> Keyspace:
    """Two members, a spare, one of another generation, one of another coordinator."""
    keyspace = Keyspace()
    for node in ("a", "b", "spare", "before", "overruled"):
        say(keyspace, node, NodePhase.RUNNING, 2)
    for node in ("a", "b", "gone"):
        assign(keyspace, node)
    assign(keyspace, "before", generation=1)
    assign(keyspace, "overruled", token=6)
    return keyspace


def test_members_are_those_that_the_seal_counts_and_that_are_here(
    keyspace: Keyspace,
) -> None:
    members = members_of(keyspace)

    assert members.facts.keys() == {"a", "b"}
    assert members.facts["a"].address == "a"
    assert members.without("a").facts.keys() == {"b"}


@pytest.mark.parametrize(
    ("phase", "generation", "runs"),
    [
        (NodePhase.READY, 0, True),  # its workers are just being started
        (NodePhase.READY, 1, True),
        (NodePhase.RUNNING, 2, True),
        (NodePhase.FAILED, 2, True),
        (NodePhase.LEAVING, 2, True),
        (NodePhase.READY, 2, False),
        (NodePhase.DONE, 2, False),
        (NodePhase.RUNNING, 3, False),
        (NodePhase.FAILED, 3, False),
    ],
)
@pytest.mark.asyncio
async def test_workers_may_run_until_their_node_says_that_they_stopped(
    keyspace: Keyspace,
    told: list[Sequence[str]],
    phase: NodePhase,
    generation: int,
    *,
    runs: bool,
) -> None:
    others = members_of(keyspace).without("a")
    say(keyspace, "b", phase, generation)
    waiting = asyncio.create_task(others.stopped(MemoryStore(keyspace), told.append))
    await turns()

    assert waiting.done() is not runs
    assert told == [["b"]] * runs
    keyspace.delete(KEYS.node("b"))
    await waiting


@pytest.mark.asyncio
async def test_each_of_the_others_is_waited_for_and_nobody_else(
    keyspace: Keyspace, told: list[Sequence[str]]
) -> None:
    members = members_of(keyspace)
    waiting = asyncio.create_task(members.stopped(MemoryStore(keyspace), told.append))
    await turns()
    say(keyspace, "a", NodePhase.READY, 2)
    await turns()
    assert not waiting.done()
    keyspace.delete(KEYS.node("b"))
    await waiting

    assert told == [["a", "b"]]


class Busy(MemoryStore):
    """After the first listing more happens than the store remembers."""

    happened = False

    async def list(self, prefix: str) -> Listing:
        listing = await super().list(prefix)
        if not self.happened:
            self.happened = True
            for _ in range(2):
                say(self.keyspace, "b", NodePhase.READY, 2)
        return listing


@pytest.mark.asyncio
async def test_what_the_store_has_forgotten_is_read_anew(
    told: list[Sequence[str]],
) -> None:
    keyspace = Keyspace(history=1)
    say(keyspace, "b", NodePhase.RUNNING, 2)
    assign(keyspace, "b")
    store = Busy(keyspace)
    await members_of(keyspace).stopped(store, told.append)

    assert store.happened


@pytest.mark.asyncio
async def test_a_store_that_was_closed_tells_nothing(
    keyspace: Keyspace, told: list[Sequence[str]]
) -> None:
    store = MemoryStore(keyspace)
    waiting = asyncio.create_task(members_of(keyspace).stopped(store, told.append))
    await turns()
    await store.close()

    with pytest.raises(RendezvousUnreachable):
        await waiting
