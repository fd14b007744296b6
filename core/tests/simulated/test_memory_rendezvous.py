"""The rendezvous over the simplest store, and what only that one can provoke."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import attrs
import pytest
import pytest_asyncio

from elaunch.api import (
    Change,
    ChangeKind,
    Lease,
    MemoryStore,
    NodeState,
    RendezvousClosed,
    RendezvousParameters,
    RendezvousUnreachable,
    Store,
    StoreEvent,
    StoreRendezvous,
)
from elaunch.keyspace import Keyspace
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.records import (
    Holder,
    JobPhase,
    JobRecord,
    Keys,
    NodePhase,
    NodeRecord,
    decode,
    encode,
)
from elaunch.options import build_options
from elaunch.testing import (
    NewHandler,
    RendezvousContract,
    join_all,
    next_change,
    parameters,
)
from elaunch.testing.rendezvous_nodes import failure


class Place:
    """A keyspace, and the clients that each handler opened."""

    def __init__(self) -> None:
        self.keyspace = Keyspace()
        self.stores: list[list[MemoryStore]] = []
        self.handlers: list[StoreRendezvous] = []

    def handler(self, params: RendezvousParameters) -> StoreRendezvous:
        opened: list[MemoryStore] = []

        async def open_store() -> Store:
            opened.append(MemoryStore(self.keyspace))
            return opened[-1]

        options = build_options(RendezvousOptions, params.config, "--rdzv-conf")
        assert isinstance(options, RendezvousOptions)
        self.stores.append(opened)
        self.handlers.append(StoreRendezvous(open_store, params, options))
        return self.handlers[-1]


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    fresh = Place()
    yield fresh
    await asyncio.gather(*(handler.aclose() for handler in fresh.handlers))


class TestMemoryRendezvous(RendezvousContract):
    @pytest_asyncio.fixture
    async def new_handler(self, place: Place) -> AsyncIterator[NewHandler]:
        yield place.handler


SHORT = {"keep_alive_interval": "0.1", "keep_alive_max_attempt": "3"}


@pytest.mark.asyncio
async def test_a_silent_node_is_lost_with_its_lease(place: Place) -> None:
    nodes = [
        place.handler(parameters(f"n{i}", nnodes=(1, 2), config=SHORT)) for i in "ab"
    ]
    await asyncio.gather(*(node.join() for node in nodes))
    while (await asyncio.gather(*map(size_of, nodes))) != [2, 2]:
        for node in nodes:
            await next_change(node)
        await join_all(nodes)
    place.stores[1][0].abandon()
    change = await next_change(nodes[0])
    own = await next_change(nodes[1])

    assert change.reason == "node 'nb' was lost"
    assert own.kind is ChangeKind.LOST


@pytest.mark.asyncio
async def test_a_spare_waits_longer_than_a_node_that_is_needed(place: Place) -> None:
    config = {"join_timeout": "0.2"}
    nodes = [place.handler(parameters(f"n{i}", config=config)) for i in "abc"]
    await join_all(nodes[:2])
    spare = asyncio.create_task(nodes[2].join())
    await asyncio.wait({spare}, timeout=1)
    assert not spare.done()

    await nodes[0].leave("gone")
    await next_change(nodes[1])
    await join_all(nodes[1:2])
    async with asyncio.timeout(10):
        assert (await spare).group_size == 2


@pytest.mark.asyncio
async def test_a_spare_that_is_needed_waits_as_long_as_any_other(place: Place) -> None:
    nodes = [
        place.handler(parameters(f"n{i}", config={"join_timeout": "3"})) for i in "abc"
    ]
    await join_all(nodes[:2])
    spare = asyncio.create_task(nodes[2].join())
    # It looks once a limit whether it still is one: shortly before it would again.
    await asyncio.wait({spare}, timeout=6.9)
    await nodes[0].leave("gone")
    await next_change(nodes[1])
    await asyncio.wait({spare}, timeout=2)
    await join_all(nodes[1:2])
    async with asyncio.timeout(10):
        assert (await spare).group_size == 2


async def size_of(node: StoreRendezvous) -> int:
    membership = node._membership
    assert membership is not None
    return membership.group_size


@pytest.mark.asyncio
async def test_the_coordinators_loss_makes_another_decide(place: Place) -> None:
    nodes = [
        place.handler(parameters(f"n{i}", nnodes=(2, 3), config=SHORT)) for i in "abc"
    ]
    await join_all(nodes[:2])
    third = asyncio.create_task(nodes[2].join())
    for node in nodes[:2]:
        await next_change(node)
    await join_all(nodes[:2])
    await third
    keys = Keys("contract")
    before = place.keyspace.get(keys.coordinator)
    leader = next(
        i for i, node in enumerate(nodes) if node._stay and node._stay.in_office
    )
    place.stores[leader][0].abandon()
    rest = [node for node in nodes if node is not nodes[leader]]
    for node in rest:
        assert (await next_change(node)).kind is ChangeKind.SUPERSEDED
    places = await join_all(rest)
    after = place.keyspace.get(keys.coordinator)

    assert {(p.generation, p.group_size, p.restart_count) for p in places} == {
        (3, 2, 0)
    }
    assert before is not None
    assert after is not None
    assert after.revision > before.revision


async def last_change(node: StoreRendezvous) -> Change:
    """Wait for the end of what happens to a membership."""
    async with asyncio.timeout(10), aclosing(node.changes()) as changes:
        return [change async for change in changes][-1]


@pytest.mark.asyncio
async def test_a_lost_node_comes_back_as_a_new_one(place: Place) -> None:
    (node,) = [place.handler(parameters("n", nnodes=(1, 1), config=SHORT))]
    await join_all([node])
    lease = next(iter(place.stores[0][0]._leases))
    place.keyspace.revoke(lease.number)
    assert (await last_change(node)).kind is ChangeKind.LOST
    (again,) = await join_all([node])

    assert again.generation > 1
    assert again.restart_count == 0


@pytest.mark.asyncio
async def test_a_lost_node_is_told_how_soon_its_workers_must_stop(place: Place) -> None:
    node = place.handler(parameters("n", nnodes=(1, 1), config=SHORT))
    await join_all([node])
    (lease,) = place.stores[0][0]._leases
    place.keyspace.revoke(lease.number)
    lost = await last_change(node)

    assert lost.kind is ChangeKind.LOST
    assert lost.grace == node._options.fence_grace


@pytest.mark.asyncio
async def test_nothing_is_left_in_the_store_when_the_job_is_over(place: Place) -> None:
    nodes = [place.handler(parameters(f"n{i}")) for i in "ab"]
    await join_all(nodes)
    for node in nodes:
        await node.report(NodeState.DONE)
    for node in nodes:
        await next_change(node)
    await asyncio.gather(*(node.aclose() for node in nodes))

    assert place.keyspace.list("").entries == ()


async def record_where(
    place: Place, matches: Callable[[NodeRecord], bool]
) -> NodeRecord:
    """Wait until the one node of the job says something."""
    keys = Keys("contract")
    said: asyncio.Queue[StoreEvent] = asyncio.Queue()
    watching = place.keyspace.subscribe(keys.nodes, 0, said.put_nowait)
    async with asyncio.timeout(10):
        while True:
            event = await said.get()
            record = decode(NodeRecord, event.key, event.value or b"")
            if matches(record):
                place.keyspace.unsubscribe(watching)
                return record


def ready_after(generation: int) -> Callable[[NodeRecord], bool]:
    """Match what a node says that has stopped its workers of a generation."""
    return lambda record: (
        record.phase is NodePhase.READY and record.generation == generation
    )


@pytest.mark.asyncio
async def test_a_member_that_missed_its_generation_says_that_it_has_no_workers(
    place: Place,
) -> None:
    """Sealed and forming again came at once, so it only saw the second."""
    keys = Keys("contract")
    params = parameters("slow", nnodes=(1, 2))
    assert params.settings is not None
    sealed = JobRecord(
        phase=JobPhase.SEALED, generation=1, settings=params.settings, token=1
    )
    forming = attrs.evolve(sealed, phase=JobPhase.FORMING, generation=2)
    place.keyspace.put(
        keys.coordinator, encode(Holder("other~1"))
    )  # so that nobody else decides
    joining = asyncio.create_task(place.handler(params).join())
    await record_where(place, lambda record: record.generation == 0)
    place.keyspace.put(keys.state, encode(sealed))
    place.keyspace.put(keys.state, encode(forming))
    record = await record_where(place, lambda record: record.generation == 1)
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)

    assert record.phase is NodePhase.READY


@pytest.mark.asyncio
async def test_who_is_ready_again_repeats_its_failures_once(place: Place) -> None:
    """Of two quick records only the last may be seen."""
    node = place.handler(parameters("n", nnodes=(1, 1), max_restarts=1))
    await join_all([node])
    await node.report(NodeState.FAILED, (failure(0),))
    (restarted,) = await join_all([node])
    (again,) = await join_all([node])
    first = await record_where(place, ready_after(1))
    second = await record_where(place, ready_after(2))

    assert (first.failures, second.failures) == ((failure(0),), ())
    assert (restarted.restart_count, again.restart_count) == (1, 1)


@pytest.mark.parametrize("leaves", [True, False])
@pytest.mark.asyncio
async def test_whose_workers_ended_for_a_preemption_repeats_it(
    place: Place, *, leaves: bool
) -> None:
    """Of two quick records only the last may be seen."""
    node = place.handler(parameters("n", nnodes=(1, 1)))
    await join_all([node])
    await node.report(NodeState.PREEMPTED)
    if leaves:
        await node.retire("SIGTERM")
    else:
        with pytest.raises(RendezvousClosed):
            await join_all([node])
    phase = NodePhase.LEAVING if leaves else NodePhase.READY
    record = await record_where(
        place, lambda record: record.phase is phase and record.generation == 1
    )

    assert record.preempted


@pytest.mark.asyncio
async def test_a_node_that_was_excluded_comes_back_as_a_new_one(place: Place) -> None:
    """Its workers took too long; it learns that from a generation without it."""
    keys = Keys("contract")
    params = parameters("slow", nnodes=(1, 2))
    assert params.settings is not None
    said: asyncio.Queue[StoreEvent] = asyncio.Queue()
    place.keyspace.subscribe(keys.nodes, 0, said.put_nowait)
    place.keyspace.put(
        keys.coordinator, encode(Holder("other~1"))
    )  # so that nobody else decides
    joining = asyncio.create_task(place.handler(params).join())
    async with asyncio.timeout(10):
        first = await said.get()
        place.keyspace.delete(first.key)
        sealed = JobRecord(
            phase=JobPhase.SEALED, generation=1, settings=params.settings, token=1
        )
        place.keyspace.put(keys.state, encode(sealed))
        gone, second = await said.get(), await said.get()
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)

    assert (gone.key, gone.value) == (first.key, None)
    assert second.key == first.key.removesuffix("~1") + "~2"


@pytest.mark.asyncio
async def test_a_node_that_comes_back_after_the_end_does_not_start_anew(
    place: Place,
) -> None:
    node = place.handler(parameters("n", nnodes=(1, 1), config=SHORT))
    await join_all([node])
    (lease,) = place.stores[0][0]._leases
    place.keyspace.revoke(lease.number)
    assert (await last_change(node)).kind is ChangeKind.LOST
    for entry in place.keyspace.list("/contract/").entries:
        place.keyspace.delete(entry.key)

    with pytest.raises(RendezvousClosed, match="ended while this node was away"):
        await join_all([node])


@pytest.mark.asyncio
async def test_another_store_is_not_the_end_of_the_job(place: Place) -> None:
    """It does not know the job: whoever comes to it begins it there."""
    node = place.handler(parameters("n", nnodes=(1, 1), config=SHORT))
    await join_all([node])
    place.keyspace = Keyspace()
    place.stores[0][0].abandon()
    assert (await last_change(node)).kind is ChangeKind.LOST
    (again,) = await join_all([node])

    assert len(place.stores[0]) == 2
    assert again.generation == 1


@attrs.define(eq=False)
class Unanswering(MemoryStore):
    """Gives no answer to so many writes of a node, though it may have taken them."""

    unanswered: int = attrs.field(default=0, kw_only=True)

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        revision = await MemoryStore.put(self, key, value, lease=lease)
        if self.unanswered and "/nodes/" in key:
            self.unanswered -= 1
            raise RendezvousUnreachable("no answer; the write may be lost")
        return revision

    async def lease(self, ttl: float) -> Lease:
        if self.unanswered < 0:
            raise RendezvousUnreachable("no answer")
        return await MemoryStore.lease(self, ttl)


def node_over(store: MemoryStore, **config: str) -> StoreRendezvous:
    async def open_store() -> Store:
        return store

    params = parameters("n", nnodes=(1, 1), max_restarts=9, config=config)
    options = build_options(RendezvousOptions, params.config, "--rdzv-conf")
    assert isinstance(options, RendezvousOptions)
    return StoreRendezvous(open_store, params, options)


@pytest.mark.asyncio
async def test_a_node_whose_word_got_no_answer_joins_again_as_a_new_one() -> None:
    """It can't know whether the job has heard it, so it begins another stay."""
    store = Unanswering()
    node = node_over(store)
    (before,) = await join_all([node])
    await node.report(NodeState.FAILED, (failure(0),))
    assert (await next_change(node)).kind is ChangeKind.SUPERSEDED
    store.unanswered = 1
    (after,) = await join_all([node])
    await node.aclose()

    assert node._stays == 2
    assert after.generation > before.generation
    assert after.restart_count == 1


@pytest.mark.asyncio
async def test_a_store_that_never_answers_is_given_up_when_the_join_is() -> None:
    node = node_over(Unanswering(unanswered=-1), join_timeout="0.2")

    with pytest.raises(RendezvousUnreachable, match="no answer"):
        await join_all([node])
