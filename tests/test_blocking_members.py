"""What single nodes can do where nobody can be told: with a rendezvous that blocks."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from lone_rendezvous import Alone

from elaunch.api import (
    ChangeKind,
    Pace,
    RendezvousParameters,
    RendezvousUnreachable,
    Vitals,
)
from elaunch.blocking.adapter import BlockingRendezvous


LIMIT = 20.0


def rendezvous(other_side: Alone) -> BlockingRendezvous:
    params = RendezvousParameters(backend="alone", run_id="job")
    create: Callable[[], Any] = lambda: other_side  # noqa: E731 - it has a type this way
    return BlockingRendezvous(create, params)


@pytest.mark.asyncio
async def test_a_node_that_is_unfit_does_not_come_to_the_others() -> None:
    other_side = Alone()
    node = rendezvous(other_side)
    await node.withhold("the disk is full")
    joining = asyncio.create_task(node.join())
    await asyncio.sleep(0)
    calls = list(other_side.calls)
    (unfit,) = await node.members()
    await node.withhold("")
    async with asyncio.timeout(LIMIT):
        place = await joining
    await node.aclose()

    assert calls == []
    assert (unfit.unfit, unfit.group_rank) == ("the disk is full", None)
    assert place.group_rank == 0


@pytest.mark.asyncio
async def test_a_restart_costs_nothing() -> None:
    node = rendezvous(Alone())
    await node.join()
    async with asyncio.timeout(LIMIT), aclosing(node.changes()) as changes:
        await node.restart("new code")
        change = await anext(changes)
    place = await node.join()
    await node.aclose()

    assert (change.kind, change.reason) == (ChangeKind.SUPERSEDED, "new code")
    assert (place.generation, place.restart_count) == (2, 0)
    assert place.reason == "new code"


@pytest.mark.asyncio
async def test_a_node_knows_of_itself_alone() -> None:
    node = rendezvous(Alone())
    with pytest.raises(RendezvousUnreachable, match="not a member"):
        await node.tell(Vitals(generation=1))
    with pytest.raises(RendezvousUnreachable, match="not a member"):
        await node.restart("now")
    await node.join()
    pace = Pace(ranks=1, fastest=1.0, median=1.0, slowest=1.0, slowest_rank=0)
    await node.tell(Vitals(generation=1, progress=3.0, pace=pace))
    (told,) = await node.members()
    await node.aclose()

    assert node.job_pace() is None
    assert (told.progress, told.pace, told.generation) == (3.0, pace, 1)
    assert (told.group_rank, told.state) == (0, "ready")
