"""The office of the coordinator: who holds it, and how a node comes to it."""

from elaunch.membership.coordinator import Coordinator
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.records import Holder, agent_of, decode, encode
from elaunch.membership.stay import Stay
from elaunch.rendezvous import RendezvousParameters
from elaunch.store import ABSENT


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
        if stay.decided:
            await news.wait()
            continue
        token = await _contest(stay)
        if token is None:
            continue
        coordinator = Coordinator(
            store=stay.store,
            keys=stay.keys,
            settings=stay.settings,
            policy=params.policy,
            lease=stay.lease,
            token=token,
            node_id=stay.node_id,
            last_call_timeout=options.last_call_timeout,
            close_timeout=options.close_timeout,
            record=params.record,
        )
        stay.in_office = True
        if await coordinator.serve():
            return
        stay.in_office = False


async def _contest(stay: Stay) -> int | None:
    """Try to take the office: the first to create the key has it.

    Returns:
        The fencing token, `None` if another node has it.
    """
    key = stay.keys.coordinator
    token = await stay.store.compare_and_set(
        key, encode(Holder(stay.node_id)), expected=ABSENT, lease=stay.lease
    )
    if token is not None:
        stay.note_office(token, held=True)
        return token
    # The watch may already have told of the end of what made us lose.
    entry = await stay.store.get(key)
    if entry is None:
        return None
    stay.note_office(entry.revision, held=True)
    holder = decode(Holder, key, entry.value).node
    if holder != stay.node_id and agent_of(holder) == agent_of(stay.node_id):
        # An earlier stay of this agent held it: nobody decides under it any more, and
        # its lease may outlast an outage of the store.
        await stay.store.delete(key, expected=entry.revision)
    return None
