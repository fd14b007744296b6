"""There is always somebody who decides, whatever happens to who did."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing

import attrs
import pytest
import pytest_asyncio

from elaunch.keyspace import Keyspace
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.records import Holder, Keys, encode
from elaunch.membership.rendezvous import StoreRendezvous
from elaunch.memory_store import MemoryStore
from elaunch.rendezvous import ChangeKind, NodeState
from elaunch.store import Lease, Store, StoreEvent, WatchCompacted
from elaunch.testing import join_all, next_change, parameters


KEYS = Keys("contract")
AGENT = "agent"


@attrs.define(eq=False)
class Forgetful(MemoryStore):
    """Forgets, once, what a watch of this prefix would have told next."""

    forgets: str = attrs.field(default="", kw_only=True)

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        async with aclosing(MemoryStore.watch(self, prefix, since)) as events:
            async for event in events:
                if self.forgets == prefix:
                    self.forgets = ""
                    raise WatchCompacted
                yield event


@attrs.define(eq=False)
class Contended(MemoryStore):
    """Lets somebody be faster, once, for too short a time for a watch to tell."""

    key: str = attrs.field(default="", kw_only=True)

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        if key == self.key:
            self.key = ""
            return None
        return await MemoryStore.compare_and_set(
            self, key, value, expected=expected, lease=lease
        )


NewNode = Callable[[str, MemoryStore], StoreRendezvous]


@pytest_asyncio.fixture
async def new_node() -> AsyncIterator[NewNode]:
    """Return nodes of a job of one or two; close them all when the test is over."""
    nodes: list[StoreRendezvous] = []

    def new(host: str, store: MemoryStore) -> StoreRendezvous:
        async def open_store() -> Store:
            return store

        options = RendezvousOptions(last_call_timeout=0)
        params = parameters(host, nnodes=(1, 2))
        nodes.append(StoreRendezvous(open_store, params, options, AGENT))
        return nodes[-1]

    yield new
    await asyncio.gather(*(node.aclose() for node in nodes))


@pytest.mark.asyncio
@pytest.mark.parametrize("prefix", [KEYS.nodes, KEYS.job])
async def test_nothing_is_missed_when_too_much_happens_at_once(
    new_node: NewNode, prefix: str
) -> None:
    """Neither by the coordinator, which watches nodes, nor by a node."""
    store = Forgetful()
    first = new_node("first", store)
    second = new_node("second", MemoryStore(store.keyspace))
    await join_all([first])
    store.forgets = prefix
    joining = asyncio.create_task(second.join())
    change = await next_change(first)
    (place,) = await join_all([first])

    assert store.forgets == ""
    assert change.reason == "node 'second' joined"
    assert place.group_size == (await joining).group_size == 2


@pytest.mark.asyncio
async def test_a_coordinator_that_was_overtaken_can_be_one_again(
    new_node: NewNode,
) -> None:
    keyspace = Keyspace()
    node = new_node("n", MemoryStore(keyspace))
    await join_all([node])
    state = keyspace.get(KEYS.state)
    assert state is not None
    keyspace.put(KEYS.coordinator, encode(Holder("other~1")))
    keyspace.put(KEYS.state, state.value)  # as a coordinator does that takes over
    await node.report(NodeState.DONE)
    keyspace.delete(KEYS.coordinator)
    change = await next_change(node)

    assert change.kind is ChangeKind.CLOSED


@pytest.mark.asyncio
async def test_an_earlier_stay_of_the_agent_is_not_waited_for(
    new_node: NewNode,
) -> None:
    """Its lease may outlast an outage of the store, but nobody decides under it."""
    keyspace = Keyspace()
    keyspace.put(KEYS.coordinator, encode(Holder(f"n-{AGENT}~0")))
    (place,) = await join_all([new_node("n", MemoryStore(keyspace))])

    assert place.generation == 1


@pytest.mark.asyncio
async def test_who_lost_to_one_that_nobody_names_tries_again(new_node: NewNode) -> None:
    store = Contended(key=KEYS.coordinator)
    (place,) = await join_all([new_node("n", store)])

    assert store.key == ""
    assert place.generation == 1
