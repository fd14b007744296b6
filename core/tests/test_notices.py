"""What a notice in the store means to the nodes of a job."""

from typing import Any

import attrs
import pytest
import pytest_asyncio

from elaunch.keyspace import Keyspace
from elaunch.membership import notices
from elaunch.membership.notices import Heard, announce
from elaunch.membership.records import (
    JobPhase,
    JobRecord,
    Keys,
    NoticeRecord,
    decode,
    encode,
)
from elaunch.membership.stay import Stay
from elaunch.memory_store import MemoryStore
from elaunch.notice import Notice, NoticeKind
from elaunch.rendezvous import JobSettings, NodeFacts


KEYS = Keys("job")
SETTINGS = JobSettings(min_nodes=1, max_nodes=2)
NOTICE = Notice(kind=NoticeKind.PREEMPTION, reason="why", host="h", timestamp=1.0)
OTHER = attrs.evolve(NOTICE, host="other")


def job(generation: int = 2, phase: JobPhase = JobPhase.SEALED) -> bytes:
    record = JobRecord(phase=phase, generation=generation, settings=SETTINGS, token=1)
    return encode(record)


@pytest_asyncio.fixture
async def keyspace() -> Keyspace:
    space = Keyspace()
    space.put(KEYS.state, job())
    return space


async def new_stay(keyspace: Keyspace) -> Stay:
    store = MemoryStore(keyspace)
    facts = NodeFacts(host="h", address="h")
    stay = Stay(store, KEYS, await store.lease(60), "n", facts, SETTINGS)
    await stay.begin()
    return stay


async def settle(stay: Stay) -> None:
    """Let a stay hear of what is in the store."""
    entry = await stay.store.get(KEYS.notice)
    while entry and stay.notice_revision != entry.revision:
        await stay.news().wait()


def in_store(keyspace: Keyspace) -> NoticeRecord | None:
    entry = keyspace.get(KEYS.notice)
    return decode(NoticeRecord, entry.key, entry.value) if entry else None


@pytest.mark.asyncio
async def test_it_is_told_to_members_of_its_generation_once(keyspace: Keyspace) -> None:
    stay = await new_stay(keyspace)
    await announce(stay, 2, NOTICE)
    await settle(stay)
    here, before, after = Heard(2), Heard(1), Heard(3)
    (change, again) = here.next(stay), here.next(stay)

    assert change is not None
    assert change.notice == NOTICE
    assert again is None
    assert (before.next(stay), after.next(stay)) == (None, None)
    await stay.end()


@pytest.mark.asyncio
async def test_who_reads_the_job_anew_hears_nothing_twice(keyspace: Keyspace) -> None:
    """As a node does when its watch has missed something."""
    stay = await new_stay(keyspace)
    await announce(stay, 2, NOTICE)
    await settle(stay)
    heard = Heard(2)
    heard.next(stay)
    since = stay.notice_since
    await stay._read()

    assert heard.next(stay) is None
    assert stay.notice_since == since
    await stay.end()


@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.asyncio
async def test_what_another_has_just_announced_is_not_announced_again(
    keyspace: Keyspace, *, knows: bool
) -> None:
    first, second = await new_stay(keyspace), await new_stay(keyspace)
    await announce(first, 2, NOTICE)
    if knows:
        await settle(second)
    await announce(second, 2, OTHER)

    assert in_store(keyspace) == NoticeRecord(2, NOTICE)
    await first.end()
    await second.end()


@pytest.mark.asyncio
async def test_a_later_notice_replaces_an_earlier_one(
    keyspace: Keyspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices, "SAME_EVENT", 0.0)
    stay, heard = await new_stay(keyspace), Heard(2)
    told = []
    for notice in (NOTICE, OTHER):
        await announce(stay, 2, notice)
        await settle(stay)
        told.append(heard.next(stay))

    assert [change.notice for change in told if change] == [NOTICE, OTHER]
    await stay.end()


@pytest.mark.parametrize(
    ("earlier", "expected"),
    [
        # One of an earlier generation gives way, one of a later one stays.
        (1, NoticeRecord(2, OTHER)),
        (3, NoticeRecord(3, NOTICE)),
    ],
)
@pytest.mark.parametrize("knows", [True, False])
@pytest.mark.asyncio
async def test_a_notice_of_another_generation_is_another_one(
    keyspace: Keyspace, *, earlier: int, expected: NoticeRecord, knows: bool
) -> None:
    stay = await new_stay(keyspace)
    keyspace.put(KEYS.notice, encode(NoticeRecord(earlier, NOTICE)))
    if knows:
        await settle(stay)
    await announce(stay, 2, OTHER)

    assert in_store(keyspace) == expected
    await stay.end()


@pytest.mark.parametrize(
    "state", [{"phase": JobPhase.CLOSED}, {"generation": 3}], ids=["over", "newer"]
)
@pytest.mark.asyncio
async def test_a_generation_that_is_over_is_told_nothing(
    keyspace: Keyspace, state: dict[str, Any]
) -> None:
    """Nothing would take the key away again."""
    keyspace.put(KEYS.state, job(**state))
    stay = await new_stay(keyspace)
    await announce(stay, 2, NOTICE)

    assert in_store(keyspace) is None
    await stay.end()


@pytest.mark.asyncio
async def test_a_generation_that_is_being_replaced_can_still_be_told(
    keyspace: Keyspace,
) -> None:
    """Its workers still run."""
    keyspace.put(KEYS.state, job(3, JobPhase.FORMING))
    stay = await new_stay(keyspace)
    await announce(stay, 2, NOTICE)

    assert in_store(keyspace) == NoticeRecord(2, NOTICE)
    await stay.end()
