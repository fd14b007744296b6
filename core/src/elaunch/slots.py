"""Slots: which group rank the environment says this node should get. Pure.

An explicit word must be right: a variable of elaunch or torchrun that names no rank of
the job is an error. A scheduler numbers what it started, for whatever purpose: its
index counts where it can be this node's rank, and is ignored where it can't.
"""

import re
from collections.abc import Mapping

import attrs

from elaunch.errors import UsageError
from elaunch.scheduler import Detected


EXPLICIT: Mapping[str, str] = {
    "ELAUNCH_NODE_RANK": "group rank that this node should get; `--node-rank` wins",
    "PET_NODE_RANK": "the same, by torchrun's name for it",
}
"""Variables that are for this very purpose -> meaning; the first that is set counts."""

_NUMBER = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class Slot:
    """A given group rank.

    Attributes:
        rank: The rank.
        source: The flag, variable or scheduler that gave it.
    """

    rank: int
    source: str


def explicit_slot(
    environment: Mapping[str, str], node_rank: int | None, max_nodes: int
) -> Slot | None:
    """Return the group rank that the user gave this node, or `None` if none was given.

    Args:
        environment: Environment of the agent.
        node_rank: What the flag or the configuration says, which wins.
        max_nodes: Most nodes of the job. A job of one node, which may be nested in a
            worker of a larger one, has no use for what the environment says.

    Raises:
        UsageError: If a variable of elaunch or torchrun is no rank of this job.
    """
    if node_rank is not None:
        return Slot(node_rank, "--node-rank")
    if max_nodes == 1:
        return None
    for name in EXPLICIT:
        if name in environment:
            rank = _rank(environment[name], max_nodes)
            if rank is None:
                raise UsageError(
                    f"{name} must be a number from 0 to {max_nodes - 1}, "
                    f"not {environment[name]!r}; correct it, or unset it"
                )
            return Slot(rank, name)
    return None


def scheduled_slot(detected: Detected | None, max_nodes: int) -> Slot | None:
    """Return the group rank that a scheduler gave this node, if it can be one.

    Args:
        detected: What the scheduler says.
        max_nodes: Most nodes of the job.
    """
    found = detected.values.get("node_rank") if detected else None
    rank = _rank(found.value, max_nodes) if found else None
    if detected is None or found is None or rank is None:
        return None
    return Slot(rank, f"{detected.scheduler}: {found.rule}")


def _rank(text: str, max_nodes: int) -> int | None:
    rank = int(text) if _NUMBER.fullmatch(text) else max_nodes
    return rank if rank < max_nodes else None
