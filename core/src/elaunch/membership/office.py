"""The office of the coordinator: who holds it, and how a node comes to it."""

import asyncio
import contextlib

from elaunch.membership.coordinator import Coordinator
from elaunch.membership.mandate import Mandate
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.records import Holder, JobPhase, agent_of, encode
from elaunch.membership.stay import Stay
from elaunch.rendezvous import RendezvousParameters
from elaunch.store import ABSENT


CONTEST_AGAIN = 1.0
"""Seconds after which a node that lost a contest, and hears of no winner, tries again.
"""


async def stand_by(
    stay: Stay, params: RendezvousParameters, options: RendezvousOptions
) -> None:
    """Take the office whenever it is free, until the job is over.

    Runs as a task of the stay. Nobody else's patience may end it: an office that was
    won and not taken would be held by a node that does not decide.

    Raises:
        RendezvousUnreachable: If the store is lost.
        RendezvousCorrupt: If the store holds what no agent writes.
    """
    while True:
        news = stay.news()
        if not stay.holder:
            token = await contest(stay)
            if token is not None:
                stay.in_office = True
                if await _coordinator(stay, params, options, token).serve():
                    return
                # Whoever has stepped down must not keep others from the office.
                await stay.store.delete(stay.keys.coordinator, expected=token)
                stay.in_office = False
                continue
        elif _is_earlier_stay(stay.holder, stay.node_id):
            await give_up_earlier(stay)
        # The watch tells when that changes, unless somebody had the office for so short
        # a time that a store which tells only last changes told nothing of it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if stay.holder else CONTEST_AGAIN):
                await news.wait()


async def contest(stay: Stay) -> int | None:
    """Try to take the office: the first to create the key has it.

    Returns:
        The fencing token, `None` if another node was faster.
    """
    token = await stay.store.compare_and_set(
        stay.keys.coordinator,
        encode(Holder(stay.node_id)),
        expected=ABSENT,
        lease=stay.lease,
    )
    if token is not None:
        stay.note_office(token, stay.node_id)
    return token


async def give_up_earlier(stay: Stay) -> None:
    """Give up what an earlier stay of this agent holds.

    Nobody decides under it any more, and its lease may outlast an outage of the store.
    """
    await stay.store.delete(stay.keys.coordinator, expected=stay.office_revision)


def _is_earlier_stay(holder: str, node_id: str) -> bool:
    return holder != node_id and agent_of(holder) == agent_of(node_id)


def _coordinator(
    stay: Stay, params: RendezvousParameters, options: RendezvousOptions, token: int
) -> Coordinator:
    return Coordinator(
        mandate=Mandate(store=stay.store, keys=stay.keys, token=token),
        settings=stay.settings,
        policy=params.policy,
        lease=stay.lease,
        node_id=stay.node_id,
        over=stay.job is not None and stay.job.phase is JobPhase.CLOSED,
        timing=options.timing,
        close_timeout=options.close_timeout,
        clock=params.clock,
        record=params.record,
    )
