"""A fixed set of nodes: what must be given, who hosts, and one node for each rank."""

import asyncio
import contextlib
import socket
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
import pytest
import pytest_asyncio

from elaunch.api import (
    EventName,
    JobSettings,
    Membership,
    NodeFacts,
    NodeNotAdmitted,
    RendezvousParameters,
    RendezvousUnreachable,
    StoreRendezvous,
    UsageError,
)
from elaunch_rdzv_c10d.addresses import Endpoint
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.options import StaticOptions
from elaunch_rdzv_c10d.rank_claim import RankClaim
from elaunch_rdzv_c10d.static import static_rendezvous


LIMIT = 20.0  # seconds; far beyond what anything here takes


@attrs.define(eq=False)
class Told:
    """Keeps what is recorded."""

    events: list[tuple[EventName, dict[str, object]]] = attrs.field(factory=list)
    _came: dict[EventName, asyncio.Event] = attrs.field(
        factory=lambda: defaultdict(asyncio.Event)
    )

    def __call__(self, name: EventName, /, **facts: object) -> None:
        self.events.append((name, facts))
        self._came[name].set()

    async def wait_for(self, name: EventName) -> None:
        async with asyncio.timeout(LIMIT):
            await self._came[name].wait()

    def reasons(self, name: EventName) -> list[object]:
        return [facts["reason"] for known, facts in self.events if known is name]


def parameters(
    endpoint: str = "127.0.0.1:29500",
    slot: int | None = 0,
    *,
    nnodes: tuple[int, int] = (2, 2),
) -> RendezvousParameters:
    least, most = nnodes
    return RendezvousParameters(
        backend="static",
        endpoint=endpoint,
        run_id="job",
        min_nodes=least,
        max_nodes=most,
        node=NodeFacts(host=f"n{slot}", address="127.0.0.1", slot=slot),
        settings=JobSettings(min_nodes=least, max_nodes=most),
        record=Told(),
    )


class TestWhatMustBeGiven:
    @pytest.mark.parametrize(
        ("params", "message"),
        [
            (parameters(nnodes=(1, 2)), "fixed set of nodes, not 1 to 2; write --nnod"),
            (parameters(slot=None), "give --node-rank or ELAUNCH_NODE_RANK, from 0 to"),
            (parameters(slot=2), "must be from 0 to 1, not 2"),
            (parameters(""), "the endpoint '' names no host; give --rdzv-endpoint"),
            (parameters(":29500"), "the endpoint ':29500' names no host"),
            (parameters("0.0.0.0:29500", 1), "'0.0.0.0:29500' names no host"),
            (parameters("[::]:29500", 1), "names no host; .* of the node of rank 0"),
            (parameters("host:0"), "'host:0' names no port; give --rdzv-endpoint"),
            (parameters("host:x"), "'host:x' is not an endpoint"),
        ],
    )
    def test_and_is_named_if_it_is_not(
        self, params: RendezvousParameters, message: str
    ) -> None:
        with pytest.raises(UsageError, match=message):
            static_rendezvous(params, StaticOptions())

    def test_a_rank_by_torchelastics_spelling(self) -> None:
        handler = static_rendezvous(parameters(slot=None), StaticOptions(rank=1))

        assert handler._facts.slot == 1

    def test_also_by_who_says_nothing_else_of_the_node(self) -> None:
        params = attrs.evolve(parameters(), node=None, local_addr="10.0.0.1")
        handler = static_rendezvous(params, StaticOptions(rank=1))

        assert (handler._facts.slot, handler._facts.address) == (1, "10.0.0.1")

    def test_two_ranks_that_differ_are_one_too_many(self) -> None:
        static_rendezvous(parameters(slot=1), StaticOptions(rank=1))
        with pytest.raises(UsageError, match=r"rank=1, but .* the rank 0; leave out"):
            static_rendezvous(parameters(slot=0), StaticOptions(rank=1))

    @pytest.mark.parametrize("rank", [-1, 2])
    def test_a_rank_that_is_none_of_the_job_is_refused(self, rank: int) -> None:
        with pytest.raises(UsageError, match=f"must be from 0 to 1, not {rank}"):
            static_rendezvous(parameters(slot=None), StaticOptions(rank=rank))

    def test_one_node_alone_needs_neither_rank_nor_port(self) -> None:
        alone = parameters("localhost:0", None, nnodes=(1, 1))

        assert static_rendezvous(alone, StaticOptions())._facts.slot == 0

    def test_a_port_is_that_of_torchrun_by_default(self) -> None:
        handler = static_rendezvous(parameters("node-0"), StaticOptions())

        assert handler._params.endpoint == "node-0:29500"

    def test_nobody_else_will_ever_come_unless_the_user_says_so(self) -> None:
        fixed = static_rendezvous(parameters(), StaticOptions())
        replaced = static_rendezvous(parameters(), StaticOptions(population=4))

        assert fixed._settings.population == 2
        assert replaced._settings.population == 4


