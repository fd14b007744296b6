"""Who becomes the coordinator, and when nobody else can."""

import pytest
import pytest_asyncio

from elaunch.api import JobSettings, Keyspace, MemoryStore, NodeFacts
from elaunch.membership.office import contest, give_up_earlier
from elaunch.membership.records import Holder, Keys, decode
from elaunch.membership.stay import Stay


KEYS = Keys("job")


async def stay(keyspace: Keyspace, node_id: str) -> Stay:
    store = MemoryStore(keyspace)
    return Stay(
        store,
        KEYS,
        await store.lease(60),
        node_id,
        NodeFacts(host="h", address="h"),
        JobSettings(min_nodes=1, max_nodes=2),
    )


def holder(keyspace: Keyspace) -> str:
    entry = keyspace.get(KEYS.coordinator)
    assert entry is not None
    return decode(Holder, entry.key, entry.value).node


@pytest_asyncio.fixture
async def keyspace() -> Keyspace:
    return Keyspace()


@pytest.mark.asyncio
async def test_the_first_has_the_office(keyspace: Keyspace) -> None:
    first, second = await stay(keyspace, "a~1"), await stay(keyspace, "b~1")
    token = await contest(first)

    assert await contest(second) is None
    assert holder(keyspace) == "a~1"
    assert token == keyspace.revision
    assert first.holder == "a~1"


@pytest.mark.asyncio
async def test_what_an_earlier_stay_of_the_agent_held_is_taken_over(
    keyspace: Keyspace,
) -> None:
    """Its lease may last, but nobody decides under it any more."""
    await contest(await stay(keyspace, "a~1"))
    again = await stay(keyspace, "a~2")
    await again.begin()
    assert again.holder == "a~1"
    await give_up_earlier(again)

    assert await contest(again) == keyspace.revision
    assert holder(keyspace) == "a~2"
    await again.end()


@pytest.mark.asyncio
async def test_old_news_of_the_office_is_no_news(keyspace: Keyspace) -> None:
    """A watch of its own connection can tell an end before the contest tells of it."""
    node = await stay(keyspace, "a~1")
    node.note_office(7, "")
    node.note_office(5, "b~1")

    assert node.holder == ""
