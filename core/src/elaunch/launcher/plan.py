"""The plan of a run: all that is known before anything starts.

Everything is resolved and checked as a run does it, but what must be started for that.
"""

import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from elaunch.agent.placement import Placement
from elaunch.config import LaunchConfig
from elaunch.endpoint.token import needed_token
from elaunch.environ import BY_AGENT, BY_SPAWNER, OF_BOOTSTRAP
from elaunch.errors import UsageError
from elaunch.events import discard
from elaunch.launcher.detection import slot_of_node
from elaunch.launcher.outcomes import Outcome, outcomes
from elaunch.launcher.ports import Ports
from elaunch.launcher.settled import settled
from elaunch.log_layout import run_name
from elaunch.options import parse_spec
from elaunch.output import Route
from elaunch.plugins import Catalogue, load_plugins
from elaunch.rendezvous import Membership, NodeFacts
from elaunch.slots import Slot
from elaunch.workers import FunctionEntry, ScriptEntry, WorkerEntry, WorkerSpec


UNKNOWN_ID = "<random>"
HIDDEN = "<hidden>"
"""In place of a value that may be a secret."""

_SWITCHES = ("PYTHONFAULTHANDLER", "PYTHONUNBUFFERED")
"""Variables that are 1 unless the user set them."""


@attrs.frozen(kw_only=True)
class Backend:
    """A backend that would be used.

    Attributes:
        kind: Its kind.
        name: Its name.
        options: Options that the user gave it.
        distribution: Where it is from.
        version: Version of that.
    """

    kind: str
    name: str
    options: Mapping[str, str]
    distribution: str
    version: str


@attrs.frozen(kw_only=True)
class Ranks:
    """Who is which rank.

    Attributes:
        nodes: Fewest and most nodes.
        workers: Fewest and most workers, if each node has as many as this one.
        node: Number of this node, `None` if its order of joining decides.
        source: Who says so; empty if nobody does.
        first: Global rank of this node's first worker, at least and at most.
    """

    nodes: tuple[int, int]
    workers: tuple[int, int]
    node: int | None
    source: str
    first: tuple[int, int]


@attrs.frozen(kw_only=True)
class WorkerPlan:
    """One worker of this node.

    Attributes:
        local_rank: Its rank on this node.
        argv: Its command; what is not known yet stays a template, such as ``{rank}``.
        environment: What it gets beside what it inherits. Of a value that is not known
            yet there is the range, or what it is in angle brackets.
        stdout: Where its stdout goes: ``console``, ``file``, both or neither.
        stderr: Likewise.
    """

    local_rank: int
    argv: Sequence[str]
    environment: Mapping[str, str]
    stdout: Sequence[str]
    stderr: Sequence[str]


@attrs.frozen(kw_only=True)
class Plan:
    """What would run.

    Attributes:
        run_id: Id of the job.
        endpoint: Where its nodes meet.
        backends: Each backend that would be used.
        ranks: Who is which rank.
        workers: The workers of this node.
        logs: Directory of output files; empty if there are none.
        failure_report: Where the report of a failed job goes.
        outcomes: What happens when something does.
    """

    run_id: str
    endpoint: str
    backends: Sequence[Backend]
    ranks: Ranks
    workers: Sequence[WorkerPlan]
    logs: str
    failure_report: str
    outcomes: Sequence[Outcome]


def plan(config: LaunchConfig, entry: WorkerEntry) -> Plan:
    """Return the plan of a run, and start nothing.

    Args:
        config: How it would be launched.
        entry: What the workers would run.

    Raises:
        ElaunchError: What a run would raise before it starts anything.
    """
    plugins = load_plugins(config.block_plugins)
    given = config
    config = settled(config.evolve(run_id=config.run_id or UNKNOWN_ID))
    config.environment_settings.check_devices(os.environ, config.nproc_per_node)
    slot = slot_of_node(plugins, config, os.environ)
    ports = Ports(config, plugins)
    node = NodeFacts(
        host=socket.gethostname(),
        address=config.local_addr or socket.gethostname(),
        local_world_size=config.nproc_per_node,
        role=config.role,
        slot=slot.rank if slot else None,
    )
    used = list(_backends(ports))
    ports.handler(node, discard)
    ports.preflights(discard)
    if config.control not in ("unix", "none"):
        needed_token(config.control, os.environ)
    low, high = _memberships(config, slot)
    workers = _workers(ports, node, entry, low, high)
    rendezvous = plugins.rendezvous
    options = rendezvous.options(config.rdzv_backend, config.rendezvous_options)
    logs = ""
    if any("file" in (*worker.stdout, *worker.stderr) for worker in workers):
        logs = config.log_dir or "<a new temporary directory>"
        logs = f"{logs}/{run_name(config.run_id, config.rdzv_endpoint)}"
    kept = given.failure_file or config.log_dir not in ("", os.devnull)
    return Plan(
        run_id=config.run_id,
        endpoint=config.rdzv_endpoint if given.rdzv_endpoint else "",
        backends=used,
        ranks=Ranks(
            nodes=(config.min_nodes, config.max_nodes),
            workers=(low.world_size, high.world_size),
            node=slot.rank if slot else None,
            source=slot.source if slot else "",
            first=(low.base_rank, high.base_rank),
        ),
        workers=workers,
        logs=logs,
        failure_report=config.failure_file if kept else "<a new temporary directory>",
        outcomes=outcomes(config, options),
    )