@attrs.define(eq=False)
class Site:
    """Where the nodes of one job meet."""

    endpoint: str
    handlers: list[StoreRendezvous] = attrs.field(factory=list)

    def node(
        self, rank: int, size: int = 2, endpoint: str | None = None, **options: float
    ) -> tuple[StoreRendezvous, Told]:
        params = parameters(endpoint or self.endpoint, rank, nnodes=(size, size))
        handler = static_rendezvous(params, StaticOptions(**options))  # type: ignore[arg-type] # times and counts
        self.handlers.append(handler)
        assert isinstance(params.record, Told)
        return handler, params.record


@contextlib.asynccontextmanager
async def site() -> AsyncIterator[Site]:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        here = Site(f"127.0.0.1:{closed.getsockname()[1]}")
    try:
        yield here
    finally:
        await asyncio.gather(*(handler.aclose() for handler in here.handlers))


async def join(*handlers: StoreRendezvous) -> list[Membership]:
    async with asyncio.timeout(LIMIT):
        return await asyncio.gather(*(handler.join() for handler in handlers))


@pytest.mark.asyncio
class TestNodes:
    async def test_get_the_ranks_that_they_were_given(self) -> None:
        async with site() as here:
            nodes = [here.node(rank, size=4)[0] for rank in (3, 1, 0, 2)]
            places = await join(*nodes)

        assert [place.group_rank for place in places] == [3, 1, 0, 2]
        assert {place.group_size for place in places} == {4}

    async def test_meet_at_rank_0_which_may_come_last(self) -> None:
        async with site() as here:
            (late, hosting), (early, connecting) = here.node(0), here.node(1)
            first = asyncio.create_task(early.join())
            await connecting.wait_for(EventName.STORE_WAITING)
            await join(late)
            place = await first

        rule = "the node of rank 0 hosts"
        facts = {"endpoint": here.endpoint, "rule": rule}
        assert place.group_rank == 1
        assert (EventName.STORE_HOSTED, facts) in hosting.events
        assert (EventName.STORE_CONNECTED, facts) in connecting.events

    async def test_of_rank_0_fail_if_they_cant_host(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            async with site() as here:
                port = taken.getsockname()[1]
                node, _ = here.node(0, endpoint=f"127.0.0.1:{port}")
                elsewhere, _ = here.node(0, endpoint="192.0.2.1:29500")

                with pytest.raises(RendezvousUnreachable) as caught:
                    await join(node)
                with pytest.raises(
                    RendezvousUnreachable, match="is no address of this"
                ):
                    await join(elsewhere)

        assert str(caught.value) == (
            f"this node can't host the store at '127.0.0.1:{port}': address already in "
            "use; something else listens there: choose another port, or let this node "
            "connect if that is the store of the job (this node has rank 0; the node "
            "of rank 0 hosts the store)"
        )

    async def test_wait_for_rank_0_as_long_as_for_a_job(self) -> None:
        async with site() as here:
            node, _ = here.node(1, join_timeout=0.1)

            with pytest.raises(
                RendezvousUnreachable, match=r"no success for 0.1 s: .*has rank 1; the"
            ):
                await join(node)

    async def test_share_no_rank(self) -> None:
        async with site() as here:
            node, _ = here.node(0, size=3)
            second, _ = here.node(1, size=3)
            joins = [asyncio.create_task(one.join()) for one in (node, second)]
            await holder_of(here, 1)
            other, told = here.node(1, size=3, keep_alive_interval=0.1)

            with pytest.raises(NodeNotAdmitted) as caught:
                await join(other)
            third, _ = here.node(2, size=3)
            await join(third)
            places = await asyncio.gather(*joins)

        assert [place.group_rank for place in places] == [0, 1]
        assert "rank 1 of job 'job' belongs to node" in str(caught.value)
        assert "give each node a --node-rank of its own" in str(caught.value)
        (note,) = told.reasons(EventName.STORE_NOTE)
        assert "waiting 0.4 s for its end" in str(note)

    async def test_take_the_rank_of_one_that_is_gone(self) -> None:
        async with site() as here:
            host, _ = here.node(0, size=3)
            given_up, _ = here.node(1, size=3)
            hosting = asyncio.create_task(host.join())
            leaving = asyncio.create_task(given_up.join())
            await holder_of(here, 1)
            successor, told = here.node(1, size=3)
            succeeding = asyncio.create_task(successor.join())
            await told.wait_for(EventName.STORE_NOTE)
            leaving.cancel()
            await asyncio.wait({leaving})
            await given_up.aclose()
            third, _ = here.node(2, size=3)
            places = [*await join(third), await succeeding, await hosting]

        assert [place.group_rank for place in places] == [2, 1, 0]


async def holder_of(here: Site, rank: int) -> str:
    """Wait until a rank is held; return by whom."""
    async with asyncio.timeout(LIMIT):
        store = await connect(Endpoint.parse(here.endpoint))
        key = f"/job/ranks/{rank}"
        listing = await store.list(key)
        if not listing.entries:
            async with contextlib.aclosing(store.watch(key, listing.revision)) as news:
                await anext(news)
        entry = await store.get(key)
        await store.close()
    assert entry is not None
    return entry.value.decode()


async def connect(endpoint: Endpoint) -> ControlStore:
    return await ControlStore.connect(
        endpoint.host, endpoint.port, timeout=10.0, run_id="job"
    )


@attrs.define(eq=False)
class Node:
    """A store client that holds a rank under each of its leases."""

    store: ControlStore
    told: Told


NewNode = Callable[..., Awaitable[Node]]


@pytest_asyncio.fixture
async def node(endpoint: Endpoint) -> AsyncIterator[NewNode]:
    stores: list[ControlStore] = []

    async def new(name: str, rank: int = 1) -> Node:
        store, told = await connect(endpoint), Told()
        stores.append(store)
        store.after_lease = RankClaim(store, "job", rank, name, told)
        return Node(store, told)

    yield new
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.asyncio
class TestClaims:
    async def test_last_as_long_as_the_lease(self, node: NewNode) -> None:
        one, other = await node("one"), await node("other")
        lease = await one.store.lease(60.0)
        taking = asyncio.create_task(other.store.lease(60.0))
        await other.told.wait_for(EventName.STORE_NOTE)
        early = taking.done()
        await lease.revoke()
        async with asyncio.timeout(LIMIT):
            await taking
        entry = await one.store.get("/job/ranks/1")

        assert not early
        assert entry is not None
        assert entry.value == b"other"

    async def test_go_on_under_the_next_lease_of_the_same_node(
        self, node: NewNode
    ) -> None:
        one = await node("one")
        before = await one.store.lease(60.0)
        await one.store.lease(60.0)
        await before.revoke()

        assert await one.store.get("/job/ranks/1") is not None
        assert one.told.events == []

    async def test_of_other_ranks_are_in_nobodys_way(self, node: NewNode) -> None:
        await (await node("eleven", rank=11)).store.lease(60.0)
        one = await node("one", rank=1)
        await one.store.lease(60.0)

        assert one.told.events == []

    async def test_that_are_refused_leave_no_lease(self, node: NewNode) -> None:
        one, other = await node("one"), await node("other")
        await one.store.lease(60.0)

        with pytest.raises(NodeNotAdmitted, match="belongs to node 'one'"):
            await other.store.lease(0.05)
        assert not other.store._leases
