"""What tests of rendezvous share: nodes of one job that do things together."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from elaunch.api import (
    BudgetPolicy,
    Change,
    ChangeKind,
    JobSettings,
    Membership,
    NodeFacts,
    Outcome,
    ProcessFailure,
    RendezvousClosed,
    RendezvousHandler,
    RendezvousParameters,
)


NewHandler = Callable[[RendezvousParameters], RendezvousHandler]
"""Builds a handler of the backend under test from complete parameters."""

LIMIT = 20.0  # seconds; far beyond what anything here takes


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
        clock=loop_time,
    )


def loop_time() -> float:
    """Return the time of the loop: that of a simulation goes as it likes."""
    return asyncio.get_running_loop().time()


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
    async with asyncio.timeout(LIMIT):
        return await asyncio.gather(*(handler.join() for handler in handlers))


async def next_change(handler: RendezvousHandler) -> Change:
    """Wait for what happens to a membership."""
    async with asyncio.timeout(LIMIT), aclosing(handler.changes()) as changes:
        return await anext(changes)


async def the_end(handler: RendezvousHandler) -> Outcome | None:
    """Wait for the end of a job whose workers failed; return how it ended.

    Where a loss is noticed late, the members are asked before whether they live: they
    stop their workers and are ready.
    """
    change = await next_change(handler)
    if change.kind is ChangeKind.CLOSED:
        return change.outcome
    with pytest.raises(RendezvousClosed):
        await join_all([handler])
    return handler.outcome()


class RendezvousFixtures:
    """What the parts of the rendezvous contract have in common."""

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
