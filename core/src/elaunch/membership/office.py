"""The office of the coordinator: who holds it, and how a node comes to it."""

from elaunch.membership.coordinator import Coordinator
from elaunch.membership.options import RendezvousOptions
from elaunch.membership.records import encode
from elaunch.membership.stay import Stay
from elaunch.rendezvous import RendezvousParameters
from elaunch.store import ABSENT


async def contest(
    stay: Stay, params: RendezvousParameters, options: RendezvousOptions
) -> None:
    """Try to become the coordinator; the first to create the key is.

    The office is held under the lease of the stay and ends with it.

    Raises:
        RendezvousUnreachable: If the store does not answer.
    """
    token = await stay.store.compare_and_set(
        stay.keys.coordinator,
        encode({"node": stay.node_id}),
        expected=ABSENT,
        lease=stay.lease,
    )
    stay.decided = True
    if token is None:
        return
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
    stay.coordinating = stay.run(coordinator.serve)
