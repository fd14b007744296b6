"""What a node takes for its place."""

import attrs
import pytest
import pytest_asyncio

from elaunch.keyspace import Keyspace
from elaunch.membership.records import Assignment, JobPhase, JobRecord, Keys, encode
from elaunch.membership.stay import Stay
from elaunch.memory_store import MemoryStore
from elaunch.rendezvous import JobSettings, Membership, NodeFacts


KEYS = Keys("job")
SETTINGS = JobSettings(min_nodes=1, max_nodes=1)
SEALED = JobRecord(
    phase=JobPhase.SEALED, generation=2, settings=SETTINGS, token=7, size=1
)
PLACE = Membership(
    generation=2,
    group_rank=0,
    group_size=1,
    base_rank=0,
    world_size=1,
    base_role_rank=0,
    role_world_size=1,
    restart_count=0,
    reason="",
)


@pytest_asyncio.fixture
async def stay() -> Stay:
    """A stay whose node was assigned the place by coordinator 7."""
    keyspace = Keyspace()
    assignment = Assignment(membership=PLACE, host="h", token=7)
    keyspace.put(KEYS.assignment("n"), encode(assignment))
    store = MemoryStore(keyspace)
    facts = NodeFacts(host="h", address="h")
    return Stay(store, KEYS, await store.lease(60), "n", facts, SETTINGS)


@pytest.mark.asyncio
async def test_a_place_counts_in_its_generation(stay: Stay) -> None:
    assert await stay.place(SEALED) == PLACE
    assert await stay.place(attrs.evolve(SEALED, generation=3)) is None


@pytest.mark.asyncio
async def test_a_place_counts_only_if_its_coordinator_sealed_it(stay: Stay) -> None:
    """One that another assigned, who did not live to seal it, is none."""
    assert await stay.place(attrs.evolve(SEALED, token=8)) is None


@pytest.mark.asyncio
async def test_who_was_not_assigned_has_no_place(stay: Stay) -> None:
    stay.node_id = "another"

    assert await stay.place(SEALED) is None
