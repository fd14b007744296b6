"""What every rendezvous must do, whatever backend it runs over."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from elaunch.api import (
    BudgetPolicy,
    Change,
    ChangeKind,
    EventName,
    JobSettings,
    Membership,
    NodeFacts,
    NodeNotAdmitted,
    NodeState,
    Outcome,
    OutcomeState,
    ProcessFailure,
    RendezvousClosed,
    RendezvousGracefulExit,
    RendezvousHandler,
    RendezvousParameters,
    RendezvousTimeout,
)


NewHandler = Callable[[RendezvousParameters], RendezvousHandler]
"""Builds a handler of the backend under test from complete parameters."""

_LIMIT = 20.0  # seconds; far beyond what anything here takes


def parameters(  # noqa: PLR0913 - the facts of a scenario
    host: str,
    *,
    nnodes: tuple[int, int] = (2, 2),
    workers: int = 1,
    max_restarts: int = 0,
    slot: int | None = None,
    config: Mapping[str, str] | None = None,
) -> RendezvousParameters:
    """Return the parameters of one node of the job ``contract``."""
    least, most = nnodes
    return RendezvousParameters(
        backend="contract",
        run_id="contract",
        min_nodes=least,
        max_nodes=most,
        config={"last_call_timeout": "0", **(config or {})},
        node=NodeFacts(host=host, address=host, local_world_size=workers, slot=slot),
        settings=JobSettings(
            min_nodes=least, max_nodes=most, max_restarts=max_restarts
        ),
        policy=BudgetPolicy(max_restarts),
    )


def failure(rank: int, timestamp: float = 1.0) -> ProcessFailure:
    """Return a failure to report."""
    return ProcessFailure(
        rank=rank,
        local_rank=0,
        role="default",
        host=f"host-{rank}",
        pid=1,
        exitcode=1,
        timestamp=timestamp,
        message="boom",
    )


async def join_all(handlers: Sequence[RendezvousHandler]) -> list[Membership]:
    """Join together."""
    async with asyncio.timeout(_LIMIT):
        return await asyncio.gather(*(handler.join() for handler in handlers))


async def next_change(handler: RendezvousHandler) -> Change:
    """Wait for what happens to a membership."""
    async with asyncio.timeout(_LIMIT), aclosing(handler.changes()) as changes:
        return await anext(changes)


@pytest.mark.asyncio
class RendezvousContract:
    """Inherit from it in a class named ``Test...`` and override `new_handler`."""

    if TYPE_CHECKING:
        new_handler: Any  # a fixture of any kind overrides it
    else:

        @pytest.fixture
        def new_handler(self):  # noqa: ANN201 - see above
            """Yield a factory of handlers that share one place to meet, empty at first.

            Override it with a fixture of your own. It closes what it made when the test
            is over, all at once: the coordinator of a finished job waits for the
            goodbyes of the others.
            """
            raise NotImplementedError("override the fixture new_handler")

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

    async def test_members_learn_how_workers_meet(
        self, new_handler: NewHandler
    ) -> None:
        """What group rank 0 publishes reaches all, also those that ask before."""
        nodes = [new_handler(parameters(f"n{i}")) for i in range(2)]
        places = await join_all(nodes)
        first = next(n for n, p in zip(nodes, places, strict=True) if not p.group_rank)
        asking = [asyncio.create_task(node.bootstrap()) for node in nodes]
        await first.publish_bootstrap({"address": "x", "port": "1"})

        async with asyncio.timeout(_LIMIT):
            told = await asyncio.gather(*asking)
        assert told == [{"address": "x", "port": "1"}] * 2

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
        async with asyncio.timeout(_LIMIT):
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
        ends = [await next_change(node) for node in nodes]

        assert kinds == [ChangeKind.SUPERSEDED] * 2
        assert [place.restart_count for place in places] == [1, 1]
        assert [end.kind for end in ends] == [ChangeKind.CLOSED] * 2
        for end in ends:
            assert end.outcome is not None
            assert end.outcome.state is OutcomeState.FAILED
            assert [f.rank for f in end.outcome.failures] == [0]

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
        async with asyncio.timeout(_LIMIT):
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
        lonely = new_handler(parameters("lonely", config={"join_timeout": "1"}))
        named = r"1 of at least 2 .* 'lonely' \(ready, .* missing: 1 more node"

        with pytest.raises(RendezvousTimeout, match=named):
            await join_all([lonely])

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

    async with asyncio.timeout(_LIMIT):
        await asyncio.gather(*(settle(node) for node in nodes))
