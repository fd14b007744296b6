"""What schedulers say of the job, and what of it is used."""

import logging
import socket
from collections.abc import Collection, Iterator, Mapping

import attrs

from elaunch.config import LaunchConfig
from elaunch.errors import UsageError
from elaunch.plugins import Plugins, Registered
from elaunch.scheduler import (
    Detected,
    Scheduler,
    SchedulerParameters,
    SchedulerProvider,
    Suggestion,
)
from elaunch.slots import Slot, explicit_slot, scheduled_slot


logger = logging.getLogger(__name__)

INSIDE = ("ELAUNCH_RUN_ID", "TORCHELASTIC_RUN_ID")
"""Variables of a worker: what it launches is its own, though it inherits the rest."""

OWN = ("mpi", "slurm", "pbs", "kubernetes")
"""The core's own schedulers, in the order in which they are asked."""

_SIZE, _ALONE = "nnodes", "standalone"
_SHARED = ("node_rank", "rdzv_endpoint", "rdzv_id")
"""What only nodes that meet have a use for."""

_HOSTED = ("c10d", "static")
"""Rendezvous backends whose endpoint is a node of the job."""

_MASTER = ("master_addr", "master_port")


def detect(plugins: Plugins, environment: Mapping[str, str]) -> Detected | None:
    """Return what the first scheduler that knows this process says of it.

    Plugins are asked before the core: they know the site. One that raises is told of,
    and the next is asked. A worker of a job is nobody's task: `None`.

    Args:
        plugins: Who declares schedulers.
        environment: Environment of the agent.
    """
    if any(name in environment for name in INSIDE):
        return None
    for entry in _marked(plugins, environment):
        try:
            params = SchedulerParameters(host=socket.gethostname())
            scheduler = entry.provider.create(params, entry.provider.options_class()())
            found = scheduler.detect(environment)
        except Exception as error:  # noqa: BLE001 - a run may well work without it
            logger.warning(
                "scheduler %r of plugin %r failed: %s: %s; nothing is filled in by it",
                entry.provider.name,
                entry.plugin.name,
                type(error).__name__,
                error,
            )
            continue
        if found:
            return found
    return None


def slot_of_node(
    plugins: Plugins, config: LaunchConfig, environment: Mapping[str, str]
) -> Slot | None:
    """Return the group rank that somebody gave this node, or `None` if nobody did.

    Args:
        plugins: Who declares schedulers.
        config: The configuration, which counts first.
        environment: Environment of the agent.

    Raises:
        UsageError: If a variable of elaunch or torchrun is no rank of this job.
    """
    slot = explicit_slot(environment, config.node_rank, config.max_nodes)
    if slot is None and config.max_nodes > 1:
        slot = scheduled_slot(detect(plugins, environment), config.max_nodes)
    return slot


def _marked(
    plugins: Plugins, environment: Mapping[str, str]
) -> Iterator[Registered[SchedulerParameters, Scheduler]]:
    registered = plugins.schedulers.registered
    names = [name for name in registered if name not in OWN]
    for name in (*names, *OWN):
        for entry in registered.get(name, ()):
            provider = entry.provider
            marked = isinstance(provider, SchedulerProvider) and any(
                marker in environment for marker in provider.markers
            )
            if marked:
                yield entry


def fill(detected: Detected, given: Mapping[str, str]) -> Detected:
    """Return what of a detection fits to what the user gave, which wins. Pure.

    Args:
        detected: What the scheduler says.
        given: What the user gave by a flag, the environment or a file, by its name in
            ``elaunch run``, as text.

    Raises:
        UsageError: If this can't be one agent of a job, and the user does not say how
            many there are.
    """
    if detected.problem and not {_SIZE, _ALONE} & given.keys():
        raise UsageError(detected.problem)
    if detected.problem or _ALONE in given:
        return Detected(scheduler=detected.scheduler)
    values = {k: v for k, v in detected.values.items() if k not in given}
    for name in _unfit(given, values):
        values.pop(name, None)
    notes = () if _SIZE in given else detected.notes
    return attrs.evolve(detected, values=values, notes=notes)


def _unfit(
    given: Mapping[str, str], values: Mapping[str, Suggestion]
) -> Collection[str]:
    size = given.get(_SIZE) or (values[_SIZE].value if _SIZE in values else "1")
    most = size.rpartition(":")[2].strip()
    nodes = int(most) if most.isdecimal() else 1
    if nodes <= 1:
        return _SHARED
    unfit = set()
    rank = values.get("node_rank")
    # A node beyond those that the user asked for takes the rank that is left, if any.
    if rank and not (rank.value.isdecimal() and int(rank.value) < nodes):
        unfit.add("node_rank")
    elsewhere = given.get("rdzv_backend", _HOSTED[0]) not in _HOSTED
    if elsewhere or any(name in given for name in _MASTER):
        unfit.add("rdzv_endpoint")
    return unfit
