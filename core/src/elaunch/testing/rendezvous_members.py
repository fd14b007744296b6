"""What every rendezvous must tell of its nodes, and how a node may stay out."""

import asyncio
from collections.abc import Callable, Sequence

import attrs
import pytest

from elaunch.api import (
    ChangeKind,
    EventName,
    MemberStatus,
    NodeState,
    Pace,
    RendezvousHandler,
    RendezvousTimeout,
    RendezvousUnreachable,
    ToldFinding,
    Vitals,
)
from elaunch.testing.rendezvous_nodes import (
    LIMIT,
    NewHandler,
    RendezvousFixtures,
    join_all,
    next_change,
    parameters,
)


FINDING = ToldFinding(
    host="n1",
    rank=1,
    monitor="heartbeat",
    severity="degraded",
    reason="rank 1 is slow",
    timestamp=2.5,
)


class MemberTests(RendezvousFixtures):
    """What the contract of a rendezvous says of single nodes of a job."""

    async def test_all_nodes_can_be_asked_for(self, new_handler: NewHandler) -> None:
        """Members in the order of their ranks, then spares."""
        nodes = [new_handler(parameters(f"n{i}", slot=1 - i)) for i in range(2)]
        await join_all(nodes)
        await nodes[0].report(NodeState.RUNNING)
        spare = new_handler(parameters("spare"))
        waiting = asyncio.create_task(spare.join())
        told = await _until(nodes[1], lambda statuses: len(statuses) == 3)
        waiting.cancel()

        assert [(s.host, s.group_rank) for s in told] == [
            ("n1", 0),
            ("n0", 1),
            ("spare", None),
        ]
        assert told[1].state == "running"
        assert (told[1].generation, told[2].state) == (1, "ready")
        assert [s.node for s in told] == ["n1", "n0", "spare"]
        assert sum(status.decides for status in told) == 1

    async def test_agents_that_share_a_host_are_told_apart(
        self, new_handler: NewHandler
    ) -> None:
        """Each has a name of its own; the host alone would mean both."""
        nodes = [new_handler(parameters("same")) for _ in range(2)]
        await join_all(nodes)
        told = await nodes[0].members()

        assert [status.host for status in told] == ["same", "same"]
        assert len({status.node for status in told} | {"same"}) == 3

    async def test_vitals_are_told_with_the_nodes(
        self, new_handler: NewHandler
    ) -> None:
        """Progress, pace and findings, as the node told them last."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        await join_all(nodes)
        pace = Pace(ranks=1, fastest=1.0, median=1.0, slowest=1.0, slowest_rank=1)
        for marker in (1.0, 7.5):
            await nodes[1].tell(
                Vitals(generation=1, progress=marker, pace=pace, findings=(FINDING,))
            )
        told = {status.host: status for status in await nodes[0].members()}

        assert told["n1"].progress == 7.5
        assert told["n1"].pace == pace
        assert told["n1"].findings == (FINDING,)
        assert (told["n0"].progress, told["n0"].findings) == (None, ())

    async def test_a_node_that_is_unfit_waits_until_it_is_fit(
        self, new_handler: NewHandler
    ) -> None:
        """It counts for nothing meanwhile, and all see why."""
        nodes = [new_handler(parameters(f"n{i}", nnodes=(1, 2))) for i in range(2)]
        await nodes[1].withhold("the disk is full")
        unfit = asyncio.create_task(nodes[1].join())
        (alone,) = await join_all(nodes[:1])
        told = await _until(nodes[0], lambda statuses: len(statuses) == 2)
        await nodes[1].withhold("")
        change = await next_change(nodes[0])
        (kept,) = await join_all(nodes[:1])
        async with asyncio.timeout(LIMIT):
            joined = await unfit

        assert alone.group_size == 1
        assert [(s.host, s.group_rank, s.unfit) for s in told] == [
            ("n0", 0, ""),
            ("n1", None, "the disk is full"),
        ]
        assert change.reason == "node 'n1' joined"
        assert (kept.group_rank, joined.group_rank, joined.restart_count) == (0, 1, 0)

    async def test_a_join_that_waits_in_vain_names_who_is_unfit(
        self, new_handler: NewHandler
    ) -> None:
        """Everybody learns it who waits."""
        short = {"join_timeout": "3"}
        nodes = [new_handler(parameters(f"n{i}", config=short)) for i in range(2)]
        await nodes[1].withhold("the disk is full")
        joins = await asyncio.gather(
            *(node.join() for node in nodes), return_exceptions=True
        )

        for error in joins:
            assert isinstance(error, RendezvousTimeout)
            assert "'n1' (unfit: the disk is full, here for" in str(error)
            assert "1 of at least 2 nodes are ready" in str(error)
            assert "; put right what keeps nodes out" in str(error)

    async def test_who_waits_hears_who_is_unfit(self, new_handler: NewHandler) -> None:
        """In the progress of its join."""
        heard: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

        def record(name: EventName, /, **facts: object) -> None:
            told = facts.get("left_out")
            if name is EventName.RENDEZVOUS_WAITING and told and not heard.done():
                heard.set_result(list(map(str, told)))  # type: ignore[call-overload] # a list of texts

        waiting = attrs.evolve(parameters("n0"), record=record)
        nodes = [new_handler(waiting), new_handler(parameters("n1"))]
        await nodes[1].withhold("the disk is full")
        joins = [asyncio.create_task(node.join()) for node in nodes]
        async with asyncio.timeout(LIMIT):
            told = await heard
        for join in joins:
            join.cancel()

        assert told == ["'n1' (unfit: the disk is full)"]

    async def test_a_member_that_becomes_unfit_stays_one_until_the_end(
        self, new_handler: NewHandler
    ) -> None:
        """The next generation goes on without it."""
        together = {"last_call_timeout": str(LIMIT)}
        nodes = [
            new_handler(parameters(f"n{i}", nnodes=(1, 2), config=together))
            for i in range(2)
        ]
        await join_all(nodes)
        await nodes[1].withhold("the disk is full")
        before = await nodes[0].members()
        await nodes[0].restart("to see who is fit")
        for node in nodes:
            await next_change(node)
        again = asyncio.create_task(nodes[1].join())
        (place,) = await join_all(nodes[:1])
        again.cancel()

        assert [status.group_rank for status in before] == [0, 1]
        assert place.group_size == 1

    async def test_a_restart_that_is_asked_for_costs_nothing(
        self, new_handler: NewHandler
    ) -> None:
        """All hear of it, with the reason, and keep their ranks."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        before = await join_all(nodes)
        await nodes[1].report(NodeState.RUNNING)
        await nodes[1].restart("new code")
        changes = [await next_change(node) for node in nodes]
        after = await join_all(nodes)
        await nodes[1].report(NodeState.RUNNING)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await next_change(nodes[0])

        assert {change.kind for change in changes} == {ChangeKind.SUPERSEDED}
        assert {change.reason for change in changes} == {
            "node 'n1' asks for a restart: new code"
        }
        assert {(p.generation, p.restart_count) for p in after} == {(2, 0)}
        assert [p.group_rank for p in after] == [p.group_rank for p in before]

    async def test_a_restart_can_be_asked_for_while_workers_start(
        self, new_handler: NewHandler
    ) -> None:
        """What the node says next does not hide it."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        await join_all(nodes)
        await nodes[1].restart("new code")
        await nodes[1].report(NodeState.RUNNING)

        assert (await next_change(nodes[0])).kind is ChangeKind.SUPERSEDED

    async def test_who_is_no_member_has_nothing_to_tell(
        self, new_handler: NewHandler
    ) -> None:
        """And says so; it may say that it is unfit."""
        node = new_handler(parameters("n0"))
        await node.withhold("")

        assert node.job_pace() is None
        with pytest.raises(RendezvousUnreachable, match="not a member"):
            await node.tell(Vitals(generation=1))
        with pytest.raises(RendezvousUnreachable, match="not a member"):
            await node.restart("now")


async def _until(
    node: RendezvousHandler, holds: Callable[[Sequence[MemberStatus]], bool]
) -> Sequence[MemberStatus]:
    """Ask for the nodes of the job until something holds for them."""
    async with asyncio.timeout(LIMIT):
        while not holds(told := await node.members()):  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.02)
    return told
