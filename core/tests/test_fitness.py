"""Joining as a node that is checked: what `simulated/test_fitness.py` can't see."""

import asyncio

import attrs
import pytest

from elaunch.agent.fitness import LONGEST_PROBLEM, LONGEST_REASON, Fitness
from elaunch.agent.tasks import Tasks
from elaunch.api import (
    EventName,
    MemoryStore,
    PreflightContext,
    PreflightOptions,
    PreflightResult,
    Store,
    StoreRendezvous,
)
from elaunch.events import Value
from elaunch.keyspace import Keyspace
from elaunch.membership.options import RendezvousOptions
from elaunch.preflight import NamedPreflight
from elaunch.testing import parameters


SOON = 60.0


@attrs.define(eq=False)
class Check:
    """Finds what it is told to, as often as it is asked."""

    problem: str
    options: PreflightOptions = attrs.field(
        factory=lambda: PreflightOptions(retry=0.01)
    )
    asked: int = 0
    often: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def check(self, _: PreflightContext) -> PreflightResult:
        self.asked += 1
        if self.asked >= 3:
            self.often.set()
        return PreflightResult(problem=self.problem)


@attrs.define(eq=False)
class Node:
    """A node that joins a job of two as the only one."""

    checks: list[Check]
    told: list[tuple[EventName, dict[str, Value]]] = attrs.field(factory=list)
    faults: list[BaseException] = attrs.field(factory=list)
    handler: StoreRendezvous = attrs.field(init=False)
    fitness: Fitness = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        keyspace = Keyspace()

        async def open_store() -> Store:
            return MemoryStore(keyspace)

        self.handler = StoreRendezvous(
            open_store, parameters("host"), RendezvousOptions()
        )
        self.fitness = Fitness(
            preflights=[NamedPreflight("odd", c, c.options) for c in self.checks],
            handler=self.handler,
            shutdown_timeout=1.0,
            record=self.record,
            tasks=Tasks(on_fault=self.faults.append),
        )

    def record(self, name: EventName, /, **facts: Value) -> None:
        self.told.append((name, facts))


@pytest.mark.asyncio
async def test_a_join_that_is_given_up_leaves_no_task_behind() -> None:
    check = Check("it is ill")
    node = Node([check])
    async with asyncio.timeout(SOON):
        joining = asyncio.create_task(node.fitness.join())
        await check.often.wait()
        joining.cancel()
        await asyncio.wait((joining,))
        await node.handler.aclose()

    assert joining.cancelled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert node.faults == []


@pytest.mark.asyncio
async def test_the_same_problem_is_told_once_and_of_a_long_one_the_beginning() -> None:
    checks = [Check(f"{number} " + "x" * 5000 + "\n\x1b") for number in range(8)]
    node = Node(checks)
    async with asyncio.timeout(SOON):
        joining = asyncio.create_task(node.fitness.join())
        for check in checks:
            await check.often.wait()
        (status,) = await node.handler.members()
        joining.cancel()
        await asyncio.wait((joining,))
        await node.handler.aclose()
    failed = [facts for name, facts in node.told if name is EventName.PREFLIGHT_FAILED]

    assert [len(str(facts["reason"])) for facts in failed] == [LONGEST_PROBLEM] * 8
    assert len(status.unfit) == LONGEST_REASON
    assert status.unfit.startswith("preflight 'odd': 0 xxx")


@pytest.mark.asyncio
async def test_a_fault_of_its_own_is_told_to_the_agent() -> None:
    node = Node([Check("it is ill")])
    told = asyncio.Event()

    def fail(*_: object, **__: object) -> None:
        told.set()
        raise ZeroDivisionError

    node.fitness.record = fail
    async with asyncio.timeout(SOON):
        joining = asyncio.create_task(node.fitness.join())
        await told.wait()
        joining.cancel()
        await asyncio.wait((joining,))
        await node.handler.aclose()

    assert [type(fault) for fault in node.faults] == [ZeroDivisionError]
