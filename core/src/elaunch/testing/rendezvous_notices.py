"""What every rendezvous must do with notices, and with workers that end for one."""

import asyncio
from contextlib import aclosing

import attrs
import pytest

from elaunch.api import (
    Change,
    ChangeKind,
    NodeState,
    Notice,
    NoticeKind,
    OutcomeState,
    RendezvousHandler,
)
from elaunch.testing.rendezvous_nodes import (
    LIMIT,
    NewHandler,
    RendezvousFixtures,
    failure,
    join_all,
    next_change,
    parameters,
)


NOTICE = Notice(
    kind=NoticeKind.PREEMPTION,
    reason="SIGUSR1",
    host="n1",
    timestamp=1.5,
    grace=30.0,
)


async def _until_superseded_or_closed(node: RendezvousHandler) -> list[Change]:
    """Return all that happens to a membership until it, or the job, is over."""
    told = []
    async with asyncio.timeout(LIMIT), aclosing(node.changes()) as changes:
        async for change in changes:
            told.append(change)
            if change.kind is not ChangeKind.NOTICE:
                break
    return told


class NoticeTests(RendezvousFixtures):
    """What the contract of a rendezvous says of notices."""

    async def test_a_notice_is_heard_by_all_and_once(
        self, new_handler: NewHandler
    ) -> None:
        """Also by who announced it; the generation goes on."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        await join_all(nodes)
        listening = [
            asyncio.create_task(_until_superseded_or_closed(node)) for node in nodes
        ]
        await nodes[1].announce(NOTICE)
        heard = [(await next_change(node)).notice for node in nodes]
        for node in nodes:
            await node.report(NodeState.DONE)
        told = await asyncio.gather(*listening)

        assert heard == [NOTICE] * 2
        for changes in told:
            kinds = [change.kind for change in changes]
            assert kinds == [ChangeKind.NOTICE, ChangeKind.CLOSED]
            assert changes[0].reason == "SIGUSR1"
            assert changes[1].outcome is not None
            assert changes[1].outcome.state is OutcomeState.SUCCEEDED

    async def test_a_notice_outlives_who_announced_it(
        self, new_handler: NewHandler
    ) -> None:
        """A node that is taken away may have no time to stay."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        await join_all(nodes)
        await nodes[1].announce(NOTICE)
        await nodes[1].aclose()
        told = await _until_superseded_or_closed(nodes[0])

        assert [change.kind for change in told] == [
            ChangeKind.NOTICE,
            ChangeKind.SUPERSEDED,
        ]

    async def test_what_many_announce_at_once_is_one_notice(
        self, new_handler: NewHandler
    ) -> None:
        """A scheduler tells all nodes of a job; each worker needs to hear it once."""
        nodes = [new_handler(parameters(f"n{i}", nnodes=(4, 4))) for i in range(4)]
        await join_all(nodes)
        notices = [attrs.evolve(NOTICE, host=f"n{i}") for i in range(4)]
        await asyncio.gather(
            *(
                node.announce(notice)
                for node, notice in zip(nodes, notices, strict=True)
            )
        )
        for node in nodes:
            await node.report(NodeState.DONE)
        told = [await _until_superseded_or_closed(node) for node in nodes]

        assert {tuple(change.kind for change in changes) for changes in told} == {
            (ChangeKind.NOTICE, ChangeKind.CLOSED)
        }
        assert len({changes[0].notice for changes in told}) == 1

    async def test_a_notice_is_about_one_generation(
        self, new_handler: NewHandler
    ) -> None:
        """The next one hears nothing of it, and can have one of its own."""
        nodes = [new_handler(parameters(f"n{i}", max_restarts=1)) for i in range(2)]
        await join_all(nodes)
        await nodes[0].announce(NOTICE)
        await nodes[0].report(NodeState.FAILED, (failure(0),))
        for node in nodes:
            await _until_superseded_or_closed(node)
        await join_all(nodes)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await next_change(nodes[1])
        another = attrs.evolve(NOTICE, timestamp=2.5)
        await nodes[0].announce(another)

        assert [(await next_change(node)).notice for node in nodes] == [another] * 2

    @pytest.mark.parametrize("fails", ["nobody", "before", "after"])
    async def test_workers_that_end_for_a_preemption_end_the_job(
        self, new_handler: NewHandler, fails: str
    ) -> None:
        """What others lose by it, and fail of, changes nothing."""
        nodes = [new_handler(parameters(f"n{i}", max_restarts=1)) for i in range(2)]
        await join_all(nodes)
        if fails == "before":
            await nodes[0].report(NodeState.FAILED, (failure(0),))
        await nodes[1].report(NodeState.PREEMPTED)
        if fails == "after":
            await nodes[0].report(NodeState.FAILED, (failure(0),))
        ends = [await _outcome_state(node) for node in nodes]

        assert ends == [OutcomeState.PREEMPTED] * 2

    async def test_workers_that_end_for_a_preemption_are_not_forgotten(
        self, new_handler: NewHandler
    ) -> None:
        """However quick their node is to join again, or to leave."""
        nodes = [new_handler(parameters(f"n{i}", nnodes=(3, 3))) for i in range(3)]
        await join_all(nodes)
        await nodes[1].report(NodeState.PREEMPTED)
        again = asyncio.create_task(nodes[1].join())
        await nodes[2].report(NodeState.PREEMPTED)
        await nodes[2].aclose()
        state = await _outcome_state(nodes[0])
        await asyncio.gather(again, return_exceptions=True)

        assert state is OutcomeState.PREEMPTED


async def _outcome_state(node: RendezvousHandler) -> OutcomeState | None:
    async with asyncio.timeout(LIMIT), aclosing(node.changes()) as changes:
        async for change in changes:
            if change.outcome:
                return change.outcome.state
    return None
