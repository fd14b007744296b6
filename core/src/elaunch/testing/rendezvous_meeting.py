"""What every rendezvous must do so that workers meet, for as long as they run."""

import asyncio

import attrs
import pytest

from elaunch.api import NodeState, RendezvousParameters
from elaunch.testing.rendezvous_nodes import (
    LIMIT,
    NewHandler,
    RendezvousFixtures,
    join_all,
    next_change,
    parameters,
)


class MeetingTests(RendezvousFixtures):
    """What the contract of a rendezvous says of where workers meet."""

    async def test_members_learn_how_workers_meet(
        self, new_handler: NewHandler
    ) -> None:
        """What group rank 0 publishes reaches all, also those that ask before."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        places = await join_all(nodes)
        first = next(n for n, p in zip(nodes, places, strict=True) if not p.group_rank)
        asking = [asyncio.create_task(node.bootstrap()) for node in nodes]
        await first.publish_bootstrap({"address": "x", "port": "1"})

        async with asyncio.timeout(LIMIT):
            told = await asyncio.gather(*asking)
        assert told == [{"address": "x", "port": "1"}] * 2

    async def test_group_rank_0_learns_from_where_workers_connect(
        self, new_handler: NewHandler
    ) -> None:
        """The addresses of the members, and of nobody else."""
        facts = [parameters(f"n{i}", nnodes=(2, 2)) for i in range(3)]
        nodes = [new_handler(_with_addresses(params)) for params in facts]
        places = await join_all(nodes[:2])
        spare = asyncio.create_task(nodes[2].join())
        first = next(n for n, p in zip(nodes, places, strict=False) if not p.group_rank)
        told = await first.member_addresses()
        spare.cancel()
        await asyncio.gather(spare, return_exceptions=True)

        assert told == {"n0", "n0.a", "n0.b", "n1", "n1.a", "n1.b"}

    async def test_a_node_alone_knows_its_addresses(
        self, new_handler: NewHandler
    ) -> None:
        """And waits for nobody."""
        node = new_handler(_with_addresses(parameters("n0", nnodes=(1, 1))))
        await join_all([node])

        assert await node.member_addresses() == {"n0", "n0.a", "n0.b"}
        async with asyncio.timeout(LIMIT):
            await node.others_stopped()

    @pytest.mark.parametrize("end", ["joins again", "leaves", "is done"])
    async def test_group_rank_0_hears_when_the_others_have_stopped(
        self, new_handler: NewHandler, end: str
    ) -> None:
        """What it hosts for workers is used until then, also if it leaves itself."""
        nodes = [new_handler(parameters(f"n{i}", slot=i)) for i in range(2)]
        await join_all(nodes)
        first, other = nodes
        await first.member_addresses()
        for node in nodes:
            await node.report(NodeState.RUNNING)
        if end != "is done":
            await first.retire("maintenance")
            await first.leave("maintenance")
        waiting = asyncio.create_task(first.others_stopped())
        joining = None
        if end == "joins again":
            await next_change(other)
            assert not waiting.done()
            joining = asyncio.create_task(other.join())
        elif end == "leaves":
            await other.retire("maintenance, too")
            assert not waiting.done()
            await other.leave("maintenance, too")
        else:
            await other.report(NodeState.DONE)

        async with asyncio.timeout(LIMIT):
            await waiting
        if joining:
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)


def _with_addresses(params: RendezvousParameters) -> RendezvousParameters:
    """Return the parameters of a node that has more than the one it advertises."""
    if params.node is None:
        raise ValueError("the parameters are not complete")
    more = (f"{params.node.host}.a", f"{params.node.host}.b")
    return attrs.evolve(params, node=attrs.evolve(params.node, addresses=more))
