"""The environment of a worker: every variable that elaunch sets, in one table."""

from collections.abc import Callable, Mapping

import attrs

from elaunch.rendezvous import Membership
from elaunch.workers import WorkerRanks


@attrs.frozen(kw_only=True)
class WorkerContext:
    """All that a worker's environment is made of.

    Attributes:
        membership: The node's place in the generation.
        ranks: The worker's place.
        local_world_size: Workers of this node.
        role: Role of this node's workers.
        run_id: Id of the job.
        max_restarts: Restart budget of the job.
        cores: CPU cores this node may use.
        inherited: The agent's own environment.
    """

    membership: Membership
    ranks: WorkerRanks
    local_world_size: int
    role: str
    run_id: str
    max_restarts: int
    cores: int
    inherited: Mapping[str, str]


@attrs.frozen
class Variable:
    """One variable of the table.

    Attributes:
        name: Name of the variable.
        meaning: One line for the documentation.
        value: Computes it.
    """

    name: str
    meaning: str
    value: Callable[[WorkerContext], object]


TABLE: tuple[Variable, ...] = (
    Variable("RANK", "global rank", lambda c: c.ranks.rank),
    Variable("LOCAL_RANK", "rank on this node", lambda c: c.ranks.local_rank),
    Variable("ROLE_RANK", "rank in its role", lambda c: c.ranks.role_rank),
    Variable("GROUP_RANK", "rank of this node", lambda c: c.membership.group_rank),
    Variable("WORLD_SIZE", "workers in all", lambda c: c.membership.world_size),
    Variable("LOCAL_WORLD_SIZE", "workers of this node", lambda c: c.local_world_size),
    Variable(
        "ROLE_WORLD_SIZE",
        "workers of this role",
        lambda c: c.membership.role_world_size,
    ),
    Variable("GROUP_WORLD_SIZE", "nodes in all", lambda c: c.membership.group_size),
    Variable("ROLE_NAME", "role of this node", lambda c: c.role),
    Variable("TORCHELASTIC_RUN_ID", "id of the job", lambda c: c.run_id),
    Variable(
        "TORCHELASTIC_RESTART_COUNT",
        "restarts spent on failures, equal on all ranks",
        lambda c: c.membership.restart_count,
    ),
    Variable("TORCHELASTIC_MAX_RESTARTS", "restart budget", lambda c: c.max_restarts),
    Variable(
        "TORCH_NCCL_ASYNC_ERROR_HANDLING",
        "1 unless set by the user",
        lambda c: c.inherited.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
    ),
    Variable(
        "OMP_NUM_THREADS",
        "cores of the node / its workers, unless set by the user",
        lambda c: c.inherited.get(
            "OMP_NUM_THREADS", max(1, c.cores // c.local_world_size)
        ),
    ),
    Variable("ELAUNCH_RUN_ID", "id of the job", lambda c: c.run_id),
    Variable(
        "ELAUNCH_GENERATION",
        "number of the generation, equal on all ranks, growing",
        lambda c: c.membership.generation,
    ),
    Variable(
        "ELAUNCH_RESTART_COUNT",
        "restarts spent on failures, equal on all ranks",
        lambda c: c.membership.restart_count,
    ),
    Variable(
        "ELAUNCH_REASON",
        "why this generation was formed",
        lambda c: c.membership.reason,
    ),
)
"""What every worker gets, whatever the backends."""

BY_BOOTSTRAP: Mapping[str, str] = {
    "MASTER_ADDR": "address of the generation's store (bootstraps c10d and port)",
    "MASTER_PORT": "port of the generation's store (bootstraps c10d and port)",
    "TORCHELASTIC_USE_AGENT_STORE": (
        "True if an agent serves that store, False if rank 0 is to open it"
    ),
}
"""What the bootstrap adds."""

BY_SPAWNER: Mapping[str, str] = {
    "TORCHELASTIC_ERROR_FILE": "where the worker may leave its error as JSON",
    "PYTHONUNBUFFERED": "1 unless set by the user, so that output comes at once",
}
"""What a spawner adds."""


WITHHELD: Mapping[str, str] = {
    "ELAUNCH_RDZV_TOKEN": "the agents' secret; whoever has it can end the job",
}
"""What a worker does not get of the agent's environment, and why."""


def inherited_environment(agent: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker gets of its agent's environment; for spawners."""
    return {name: value for name, value in agent.items() if name not in WITHHELD}


def names_of(context: WorkerContext, host: str) -> dict[str, str]:
    """Return the value of each name that a template can use (`elaunch.templates`)."""
    membership, ranks = context.membership, context.ranks
    values: dict[str, object] = {
        "run_id": context.run_id,
        "generation": membership.generation,
        "restart_count": membership.restart_count,
        "rank": ranks.rank,
        "local_rank": ranks.local_rank,
        "role_rank": ranks.role_rank,
        "group_rank": membership.group_rank,
        "world_size": membership.world_size,
        "local_world_size": context.local_world_size,
        "group_world_size": membership.group_size,
        "role": context.role,
        "host": host,
    }
    return {name: str(value) for name, value in values.items()}


def worker_environment(context: WorkerContext) -> dict[str, str]:
    """Return the variables of one worker, all but the bootstrap's and spawner's."""
    return {variable.name: str(variable.value(context)) for variable in TABLE}
