"""Who gets which rank: pure, deterministic, stable."""

from collections.abc import Sequence

import attrs

from elaunch.rendezvous import Membership, NodeFacts


@attrs.frozen(kw_only=True)
class Candidate:
    """A node that could be a member of the next generation.

    Attributes:
        node_id: Id of the node.
        facts: What it says of itself.
        joined: Its place in the order of joining.
        previous_rank: Its group rank in the generation before, or `None`.
    """

    node_id: str
    facts: NodeFacts
    joined: int
    previous_rank: int | None = None


def choose(candidates: Sequence[Candidate], most: int) -> tuple[Candidate, ...]:
    """Return the candidates that become members; the others stay spares.

    Previous members come first, by their ranks, then nodes with a given slot, then the
    order of joining.
    """
    return tuple(sorted(candidates, key=_preference)[:most])


def _preference(candidate: Candidate) -> tuple[bool, int, bool, int, int]:
    slot = candidate.facts.slot
    return (
        candidate.previous_rank is None,
        candidate.previous_rank or 0,
        slot is None,
        slot or 0,
        candidate.joined,
    )


def order(members: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return the members in the order of their group ranks.

    A given slot comes first, then the rank a member had; who can't have what it wants
    (taken, or beyond the size) and who wants nothing fills the gaps, in that order.
    So a member keeps its rank while it stays, and a replacement takes the free one.
    """
    size = len(members)
    placed: dict[int, Candidate] = {}
    rest: list[Candidate] = []
    for member in sorted(members, key=_claim):
        want = _wanted(member)
        if want is not None and want < size and want not in placed:
            placed[want] = member
        else:
            rest.append(member)
    gaps = (rank for rank in range(size) if rank not in placed)
    placed.update(zip(gaps, rest, strict=True))
    return tuple(placed[rank] for rank in range(size))


def _wanted(candidate: Candidate) -> int | None:
    slot = candidate.facts.slot
    return candidate.previous_rank if slot is None else slot


def _claim(candidate: Candidate) -> tuple[int, int, int]:
    want = _wanted(candidate)
    if candidate.facts.slot is not None:
        strength = 0
    elif want is not None:
        strength = 1
    else:
        strength = 2
    return (strength, want or 0, candidate.joined)


def memberships(
    members: Sequence[Candidate], *, generation: int, restart_count: int, reason: str
) -> tuple[Membership, ...]:
    """Return the place of each member, in the order given.

    Global ranks are the running sum of workers in group-rank order; role ranks the same
    sum over the nodes of one role.
    """
    world = sum(member.facts.local_world_size for member in members)
    roles: dict[str, int] = {}
    for member in members:
        role = member.facts.role
        roles[role] = roles.get(role, 0) + member.facts.local_world_size
    base = 0
    role_bases = dict.fromkeys(roles, 0)
    places = []
    for rank, member in enumerate(members):
        role = member.facts.role
        places.append(
            Membership(
                generation=generation,
                group_rank=rank,
                group_size=len(members),
                base_rank=base,
                world_size=world,
                base_role_rank=role_bases[role],
                role_world_size=roles[role],
                restart_count=restart_count,
                reason=reason,
            )
        )
        base += member.facts.local_world_size
        role_bases[role] += member.facts.local_world_size
    return tuple(places)
