"""What every rendezvous must do, whatever backend it runs over."""

import asyncio
from collections.abc import Sequence

import attrs
import pytest

from elaunch.api import (
    ChangeKind,
    EventName,
    NodeNotAdmitted,
    NodeState,
    Outcome,
    OutcomeState,
    RendezvousClosed,
    RendezvousGracefulExit,
    RendezvousHandler,
    RendezvousTimeout,
)
from elaunch.testing.rendezvous_decisions import DecisionTests
from elaunch.testing.rendezvous_meeting import MeetingTests
from elaunch.testing.rendezvous_members import MemberTests
from elaunch.testing.rendezvous_nodes import (
    LIMIT,
    NewHandler,
    failure,
    join_all,
    next_change,
    parameters,
    the_end,
)
from elaunch.testing.rendezvous_notices import NoticeTests


@pytest.mark.asyncio
class RendezvousContract(DecisionTests, MeetingTests, MemberTests, NoticeTests):
    """Inherit from it in a class named ``Test...`` and override `new_handler`."""

    @pytest.mark.parametrize("size", [1, 2, 4])
    async def test_nodes_agree(self, new_handler: NewHandler, size: int) -> None:
        """All see one generation, and each rank is given once."""
        nodes = [
            new_handler(parameters(f"n{i}", nnodes=(size, size), workers=2))
            for i in range(size)
        ]
        places = await join_all(nodes)

        assert sorted(p.group_rank for p in places) == list(range(size))
        assert sorted(p.base_rank for p in places) == [2 * i for i in range(size)]
        assert {(p.generation, p.group_size, p.world_size) for p in places} == {
            (1, size, 2 * size)
        }
        assert {p.restart_count for p in places} == {0}

    async def test_given_slots_are_honoured(self, new_handler: NewHandler) -> None:
        """A scheduler's rank comes before the order of joining."""
        nodes = [new_handler(parameters(f"n{i}", slot=1 - i)) for i in range(2)]
        places = await join_all(nodes)

        assert [place.group_rank for place in places] == [1, 0]

    async def test_a_joiner_makes_a_new_generation(
        self, new_handler: NewHandler
    ) -> None:
        """Members keep their ranks, and it costs no restart."""
        nodes = [new_handler(parameters(f"n{i}", nnodes=(2, 3))) for i in range(3)]
        before = await join_all(nodes[:2])
        third = asyncio.create_task(nodes[2].join())
        changes = [await next_change(node) for node in nodes[:2]]
        after = [*await join_all(nodes[:2]), await third]

        assert {change.kind for change in changes} == {ChangeKind.SUPERSEDED}
        assert {change.reason for change in changes} == {"node 'n2' joined"}
        assert [p.group_rank for p in after[:2]] == [p.group_rank for p in before]
        assert {(p.generation, p.group_size, p.restart_count) for p in after} == {
            (2, 3, 0)
        }

    async def test_a_departure_is_told_with_its_reason(
        self, new_handler: NewHandler
    ) -> None:
        """The others hear who left and why, and go on."""
        nodes = [new_handler(parameters(f"n{i}", nnodes=(1, 2))) for i in range(2)]
        await _form_both(nodes)
        await nodes[1].leave("maintenance")
        change = await next_change(nodes[0])
        (place,) = await join_all(nodes[:1])

        assert change.kind is ChangeKind.SUPERSEDED
        assert change.reason == "node 'n1' left: maintenance"
        assert (place.group_size, place.restart_count) == (1, 0)

    async def test_a_spare_takes_the_free_place(self, new_handler: NewHandler) -> None:
        """It waits without disturbing anybody until it is needed."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(3)]
        before = await join_all(nodes[:2])
        spare = asyncio.create_task(nodes[2].join())
        await nodes[0].leave("gone")
        await next_change(nodes[1])
        (kept,) = await join_all(nodes[1:2])
        async with asyncio.timeout(LIMIT):
            taken = await spare

        assert kept.group_rank == before[1].group_rank
        assert taken.group_rank == before[0].group_rank

    async def test_a_failure_restarts_all_until_the_budget_is_spent(
        self, new_handler: NewHandler
    ) -> None:
        """One counter for the job, whichever node fails; then the root cause."""
        nodes = [new_handler(parameters(f"n{i}", max_restarts=1)) for i in range(2)]
        await join_all(nodes)
        await nodes[1].report(NodeState.FAILED, (failure(1),))
        kinds = [(await next_change(node)).kind for node in nodes]
        places = await join_all(nodes)
        await nodes[0].report(NodeState.FAILED, (failure(0),))
        ends = await asyncio.gather(*(the_end(node) for node in nodes))

        assert kinds == [ChangeKind.SUPERSEDED] * 2
        assert [place.restart_count for place in places] == [1, 1]
        for outcome in ends:
            assert outcome is not None
            assert outcome.state is OutcomeState.FAILED
            assert [f.rank for f in outcome.failures] == [0]

    async def test_who_failed_may_join_again_at_once(
        self, new_handler: NewHandler
    ) -> None:
        """A failure is not forgotten because the node was quick to stop its workers."""
        nodes = [new_handler(parameters(f"n{i}", max_restarts=1)) for i in range(2)]
        await join_all(nodes)
        await nodes[0].report(NodeState.FAILED, (failure(0),))
        again = asyncio.create_task(nodes[0].join())
        change = await next_change(nodes[1])
        (place,) = await join_all(nodes[1:])

        assert "rank 0 on 'host-0' failed: boom" in change.reason
        assert (place.restart_count, (await again).restart_count) == (1, 1)

    async def test_the_job_succeeds_when_all_are_done(
        self, new_handler: NewHandler
    ) -> None:
        """Nobody is told before the last one."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        await join_all(nodes)
        await nodes[0].report(NodeState.DONE)
        await nodes[1].report(NodeState.DONE)
        ends = [await next_change(node) for node in nodes]

        for node, end in zip(nodes, ends, strict=True):
            assert end.outcome is not None
            assert end.outcome.state is OutcomeState.SUCCEEDED
            assert node.outcome() == end.outcome

    async def test_a_closed_job_stays_closed(self, new_handler: NewHandler) -> None:
        """The first outcome stays, and nobody joins any more."""
        nodes = [new_handler(parameters(f"n{i}", nnodes=(2, 3))) for i in range(3)]
        await join_all(nodes[:2])
        first = Outcome(state=OutcomeState.FAILED, reason="enough")
        await nodes[0].close(first)
        await nodes[1].close(Outcome(state=OutcomeState.SUCCEEDED, reason="late"))

        assert (await next_change(nodes[1])).outcome == first
        with pytest.raises(RendezvousClosed, match="is over: enough"):
            await join_all(nodes[2:])

    async def test_a_spare_of_a_job_that_succeeds_is_let_go(
        self, new_handler: NewHandler
    ) -> None:
        """The end is no failure for it, and the outcome is there to be read."""
        waiting = asyncio.Event()

        def record(name: EventName, /, **_: object) -> None:
            if name is EventName.RENDEZVOUS_WAITING:
                waiting.set()

        facts = parameters("n1", nnodes=(1, 1))
        nodes = [
            new_handler(parameters("n0", nnodes=(1, 1))),
            new_handler(attrs.evolve(facts, record=record)),
        ]
        await join_all(nodes[:1])
        spare = asyncio.create_task(join_all(nodes[1:]))
        async with asyncio.timeout(LIMIT):
            await waiting.wait()
        await nodes[0].report(NodeState.DONE)

        with pytest.raises(RendezvousGracefulExit):
            await spare
        outcome = nodes[1].outcome()
        assert outcome is not None
        assert outcome.state is OutcomeState.SUCCEEDED

    async def test_a_retiring_node_is_waited_for_until_it_has_left(
        self, new_handler: NewHandler
    ) -> None:
        """The others hear it at once, but its workers may still run."""
        nodes = [new_handler(parameters(f"n{i}", nnodes=(1, 2))) for i in range(2)]
        await _form_both(nodes)
        await nodes[1].retire("maintenance")
        change = await next_change(nodes[0])
        again = asyncio.create_task(join_all(nodes[:1]))
        await nodes[1].leave("maintenance")
        (place,) = await again

        assert change.reason == "node 'n1' left: maintenance"
        assert (place.group_size, place.restart_count) == (1, 0)

    async def test_a_generation_has_a_multiple_of_the_unit(
        self, new_handler: NewHandler
    ) -> None:
        """The node that makes it no multiple is a spare until another comes."""
        unit = {"node_unit": "2"}
        nodes = [
            new_handler(parameters(f"n{i}", nnodes=(2, 4), config=unit))
            for i in range(4)
        ]
        before = await join_all(nodes[:2])
        more = asyncio.create_task(join_all(nodes[2:]))
        changes = [await next_change(node) for node in nodes[:2]]
        after = [*await join_all(nodes[:2]), *await more]

        assert {place.group_size for place in before} == {2}
        assert {change.kind for change in changes} == {ChangeKind.SUPERSEDED}
        assert {place.group_size for place in after} == {4}

    async def test_an_impossible_minimum_ends_the_job(
        self, new_handler: NewHandler
    ) -> None:
        """Where no node can come any more, nobody waits for the join timeout."""
        known = {"population": "2"}
        nodes = [new_handler(parameters(f"n{i}", config=known)) for i in range(2)]
        await join_all(nodes)
        await nodes[1].retire("maintenance")
        change = await next_change(nodes[0])

        assert change.kind is ChangeKind.CLOSED
        assert "can't be reached any more" in change.reason
        assert change.reason.endswith("node 'n1' left: maintenance")

    async def test_a_join_that_waits_in_vain_names_who_was_there(
        self, new_handler: NewHandler
    ) -> None:
        """The time-out means what it says."""
        lonely = new_handler(parameters("lonely", config={"join_timeout": "3"}))
        named = r"1 of at least 2 .* 'lonely' \(ready, .* missing: 1 more node"

        with pytest.raises(RendezvousTimeout, match=named):
            await join_all([lonely])

    async def test_a_join_that_was_late_leaves_no_trace(
        self, new_handler: NewHandler
    ) -> None:
        """Who comes after its time-out does not form a generation with it."""
        late, *nodes = (
            new_handler(parameters(f"n{i}", config={"join_timeout": limit}))
            for i, limit in enumerate(("1", "30", "30"))
        )
        with pytest.raises(RendezvousTimeout):
            await join_all([late])
        await late.aclose()
        places = await join_all(nodes)

        assert {(p.generation, p.group_size) for p in places} == {(1, 2)}
        assert {p.group_rank for p in places} == {0, 1}

    async def test_other_settings_are_refused_with_both_values(
        self, new_handler: NewHandler
    ) -> None:
        """And the job goes on."""
        first = new_handler(parameters("first", nnodes=(1, 2)))
        other = new_handler(parameters("other", nnodes=(1, 3)))
        await join_all([first])

        with pytest.raises(NodeNotAdmitted, match="is 1:3 here and 1:2 in the job"):
            await join_all([other])

    async def test_a_cancelled_join_leaves_no_trace(
        self, new_handler: NewHandler
    ) -> None:
        """Whoever gave up is not waited for."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(3)]
        given_up = asyncio.create_task(nodes[0].join())
        other = asyncio.create_task(nodes[1].join())
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        await nodes[0].aclose()
        (place,) = await join_all(nodes[2:])

        assert place.group_size == (await other).group_size
        assert {place.group_rank, other.result().group_rank} == {0, 1}

    async def test_closing_twice_is_fine(self, new_handler: NewHandler) -> None:
        """Also before it has joined."""
        handler = new_handler(parameters("n0"))
        await handler.aclose()
        await handler.aclose()


async def _form_both(nodes: Sequence[RendezvousHandler]) -> None:
    """Form a generation of both, where one of them could already be one."""

    async def settle(node: RendezvousHandler) -> None:
        while (await node.join()).group_size != len(nodes):
            await next_change(node)

    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*(settle(node) for node in nodes))
