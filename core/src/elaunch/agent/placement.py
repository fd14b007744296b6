"""From a node's place in a generation to what each of its workers is started with."""

import logging
import os
from collections.abc import Mapping

import attrs

from elaunch.environ import (
    THREADS,
    EnvironmentSettings,
    WorkerContext,
    names_of,
    threads_of,
    worker_environment,
)
from elaunch.output import line_prefix
from elaunch.rendezvous import Membership, NodeFacts
from elaunch.templates import render
from elaunch.workers import WorkerRanks, WorkerSpec


logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Placement:
    """Places the workers of one node.

    Attributes:
        run_id: Id of the job.
        node: What the node says of itself.
        max_restarts: Restart budget of the job.
        environment: What the user wants of the workers' environment.
        line_prefix: Template of what each line of output begins with on the console;
            `None` for the usual one.
    """

    run_id: str
    node: NodeFacts
    max_restarts: int
    environment: EnvironmentSettings = attrs.field(factory=EnvironmentSettings)
    line_prefix: str | None = None

    def ranks(self, membership: Membership) -> range:
        """Return the global ranks of this node's workers."""
        base = membership.base_rank
        return range(base, base + self.node.local_world_size)

    def specs(
        self, membership: Membership, meeting: Mapping[str, str]
    ) -> list[WorkerSpec]:
        """Return each worker to start.

        Args:
            membership: The node's place.
            meeting: The bootstrap's variables; their values are templates.
        """
        inherited = dict(os.environ)
        cores = _cores()
        specs = []
        for local_rank, rank in enumerate(self.ranks(membership)):
            ranks = WorkerRanks(
                local_rank=local_rank,
                rank=rank,
                role_rank=membership.base_role_rank + local_rank,
            )
            context = WorkerContext(
                membership=membership,
                ranks=ranks,
                local_world_size=self.node.local_world_size,
                role=self.node.role,
                run_id=self.run_id,
                max_restarts=self.max_restarts,
                cores=cores,
                inherited=inherited,
                settings=self.environment,
            )
            names = names_of(context, self.node.host)
            found = {name: render(value, names) for name, value in meeting.items()}
            threads = threads_of(context)
            if local_rank == 0:
                logger.info("%s is %s: %s", THREADS, threads.count, threads.source)
            specs.append(
                WorkerSpec(
                    ranks=ranks,
                    environment={**worker_environment(context, names), **found},
                    role=self.node.role,
                    label=line_prefix(
                        self.line_prefix, names, alone=membership.world_size == 1
                    ),
                    names=names,
                    guessed=frozenset({THREADS} if threads.guessed else ()),
                )
            )
        return specs


def _cores() -> int:
    """Return the cores this process may use where the system tells, else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
