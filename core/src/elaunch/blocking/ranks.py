"""Who gets which rank, agreed on over the store of a rendezvous that blocks.

The keys and their JSON are torchelastic's: each node says who it is, the node of rank 0
assigns, each reads its own place. A node of ours says more in the same record, and rank
0 adds one key with what torchelastic does not agree on: the number of the generation,
and the restarts that the job has spent.
"""

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import attrs

from elaunch.errors import RendezvousCorrupt
from elaunch.rendezvous import Membership, NodeFacts


ROLE_INFO = "torchelastic/role_info/"
ASSIGNED = "torchelastic/assigned_ranks/"
GENERATION = "elaunch/generation"


@attrs.frozen(kw_only=True)
class Past:
    """What a node knows of the job before a rendezvous.

    Attributes:
        generation: Its last generation, 0 for none.
        restarts: Restarts that the job had spent in that.
        failed: Whether that generation failed, as far as this node knows.
        reason: Why this node joins again, empty if it is new.
    """

    generation: int = 0
    restarts: int = 0
    failed: bool = False
    reason: str = ""


@attrs.frozen(kw_only=True)
class Member:
    """What a node says of itself.

    Attributes:
        role: Role of its workers.
        workers: How many they are.
        addresses: From where they connect.
        past: What it knows.
    """

    role: str
    workers: int
    addresses: tuple[str, ...] = ()
    past: Past = Past()


def agree(
    store: Any, rank: int, size: int, node: NodeFacts, past: Past
) -> tuple[Membership, frozenset[str]]:
    """Return this node's place and, at rank 0, the members' addresses; blocks.

    Args:
        store: The store of this rendezvous.
        rank: Rank of this node in it.
        size: Nodes in it.
        node: What this node says of itself.
        past: What it knows of the job.

    Raises:
        RendezvousCorrupt: If the store holds something else than agents write.
        Exception: Whatever the store raises.
    """
    store.set(f"{ROLE_INFO}{rank}", _record(rank, node, past))
    members: Sequence[Member] = ()
    if rank == 0:
        keys = [f"{ROLE_INFO}{member}" for member in range(size)]
        members = [_member(value) for value in store.multi_get(keys)]
        _assign(store, members)
    try:
        place = json.loads(bytes(store.get(f"{ASSIGNED}{rank}")))
        base, world, base_role, role_world = (int(number) for number in place)
        job = _generation(store, past)
    except (ValueError, TypeError) as error:
        raise RendezvousCorrupt(
            f"the store of the rendezvous holds no ranks, but something else: {error}"
        ) from error
    membership = Membership(
        generation=job.generation,
        group_rank=rank,
        group_size=size,
        base_rank=base,
        world_size=world,
        base_role_rank=base_role,
        role_world_size=role_world,
        restart_count=job.restarts,
        reason=job.reason,
    )
    own = node.address, *node.addresses
    addresses = {address for member in members for address in member.addresses}
    return membership, frozenset({*addresses, *own})


def _record(rank: int, node: NodeFacts, past: Past) -> bytes:
    facts = {
        "role": node.role,
        "rank": rank,
        "local_world_size": node.local_world_size,
        "addresses": [node.address, *node.addresses],
        "past": attrs.asdict(past),
    }
    return json.dumps(facts).encode()


def _member(value: Any) -> Member:
    try:
        told = json.loads(bytes(value))
        return Member(
            role=str(told["role"]),
            workers=int(told["local_world_size"]),
            addresses=tuple(told.get("addresses", ())),
            past=Past(**told.get("past", {})),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise RendezvousCorrupt(
            f"a node says {bytes(value)[:200]!r} of itself, which makes no sense: "
            f"{error}"
        ) from error


def _assign(store: Any, members: Sequence[Member]) -> None:
    """As rank 0: write each member's place, and what the job has spent before."""
    store.set(GENERATION, json.dumps(attrs.asdict(next_generation(members))).encode())
    for rank, place in enumerate(places(members)):
        store.set(f"{ASSIGNED}{rank}", json.dumps(place).encode())


def next_generation(members: Sequence[Member]) -> Past:
    """Return the generation that these nodes form."""
    pasts = [member.past for member in members]
    last = max(past.generation for past in pasts)
    of_last = [past for past in pasts if past.generation == last]
    failed = any(past.failed for past in of_last)
    reasons = [past.reason for past in of_last if past.failed == failed and past.reason]
    return Past(
        generation=last + 1,
        restarts=max(past.restarts for past in pasts) + failed,
        reason=reasons[0] if reasons else "the nodes have met",
    )


def places(members: Sequence[Member]) -> list[tuple[int, int, int, int]]:
    """Return each one's first rank, all workers, and both within its role."""
    sizes = [member.workers for member in members]
    roles: dict[str, int] = {}
    found = []
    for member, end in zip(members, accumulate(sizes), strict=True):
        before = roles.get(member.role, 0)
        roles[member.role] = before + member.workers
        found.append((member.role, end - member.workers, before))
    return [(base, sum(sizes), before, roles[role]) for role, base, before in found]


def _generation(store: Any, past: Past) -> Past:
    """Return what rank 0 said of the generation, or go on counting if it did not."""
    if store.check([GENERATION]):
        return Past(**json.loads(bytes(store.get(GENERATION))))
    return Past(
        generation=past.generation + 1,
        restarts=past.restarts + past.failed,
        reason=past.reason or "the nodes have met",
    )
