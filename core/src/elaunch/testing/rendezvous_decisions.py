"""What every rendezvous must make of the decisions of a restart policy."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import attrs
import pytest

from elaunch.api import (
    Decision,
    EventName,
    FailureReport,
    History,
    NodeState,
    OutcomeState,
    RendezvousHandler,
    RendezvousParameters,
    RendezvousTimeout,
    Request,
    ScalingHold,
    Verdict,
    Vitals,
)
from elaunch.testing.rendezvous_nodes import (
    LIMIT,
    NewHandler,
    RendezvousFixtures,
    failure,
    join_all,
    next_change,
    parameters,
    the_end,
)


Decide = Callable[[FailureReport, History], Decision]


@attrs.define
class AskedPolicy:
    """A policy of one function, which all nodes share, that keeps what it was asked.

    Attributes:
        decide: What it decides.
        questions: What it was asked.
    """

    decide: Decide
    questions: list[tuple[FailureReport, History]] = attrs.field(factory=list)

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        """Decide as it was told to."""
        self.questions.append((report, history))
        return self.decide(report, history)


def restart(_: FailureReport, __: History) -> Decision:
    """Restart, whatever has failed."""
    return Decision(Verdict.RESTART, "again")


def leave_out(cool_down: float | None) -> Decide:
    """Return what leaves out the node of the first failure."""

    def decide(report: FailureReport, _: History) -> Decision:
        node = report.failures[0].node
        return Decision(Verdict.EXCLUDE, f"{node} is bad", 0.0, (node,), cool_down)

    return decide


class DecisionTests(RendezvousFixtures):
    """What the contract of a rendezvous says of decisions."""

    async def test_a_node_that_is_left_out_gives_its_rank_to_a_spare(
        self, new_handler: NewHandler
    ) -> None:
        """It waits, and everybody is told why."""
        nodes = _nodes(new_handler, 3, leave_out(None))
        before = await join_all(nodes[:2])
        spare = asyncio.create_task(nodes[2].join())
        await nodes[1].report(NodeState.FAILED, (failure(before[1].group_rank),))
        changes = [await next_change(node) for node in nodes[:2]]
        parked = asyncio.create_task(nodes[1].join())
        (kept,) = await join_all(nodes[:1])
        async with asyncio.timeout(LIMIT):
            taken = await spare
        told = {status.host: status for status in await nodes[0].members()}
        waits = not parked.done()
        parked.cancel()

        for change in changes:
            assert change.reason.endswith("(n1 is bad; without node 'n1' for good)")
        assert kept.group_rank == before[0].group_rank
        assert taken.group_rank == before[1].group_rank
        assert taken.reason == kept.reason == changes[0].reason
        assert kept.restart_count == 1
        assert waits
        assert told["n1"].excluded == "excluded for good: n1 is bad (boom)"
        assert (told["n1"].group_rank, told["n0"].excluded) == (None, "")

    async def test_who_is_left_out_is_still_when_it_comes_again(
        self, new_handler: NewHandler
    ) -> None:
        """Another agent on the same host is the same node."""
        together = {"last_call_timeout": str(LIMIT)}
        decide, nnodes = leave_out(None), (1, 2)
        nodes = _nodes(new_handler, 2, decide, nnodes=nnodes, config=together)
        await join_all(nodes)
        await nodes[1].report(NodeState.FAILED, (failure(1),))
        await next_change(nodes[0])
        await nodes[1].aclose()
        (kept,) = await join_all(nodes[:1])
        heard: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def record(name: EventName, /, **facts: object) -> None:
            if name is EventName.RENDEZVOUS_WAITING and not heard.done():
                heard.set_result(facts["left_out"])

        params = _parameters(1, leave_out(None), (1, 2), {})
        again = new_handler(attrs.evolve(params, record=record))
        waiting = asyncio.create_task(again.join())
        async with asyncio.timeout(LIMIT):
            told = await heard
        waiting.cancel()

        assert kept.group_size == 1
        assert told == ["'n1' (excluded for good: n1 is bad (boom))"]

    async def test_a_node_that_has_cooled_down_comes_in_again(
        self, new_handler: NewHandler
    ) -> None:
        """Where it is needed, the job waits for that; it keeps its rank."""
        nodes = _nodes(new_handler, 2, leave_out(0.5))
        before = await join_all(nodes)
        await nodes[1].report(NodeState.FAILED, (failure(1),))
        for node in nodes:
            await next_change(node)
        after = await join_all(nodes)

        assert [p.group_rank for p in after] == [p.group_rank for p in before]
        assert {(p.group_size, p.restart_count) for p in after} == {(2, 1)}

    async def test_a_join_that_waits_in_vain_names_who_is_left_out(
        self, new_handler: NewHandler
    ) -> None:
        """With the reason, on all nodes."""
        short = {"join_timeout": "3"}
        nodes = _nodes(new_handler, 2, leave_out(600.0), config=short)
        await join_all(nodes)
        await nodes[1].report(NodeState.FAILED, (failure(1),))
        for node in nodes:
            await next_change(node)
        ends = await asyncio.gather(
            *(node.join() for node in nodes), return_exceptions=True
        )

        for error in ends:
            assert isinstance(error, RendezvousTimeout)
            assert "'n1' (excluded for 60" in str(error)
            assert "s: n1 is bad (boom), here for" in str(error)

    async def test_a_back_off_is_waited_for(self, new_handler: NewHandler) -> None:
        """The next generation does not begin before it is over."""

        def wait(_: FailureReport, __: History) -> Decision:
            return Decision(Verdict.RESTART, "again", 0.7)

        nodes = _nodes(new_handler, 2, wait)
        await join_all(nodes)
        before = asyncio.get_running_loop().time()
        await nodes[0].report(NodeState.FAILED, (failure(0),))
        changes = [await next_change(node) for node in nodes]
        await join_all(nodes)

        assert "(again; not before 0.7 s are over)" in changes[0].reason
        # The wait began after the report, however late a busy machine told of it.
        assert asyncio.get_running_loop().time() > before + 0.65

    async def test_a_back_off_can_be_longer_than_a_join_may_wait(
        self, new_handler: NewHandler
    ) -> None:
        """Who waits for it waits for nobody that is missing."""

        def wait(_: FailureReport, __: History) -> Decision:
            return Decision(Verdict.RESTART, "again", 4.0)

        nodes = _nodes(new_handler, 2, wait, config={"join_timeout": "3"})
        await join_all(nodes)
        await nodes[0].report(NodeState.FAILED, (failure(0),))
        for node in nodes:
            await next_change(node)
        places = await join_all(nodes)

        assert {place.restart_count for place in places} == {1}

    async def test_what_a_worker_asks_for_counts_also_when_others_failed_before(
        self, new_handler: NewHandler
    ) -> None:
        """It knows best, and workers that lose it can be heard first."""
        nodes = [
            new_handler(parameters(f"n{i}", nnodes=(1, 2), max_restarts=1))
            for i in range(2)
        ]
        await _form(nodes)
        await nodes[0].report(NodeState.FAILED, (failure(0),))
        for node in nodes:
            await next_change(node)
        asking = attrs.evolve(failure(1, 2.0), request=Request.EXCLUDE_NODE)
        await nodes[1].report(NodeState.FAILED, (asking,))
        parked = asyncio.create_task(nodes[1].join())
        (kept,) = await join_all(nodes[:1])
        told = {status.host: status.excluded for status in await nodes[0].members()}
        parked.cancel()

        assert (kept.group_size, kept.restart_count) == (1, 1)
        assert "asked for 'exclude-node'" in told["n1"]

    async def test_a_policy_is_told_the_whole_history(
        self, new_handler: NewHandler
    ) -> None:
        """Whoever decides: also if it is another node than before."""
        policy = AskedPolicy(restart)
        nodes = [
            new_handler(attrs.evolve(parameters(f"n{i}", nnodes=(2, 3)), policy=policy))
            for i in range(3)
        ]
        await _form(nodes)
        await nodes[1].tell(Vitals(generation=1, progress=7.0))
        for _ in range(2):
            await nodes[1].report(NodeState.FAILED, (failure(1),))
            await _form(nodes)
        decides = next(s.host for s in await nodes[0].members() if s.decides)
        rest = [node for i, node in enumerate(nodes) if f"n{i}" != decides]
        (gone,) = set(nodes) - set(rest)
        await gone.aclose()
        await _form(rest)
        await rest[0].report(NodeState.FAILED, (failure(0),))
        await next_change(rest[1])
        report, history = policy.questions[-1]

        assert report.restarts == len(history) == 2
        assert [past.report.restarts for past in history] == [0, 1]
        assert {past.decision.reason for past in history} == {"again"}
        assert [past.report.failures[0].node for past in history] == ["n1", "n1"]
        assert history[0].report.generation < history[1].report.generation
        assert report.generation > history[1].report.generation
        assert report.group_size == 2
        assert report.progress == 7.0

    async def test_a_job_can_be_handed_back(self, new_handler: NewHandler) -> None:
        """Its end says so on all nodes, with the failure."""

        def hand_back(_: FailureReport, __: History) -> Decision:
            return Decision(Verdict.HAND_BACK, "not here")

        nodes = _nodes(new_handler, 2, hand_back)
        await join_all(nodes)
        await nodes[1].report(NodeState.FAILED, (failure(1),))
        ends = await asyncio.gather(*map(the_end, nodes))

        for end in ends:
            assert end is not None
            assert end.state is OutcomeState.HANDED_BACK
            assert end.reason.endswith("(not here)")
            assert [f.node for f in end.failures] == ["n1"]

    async def test_nodes_that_come_one_after_the_other_cost_one_restart(
        self, new_handler: NewHandler
    ) -> None:
        """Where they are given time, and no longer than until no more would fit."""
        calm = {"scale_debounce": "60"}
        nodes = [
            new_handler(parameters(f"n{i}", nnodes=(1, 3), config=calm))
            for i in range(3)
        ]
        (alone,) = await join_all(nodes[:1])
        second = asyncio.create_task(nodes[1].join())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await next_change(nodes[0])
        third = asyncio.create_task(nodes[2].join())
        change = await next_change(nodes[0])
        (kept,) = await join_all(nodes[:1])
        async with asyncio.timeout(LIMIT):
            others = await asyncio.gather(second, third)

        assert alone.group_size == 1
        assert change.reason == "nodes 'n1', 'n2' joined"
        assert (kept.generation, kept.group_size) == (2, 3)
        assert {place.generation for place in others} == {2}

    async def test_nodes_that_come_wait_for_workers_that_hold_up_a_scaling(
        self, new_handler: NewHandler
    ) -> None:
        """And come in as soon as these let them, at no cost."""
        held: asyncio.Queue[Mapping[str, object]] = asyncio.Queue()

        def record(name: EventName, /, **facts: object) -> None:
            if name is EventName.SCALING_HELD:
                held.put_nowait(facts)

        # Time for a hold to be known, as long as one more node would fit.
        calm = {"scale_debounce": "1"}
        nodes = [
            new_handler(
                attrs.evolve(
                    parameters(f"n{i}", nnodes=(1, 3), config=calm), record=record
                )
            )
            for i in range(2)
        ]
        await join_all(nodes[:1])
        hold = ScalingHold(rank=0, number=1, seconds=300.0)
        await nodes[0].tell(Vitals(generation=1, holds=(hold,)))
        second = asyncio.create_task(nodes[1].join())
        async with asyncio.timeout(LIMIT):
            facts = await held.get()
        assert not second.done()
        await nodes[0].tell(Vitals(generation=1))
        change = await next_change(nodes[0])
        (kept,) = await join_all(nodes[:1])
        async with asyncio.timeout(LIMIT):
            place = await second

        assert facts["by"] == ["rank 0 on 'n0'"]
        assert facts["nodes"] == ["n1"]
        assert change.reason.startswith("node 'n1' joined")
        assert (kept.generation, kept.restart_count) == (2, 0)
        assert place.group_size == kept.group_size == 2


def _nodes(
    new_handler: NewHandler,
    count: int,
    decide: Decide,
    *,
    nnodes: tuple[int, int] = (2, 2),
    config: dict[str, str] | None = None,
) -> list[RendezvousHandler]:
    return [
        new_handler(_parameters(number, decide, nnodes, config or {}))
        for number in range(count)
    ]


def _parameters(
    number: int, decide: Decide, nnodes: tuple[int, int], config: dict[str, str]
) -> RendezvousParameters:
    params = parameters(f"n{number}", nnodes=nnodes, config=config)
    return attrs.evolve(params, policy=AskedPolicy(decide))


async def _form(nodes: Sequence[RendezvousHandler]) -> None:
    """Form a generation of all, where some of them could already be one."""

    async def settle(node: RendezvousHandler) -> None:
        while (await node.join()).group_size != len(nodes):
            await next_change(node)

    async with asyncio.timeout(LIMIT):
        await asyncio.gather(*map(settle, nodes))
