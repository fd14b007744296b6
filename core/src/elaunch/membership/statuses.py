"""How all nodes of a job are, for people who ask: read from the store, on demand."""

from collections.abc import Mapping, Sequence

import attrs

from elaunch.membership.records import (
    Holder,
    JobRecord,
    Keys,
    decode,
)
from elaunch.membership.roster import Roster
from elaunch.membership.view import View
from elaunch.store import Listing, Store
from elaunch.vitals import MemberStatus, Vitals


async def statuses(store: Store, keys: Keys, time: float) -> Sequence[MemberStatus]:
    """Return how all nodes are: members in the order of their ranks, then spares.

    Args:
        store: Where the job lives.
        keys: Its keys.
        time: The time in Unix seconds.

    Raises:
        RendezvousUnreachable: If the store does not tell.
    """
    return told(keys, await store.list(keys.root), time)


def told(keys: Keys, listing: Listing, time: float) -> Sequence[MemberStatus]:
    """Return what the keys of a job tell of its nodes at a time."""
    values = {entry.key: entry.value for entry in listing.entries}
    state = values.get(keys.state)
    if state is None:
        return ()
    job = decode(JobRecord, keys.state, state)
    roster = Roster(keys)
    roster.read(job, listing, now=0.0)
    return _statuses(roster.view(job, time), keys, values)


def _statuses(
    view: View, keys: Keys, values: Mapping[str, bytes]
) -> Sequence[MemberStatus]:
    office = values.get(keys.coordinator)
    holder = decode(Holder, keys.coordinator, office).node if office else ""
    found = []
    for node_id, node in view.nodes.items():
        key = keys.vitals(node_id)
        vitals = decode(Vitals, key, values[key]) if key in values else None
        record, exclusion = node.record, view.exclusion_of(node_id)
        status = MemberStatus(
            node=view.name_of(node_id),
            host=record.facts.host,
            address=record.facts.address,
            role=record.facts.role,
            local_world_size=record.facts.local_world_size,
            state=str(record.phase),
            generation=record.generation,
            group_rank=view.members.get(node_id),
            decides=node_id == holder,
            reason=record.reason,
            unfit=record.unfit,
            excluded=exclusion.told(view.time) if exclusion else "",
        )
        if vitals:
            status = attrs.evolve(
                status,
                progress=vitals.progress,
                pace=vitals.pace,
                findings=vitals.findings,
            )
        found.append(status)
    return sorted(found, key=_place)


def _place(status: MemberStatus) -> tuple[bool, int, str]:
    rank = status.group_rank
    return rank is None, rank or 0, status.host
