"""The loader: from entry points to what each plugin declares. A failure is data.

The only module that touches pluggy's hooks. Each plugin gets a plugin manager of its
own: what a hook returns then has one owner, one that raises stops nobody else, and two
entry points of one name are both seen.
"""

import enum
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs
import pluggy

from elaunch import hookspecs
from elaunch.errors import InvalidProvider
from elaunch.hookspecs import ENTRY_POINT_GROUP
from elaunch.plugins.points import Point, entry_points
from elaunch.provider import Provider
from elaunch.text import suggestion


logger = logging.getLogger(__name__)

HOOKS: Mapping[str, str] = {
    "elaunch_register_rendezvous": "rendezvous",
    "elaunch_register_spawners": "spawner",
    "elaunch_register_monitors": "monitor",
    "elaunch_register_event_recorders": "event recorder",
    "elaunch_register_bootstraps": "bootstrap",
    "elaunch_register_restart_policies": "restart policy",
    "elaunch_register_commands": "command",
    "elaunch_register_log_layouts": "log layout",
    "elaunch_register_metric_handlers": "metric handler",
    "elaunch_register_schedulers": "scheduler",
    "elaunch_register_preflights": "preflight",
}
"""The hook that declares each kind."""


FAULTS = (Exception, SystemExit)
"""What a plugin raises that can't be used; one that exits must not end the command."""


class Status(enum.StrEnum):
    """How loading a plugin went."""

    OK = "ok"
    FAILED = "failed"
    BLOCKED = "blocked"


@attrs.frozen(kw_only=True)
class Plugin:
    """One entry point and how loading it went.

    Attributes:
        name: Entry-point name.
        point: The entry point.
        status: How it went.
        reason: Type and text of what it raised, or who blocked it; empty if ok.
        error: What it raised.
        seconds: How long loading took.
        providers: What it declares, by kind.
    """

    name: str
    point: Point = attrs.field(repr=False)
    status: Status
    reason: str = ""
    error: BaseException | None = attrs.field(default=None, repr=False)
    seconds: float = 0.0
    providers: Mapping[str, tuple[Provider[Any, Any], ...]] = attrs.field(factory=dict)

    # Reading these parses a file: too slow for a start-up that needs neither.

    @property
    def distribution(self) -> str:
        """Name of the distribution it came from."""
        dist = self.point.dist
        return (dist and dist.name) or "unknown distribution"  # it may lack its facts

    @property
    def version(self) -> str:
        """Version of that distribution."""
        dist = self.point.dist
        return (dist and dist.version) or "?"

    @property
    def origin(self) -> str:
        """Distribution and version."""
        return f"{self.distribution} {self.version}"


def load(block: Collection[str]) -> tuple[Plugin, ...]:
    """Load every plugin that is installed and not blocked.

    Args:
        block: Names of plugins, or of their distributions, to leave alone.
    """
    found = entry_points(ENTRY_POINT_GROUP)
    points = sorted(found, key=lambda point: (point.name, point.value))
    loaded = tuple(_load_one(point, block) for point in points)
    _tell_unknown(block, loaded)
    return loaded


def _tell_unknown(block: Collection[str], loaded: Collection[Plugin]) -> None:
    """Tell of names that block nothing: a typing error would go unnoticed."""
    if not block:
        return
    names = {name for p in loaded for name in (p.name, p.distribution)}
    for name in sorted(set(block) - names):
        logger.warning(
            "no plugin or distribution to block is named %r%s",
            name,
            suggestion(name, names),
        )


def _load_one(point: Point, block: Collection[str]) -> Plugin:
    plugin = Plugin(name=point.name, point=point, status=Status.OK)
    if block and (point.name in block or plugin.distribution in block):
        return attrs.evolve(plugin, status=Status.BLOCKED, reason="blocked by the user")
    begin = time.perf_counter()
    try:
        providers = declared(point.name, point.load())
    except FAULTS as error:
        return attrs.evolve(
            plugin,
            status=Status.FAILED,
            reason=told(error),
            error=error,
            seconds=time.perf_counter() - begin,
        )
    return attrs.evolve(
        plugin, providers=providers, seconds=time.perf_counter() - begin
    )


def told(error: BaseException) -> str:
    """Return what a plugin raised, in one line of its type and text."""
    return f"{type(error).__name__}: {error}"


def declared(name: str, module: object) -> dict[str, tuple[Provider[Any, Any], ...]]:
    """Ask one plugin what it provides, by kind.

    Raises:
        InvalidProvider: If it declares something that is not a provider.
        pluggy.PluginValidationError: If it implements a hook that does not exist, or
            with arguments that it does not have.
    """
    manager = pluggy.PluginManager("elaunch")
    manager.add_hookspecs(hookspecs)
    manager.register(module, name)
    manager.check_pending()
    providers: dict[str, tuple[Provider[Any, Any], ...]] = {}
    for hook, kind in HOOKS.items():
        results: list[Iterable[object]] = getattr(manager.hook, hook)()
        for result in results:
            providers[kind] = tuple(_checked(name, hook, item) for item in result)
    return providers


def _checked(name: str, hook: str, item: object) -> Provider[Any, Any]:
    if not isinstance(item, Provider):
        raise InvalidProvider(
            name, f"{hook} must return Provider objects, not {type(item).__name__}"
        )
    return item