def _backends(ports: Ports) -> Iterator[Backend]:
    """Yield each backend, checked but not built: some open files for that."""
    config, plugins = ports.config, ports.plugins
    rendezvous = {k: str(v) for k, v in config.rendezvous_options.items()}
    yield _backend(plugins.rendezvous, config.rdzv_backend, rendezvous)
    yield _backend(plugins.bootstraps, *ports.bootstrap_spec)
    policy = parse_spec(config.restart_policy, "--restart-policy")
    yield _backend(plugins.policies, *policy)
    yield _backend(plugins.spawners, *parse_spec(config.spawner, "--spawner"))
    if layout := ports.layout_spec:
        yield _backend(plugins.log_layouts, *layout)
    for spec in ports.monitor_specs:
        yield _backend(plugins.monitors, *parse_spec(spec, "--monitor"))
    for spec in config.preflights:
        yield _backend(plugins.preflights, *parse_spec(spec, "--preflight"))
    for spec in config.all_event_recorders:
        yield _backend(plugins.recorders, *parse_spec(spec, "--event-recorder"))
    if metrics := config.metrics_cfg.get("handler"):
        yield _backend(plugins.metric_handlers, *parse_spec(metrics, "--metrics"))


def _backend(
    catalogue: Catalogue[Any, Any], name: str, given: Mapping[str, str]
) -> Backend:
    found = catalogue.find(name)
    catalogue.options(name, given)
    return Backend(
        kind=catalogue.kind,
        name=name,
        options={k: HIDDEN if _is_secret(k) else v for k, v in given.items()},
        distribution=found.plugin.distribution,
        version=found.plugin.version,
    )


def without_secrets(text: str) -> str:
    """Return the text of a setting without the values of options that are secrets."""
    return re.sub(
        r"(\w+)=[^,]*",
        lambda found: f"{found[1]}={HIDDEN}" if _is_secret(found[1]) else found[0],
        text,
    )


def _is_secret(option: str) -> bool:
    words = option.lower().split("_")
    return words[-1] != "file" and bool({"token", "password", "secret"} & set(words))


def _memberships(
    config: LaunchConfig, slot: Slot | None
) -> tuple[Membership, Membership]:
    """Return the least and the most that this node's place can be at the beginning."""
    workers = config.nproc_per_node
    fixed = slot.rank if slot else None
    ends = []
    for size, otherwise in (
        (config.min_nodes, 0),
        (config.max_nodes, config.max_nodes - 1),
    ):
        rank = otherwise if fixed is None else min(fixed, size - 1)
        ends.append(
            Membership(
                generation=1,
                group_rank=rank,
                group_size=size,
                base_rank=rank * workers,
                world_size=size * workers,
                base_role_rank=rank * workers,
                role_world_size=size * workers,
                restart_count=0,
                reason="<why it was formed>",
            )
        )
    return ends[0], ends[1]


def _workers(
    ports: Ports,
    node: NodeFacts,
    entry: WorkerEntry,
    low: Membership,
    high: Membership,
) -> list[WorkerPlan]:
    if isinstance(entry, FunctionEntry):
        raise UsageError("a function has no command line; there is no plan of it")
    config = ports.config
    placement = Placement(
        run_id=config.run_id,
        node=node,
        max_restarts=config.max_restarts,
        environment=config.environment_settings,
    )
    specs = [placement.specs(membership, {}) for membership in (low, high)]
    # What a plugin's own bootstrap adds is known when it is open.
    by_bootstrap = OF_BOOTSTRAP.get(ports.bootstrap_spec[0], {})
    found = []
    for least, most in zip(*specs, strict=True):
        names = {k: v for k, v in least.names.items() if most.names[k] == v}
        run = entry.rendered(names)
        routes = config.output_settings.routes(least.ranks)
        found.append(
            WorkerPlan(
                local_rank=least.ranks.local_rank,
                argv=run.command() if isinstance(run, ScriptEntry) else run.argv,
                environment=_environment(config, least, most)
                | {name: _later(what) for name, what in by_bootstrap.items()}
                | {name: _later(what) for name, what in BY_AGENT.items()}
                | _of_spawner(config),
                stdout=_places(routes.stdout),
                stderr=_places(routes.stderr),
            )
        )
    return found


def _environment(
    config: LaunchConfig, least: WorkerSpec, most: WorkerSpec
) -> dict[str, str]:
    values = {}
    for name, value in least.environment.items():
        other = most.environment[name]
        values[name] = value if value == other else f"<{value} to {other}>"
    return values | dict.fromkeys(config.env, HIDDEN)


def _of_spawner(config: LaunchConfig) -> dict[str, str]:
    given = {**os.environ, **config.env}
    switches = {name: "1" for name in _SWITCHES if name not in given}
    others = BY_SPAWNER.keys() - set(_SWITCHES)
    files = {n: _later(what) for n, what in BY_SPAWNER.items() if n in others}
    return files | switches


def _later(what: str) -> str:
    return f"<{what.partition(' (')[0]}>"


def _places(route: Route) -> tuple[str, ...]:
    places = (("console", route.console or route.terminal), ("file", route.file))
    return tuple(place for place, wanted in places if wanted)


__all__ = ["Backend", "Outcome", "Plan", "Ranks", "WorkerPlan", "plan"]
