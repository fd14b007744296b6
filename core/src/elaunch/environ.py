"""The environment of a worker: every variable that elaunch sets, in one table."""

from collections.abc import Callable, Mapping

import attrs

from elaunch.channel import CHANNEL
from elaunch.devices import one_device
from elaunch.errors import UsageError
from elaunch.rendezvous import Membership
from elaunch.templates import render
from elaunch.workers import WorkerRanks


THREADS = "OMP_NUM_THREADS"


def names_only(values: Mapping[str, str]) -> str:
    """Return what to show of variables whose values may be secrets."""
    return repr(sorted(values))


@attrs.frozen(kw_only=True)
class EnvironmentSettings:
    """What the user wants of the workers' environment.

    Attributes:
        env: Variables to add; their values are templates. Not shown, since they may be
            secrets.
        threads: Threads of each worker's parallel libraries; `None` for the default.
        virtual_local_rank: Whether each worker is local rank 0 and sees one device.
        device_variables: Variables that show a worker its device then; empty for those
            that are known and set.
    """

    env: Mapping[str, str] = attrs.field(factory=dict, repr=names_only)
    threads: int | None = None
    virtual_local_rank: bool = False
    device_variables: tuple[str, ...] = ()

    def devices(self, given: Mapping[str, str], local_rank: int) -> dict[str, str]:
        """Return the device variables that one worker gets beside what is given.

        Raises:
            UsageError: If there is no device for it.
        """
        if not self.virtual_local_rank:
            return {}
        return one_device(given, local_rank, self.device_variables)

    def check_devices(self, inherited: Mapping[str, str], workers: int) -> None:
        """Check that there is a device for each worker of a node.

        Raises:
            UsageError: If there is none for one of them.
        """
        for local_rank in range(workers):
            self.devices({**inherited, **self.env}, local_rank)


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
        settings: What the user wants.
    """

    membership: Membership
    ranks: WorkerRanks
    local_world_size: int
    role: str
    run_id: str
    max_restarts: int
    cores: int
    inherited: Mapping[str, str]
    settings: EnvironmentSettings = EnvironmentSettings()


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


@attrs.frozen
class Threads:
    """How many threads the parallel libraries of a worker start.

    Attributes:
        count: The number, or what the user wrote in its place.
        source: Who says so.
        guessed: Whether nobody asked for it.
    """

    count: str
    source: str
    guessed: bool = False


def threads_of(context: WorkerContext) -> Threads:
    """Return a worker's number of threads: flags first, then what it inherits."""
    settings, workers = context.settings, context.local_world_size
    if settings.threads is not None:
        return Threads(str(settings.threads), "--threads")
    if THREADS in settings.env:
        return Threads(settings.env[THREADS], "--env")
    if context.inherited.get(THREADS):
        return Threads(context.inherited[THREADS], "the environment")
    share = max(1, context.cores // workers)
    source = f"{context.cores} CPUs / {workers} worker{'s' * (workers > 1)}"
    return Threads(str(share), source, guessed=True)


TABLE: tuple[Variable, ...] = (
    Variable("RANK", "global rank", lambda c: c.ranks.rank),
    Variable(
        "LOCAL_RANK",
        "rank on this node; 0 with `--virtual-local-rank`",
        lambda c: 0 if c.settings.virtual_local_rank else c.ranks.local_rank,
    ),
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
        THREADS,
        "cores of the node / its workers, unless set by the user or `--threads`",
        lambda c: threads_of(c).count,
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

_OF_STORE: Mapping[str, str] = {
    "MASTER_ADDR": "address of the generation's store (bootstraps c10d and port)",
    "MASTER_PORT": "port of the generation's store (bootstraps c10d and port)",
    "TORCHELASTIC_USE_AGENT_STORE": (
        "True if an agent serves that store, False if rank 0 is to open it"
    ),
}
_OF_JAX: Mapping[str, str] = {
    "JAX_COORDINATOR_ADDRESS": "where rank 0 runs JAX's coordinator (bootstrap jax)",
    "JAX_COORDINATOR_BIND_ADDRESS": "where it listens (bootstrap jax)",
    "JAX_NUM_PROCESSES": "workers in all (bootstrap jax)",
    "JAX_PROCESS_ID": "global rank (bootstrap jax)",
}

OF_BOOTSTRAP: Mapping[str, Mapping[str, str]] = {
    "c10d": _OF_STORE,
    "port": _OF_STORE,
    "jax": _OF_JAX,
    "none": {},
}
"""What each known bootstrap adds."""

BY_BOOTSTRAP: Mapping[str, str] = {**_OF_STORE, **_OF_JAX}
"""What any of them may add."""

BY_SPAWNER: Mapping[str, str] = {
    "TORCHELASTIC_ERROR_FILE": "where the worker may leave its error as JSON",
    "PYTHONFAULTHANDLER": "1 unless set by the user, so that a crash names its line",
    "ELAUNCH_NOTICE_FILE": (
        "where a notice to the worker appears as JSON: a preemption, or its stop"
    ),
    "ELAUNCH_STACK_FILE": "where the worker writes its stacks when it is asked",
    "ELAUNCH_STACK_SIGNAL": "number of the signal by which it is asked",
    "PYTHONUNBUFFERED": "1 unless set by the user, so that output comes at once",
}
"""What a spawner adds."""

BY_AGENT: Mapping[str, str] = {
    CHANNEL: "socket at which the agent hears how the worker goes",
}
"""What an agent adds."""

ALLOWED = frozenset({THREADS, "TORCH_NCCL_ASYNC_ERROR_HANDLING", "PYTHONUNBUFFERED"})
"""Variables of ours that a user may set; all others say who a worker is."""


WITHHELD: Mapping[str, str] = {
    "ELAUNCH_RDZV_TOKEN": "the agents' secret; whoever has it can end the job",
    "ELAUNCH_CONTROL_TOKEN": "the agent's secret; whoever has it can end the job",
    "ELAUNCH_CONTROL": "this agent listens there; a job in a worker must not try to",
    "ELAUNCH_HEALTH_CHECK": "this agent answers there; likewise",
}
"""What a worker does not get of the agent's environment, and why."""


def check_env(env: Mapping[str, str]) -> None:
    """Check variables that a user wants to add.

    Raises:
        UsageError: If one can't be set, or is for elaunch to set or to keep.
    """
    table = {variable.name for variable in TABLE}
    others = BY_BOOTSTRAP.keys() | BY_SPAWNER.keys() | BY_AGENT.keys()
    ours = (table | others) - ALLOWED
    for name, value in env.items():
        if not name or "=" in name or "\0" in name + value:
            raise UsageError(f"env: no variable can have the name or value of {name!r}")
        if name in WITHHELD:
            raise UsageError(f"env: workers don't get {name!r}: {WITHHELD[name]}")
        if name in ours:
            raise UsageError(
                f"env: {name!r} is for elaunch to set, to each worker's own value; "
                f"choose another name"
            )


def inherited_environment(agent: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker gets of its agent's environment; for spawners.

    An agent that is a worker itself does not hand on where the workers around it meet:
    its own bootstrap may say nothing of that, and strangers would join them. Nor does
    it hand on where it is heard itself.
    """
    is_worker = "TORCHELASTIC_RUN_ID" in agent
    kept = WITHHELD.keys() | BY_AGENT.keys()
    kept |= BY_BOOTSTRAP.keys() if is_worker else set()
    return {name: value for name, value in agent.items() if name not in kept}


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


def worker_environment(
    context: WorkerContext, names: Mapping[str, str]
) -> dict[str, str]:
    """Return the variables of one worker, all but the bootstrap's and spawner's.

    Args:
        context: What they are made of.
        names: Value of each name that a template can use.

    Raises:
        UsageError: If the worker is to see one device and there is none for it.
    """
    settings = context.settings
    table = {variable.name: str(variable.value(context)) for variable in TABLE}
    asked = {name: render(value, names) for name, value in settings.env.items()}
    given = {**context.inherited, **asked}
    return {**table, **asked, **settings.devices(given, context.ranks.local_rank)}
