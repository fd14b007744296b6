"""Slots: which group rank the environment says this node should get. Pure.

An explicit word must be right: a variable of elaunch or torchrun that names no rank of
the job is an error. A scheduler numbers what it started, for whatever purpose: its
index counts where it can be this node's rank, and is ignored where it can't.
"""

import re
from collections.abc import Iterator, Mapping

import attrs

from elaunch.errors import UsageError


EXPLICIT: Mapping[str, str] = {
    "ELAUNCH_NODE_RANK": "group rank that this node should get; `--node-rank` wins",
    "PET_NODE_RANK": "the same, by torchrun's name for it",
}
"""Variables that are for this very purpose -> meaning; the first that is set counts."""

SCHEDULED: Mapping[str, str] = {
    "SLURM_NODEID": "the same, in a Slurm step of one task per node",
    "SLURM_PROCID": "the same, where `SLURM_NODEID` is not set",
    "JOB_COMPLETION_INDEX": "the same, in an indexed job of Kubernetes",
}
"""Variables of schedulers -> meaning; the first that can be a rank counts."""

_NUMBER = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class Slot:
    """A given group rank.

    Attributes:
        rank: The rank.
        source: The flag or variable that gave it.
    """

    rank: int
    source: str


def given_slot(
    environment: Mapping[str, str], node_rank: int | None, max_nodes: int
) -> Slot | None:
    """Return the group rank that this node was given, or `None` if it was given none.

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
    for name in _scheduled(environment):
        rank = _rank(environment.get(name, ""), max_nodes)
        if rank is not None:
            return Slot(rank, name)
    return None


def _rank(text: str, max_nodes: int) -> int | None:
    rank = int(text) if _NUMBER.fullmatch(text) else max_nodes
    return rank if rank < max_nodes else None


def _scheduled(environment: Mapping[str, str]) -> Iterator[str]:
    if _one_task_per_node(environment):
        yield from ("SLURM_NODEID", "SLURM_PROCID")
    yield "JOB_COMPLETION_INDEX"


def _one_task_per_node(environment: Mapping[str, str]) -> bool:
    """Whether this is a task of a Slurm step whose tasks have a node each."""
    if "SLURM_PROCID" not in environment:
        return False
    if environment.get("SLURM_NTASKS_PER_NODE") == "1":
        return True
    tasks = environment.get("SLURM_NTASKS")
    nodes = {environment.get(n) for n in ("SLURM_NNODES", "SLURM_JOB_NUM_NODES")}
    return tasks is not None and tasks in nodes
