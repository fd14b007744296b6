"""The coordinator's fence: what an older one has in flight comes to nothing."""

from collections.abc import Awaitable, Callable

import attrs
import pytest
import pytest_asyncio

from elaunch.events import discard
from elaunch.keyspace import Keyspace
from elaunch.membership.coordinator import Coordinator, SteppedDownError
from elaunch.membership.planner import NO_SUSPICION, Exclude, Form
from elaunch.membership.records import (
    Assignment,
    Holder,
    JobPhase,
    JobRecord,
    Keys,
    decode,
    encode,
)
from elaunch.memory_store import MemoryStore
from elaunch.rendezvous import JobSettings, Membership
from elaunch.restart_budget import BudgetPolicy
from elaunch.store import Entry


KEYS = Keys("job")


async def coordinator(
    keyspace: Keyspace, number: int, *, over: bool = False
) -> Coordinator:
    """Return who has just won the office from whoever had it."""
    store = MemoryStore(keyspace)
    node_id = f"node-{number}"
    return Coordinator(
        store=store,
        lease=await store.lease(60),
        keys=KEYS,
        settings=JobSettings(min_nodes=1, max_nodes=2),
        policy=BudgetPolicy(0),
        token=keyspace.put(KEYS.coordinator, encode(Holder(node_id))),
        node_id=node_id,
        over=over,
        last_call_timeout=0,
        suspicion=NO_SUSPICION,
        close_timeout=1,
        record=discard,
    )


def assignment(token: int) -> Assignment:
    place = Membership(
        generation=1,
        group_rank=0,
        group_size=1,
        base_rank=0,
        world_size=1,
        base_role_rank=0,
        role_world_size=1,
        restart_count=0,
        reason="",
    )
    return Assignment(membership=place, host="h", token=token)


def assigned(keyspace: Keyspace) -> int:
    entry = keyspace.get(KEYS.assignment("n"))
    assert entry is not None
    return decode(Assignment, entry.key, entry.value).token


@pytest_asyncio.fixture
async def keyspace() -> Keyspace:
    return Keyspace()


async def in_office(keyspace: Keyspace, number: int) -> Coordinator:
    new = await coordinator(keyspace, number)
    job = await new._claim()
    assert job
    new._job = job
    await new._read()
    return new


@pytest.mark.asyncio
async def test_who_has_lost_the_office_claims_nothing(keyspace: Keyspace) -> None:
    """It won the office, stood still, and wakes up when another one decides."""
    older = await coordinator(keyspace, 1)
    newer = await in_office(keyspace, 2)

    with pytest.raises(SteppedDownError):
        await older._claim()
    await newer._perform(Form("a node joined", 0))
    assert newer._job.generation == 2


@pytest.mark.asyncio
async def test_an_older_one_cant_change_the_state(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    await in_office(keyspace, 2)

    with pytest.raises(SteppedDownError):
        await older._perform(Form("too late", 0))


@pytest.mark.asyncio
async def test_an_older_one_cant_overrule_an_assignment(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    newer = await in_office(keyspace, 2)
    await newer._assign("n", assignment(2))

    with pytest.raises(SteppedDownError):
        await older._assign("n", assignment(1))
    assert assigned(keyspace) == 2


@attrs.define(eq=False)
class Interrupted(MemoryStore):
    """Lets something happen just before a key is read."""

    meanwhile: Callable[[], Awaitable[object]] | None = None

    async def get(self, key: str) -> Entry | None:
        meanwhile = self.meanwhile
        if meanwhile and key == KEYS.assignment("n"):
            self.meanwhile = None
            await meanwhile()
        return await MemoryStore.get(self, key)


@pytest.mark.asyncio
async def test_an_older_one_that_reads_an_assignment_of_a_newer_one_leaves_it(
    keyspace: Keyspace,
) -> None:
    """Also if it was still in office a moment before."""
    older = await in_office(keyspace, 1)
    keyspace.put(KEYS.assignment("n"), encode(assignment(0)))

    async def take_over() -> None:
        await (await in_office(keyspace, 2))._assign("n", assignment(2))

    older.store = Interrupted(keyspace, take_over)
    with pytest.raises(SteppedDownError):
        await older._assign("n", assignment(1))
    assert assigned(keyspace) == 2


@pytest.mark.asyncio
async def test_a_newer_one_overrules_what_was_in_flight(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    newer = await in_office(keyspace, 2)
    await older._assign("n", assignment(1))
    await newer._assign("n", assignment(2))

    assert assigned(keyspace) == 2


@pytest.mark.asyncio
async def test_an_older_one_excludes_nobody(keyspace: Keyspace) -> None:
    older = await in_office(keyspace, 1)
    await in_office(keyspace, 2)
    keyspace.put(KEYS.node("n"), b"alive")

    with pytest.raises(SteppedDownError):
        await older._perform(Exclude(("n",)))
    assert keyspace.get(KEYS.node("n")) is not None


@pytest.mark.asyncio
async def test_a_users_close_overtakes_whoever_is_in_office(keyspace: Keyspace) -> None:
    present = await in_office(keyspace, 1)
    entry = keyspace.get(KEYS.state)
    assert entry is not None
    job = decode(JobRecord, entry.key, entry.value)
    closed = attrs.evolve(job, phase=JobPhase.CLOSED, reason="enough")
    keyspace.put(KEYS.state, encode(closed))
    await present._perform(Form("a node joined", 0))

    assert present._job == closed


@pytest.mark.asyncio
async def test_a_job_that_is_over_and_cleaned_up_is_not_begun_anew(
    keyspace: Keyspace,
) -> None:
    """Whoever stood by gets the office when the last coordinator has left."""
    late = await coordinator(keyspace, 1, over=True)

    assert await late.serve()
    assert keyspace.get(KEYS.state) is None
