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


def departure(view: View, gone: Sequence[str]) -> str:
    """Return which members are gone: who was lost, and who left for what reason."""
    left = [(m, why) for m in gone if (why := view.why_left(m)) is not None]
    lost = [view.hosts[m] for m in gone if view.why_left(m) is None]
    parts = [f"{names(lost)} {_were(lost)} lost"] if lost else []
    parts += [f"node {view.hosts[m]!r} left: {why}" for m, why in left[:NAMED]]
    if len(left) > NAMED:
        parts.append(f"{len(left) - NAMED} more left")
    return "; ".join(parts)


def _were(hosts: Sequence[str]) -> str:
    return "was" if len(hosts) == 1 else "were"
