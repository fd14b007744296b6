"""How decisions are told: one line that names who, and stays short in a large job."""

from collections.abc import Sequence

from elaunch.membership.view import View


NAMED = 4
"""How many nodes a reason names; the others are counted."""


def names(hosts: Sequence[str]) -> str:
    """Return ``node 'a'``, or ``nodes 'a', 'b' and 7 more``."""
    named = ", ".join(repr(host) for host in hosts[:NAMED])
    more = f" and {len(hosts) - NAMED} more" if len(hosts) > NAMED else ""
    return f"node {named}{more}" if len(hosts) == 1 else f"nodes {named}{more}"


def departure(view: View, absent: Sequence[str]) -> str:
    """Return why members stop: lost, left for some reason, or asking for a restart."""
    left = [(m, why) for m in absent if (why := view.why_left(m)) is not None]
    here = [m for m in absent if view.is_here(m)]
    asking = [(m, why) for m in here if (why := view.why_restart(m))]
    idle = [view.hosts[m] for m in here if not view.why_restart(m)]
    lost = [
        view.hosts[m]
        for m in absent
        if view.why_left(m) is None and not view.is_here(m)
    ]
    parts = []
    if lost:
        parts.append(f"{names(lost)} {'was' if len(lost) == 1 else 'were'} lost")
    if idle:
        parts.append(f"{names(idle)} stopped running")
    parts += [
        f"node {view.hosts[m]!r} asks for a restart: {why}" for m, why in asking[:NAMED]
    ]
    parts += [f"node {view.hosts[m]!r} left: {why}" for m, why in left[:NAMED]]
    if len(left) > NAMED:
        parts.append(f"{len(left) - NAMED} more left")
    return "; ".join(parts)
