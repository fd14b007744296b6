"""``elaunch plugins``: what is installed, what failed, what could be had."""

import json
import platform
import traceback
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import attrs

import elaunch
from elaunch.blocking import registry
from elaunch.plugins import Plugins, Status, load_plugins
from elaunch.plugins.known import KNOWN
from elaunch.plugins.loader import FAULTS, Plugin, told
from elaunch.provider import Provider


@attrs.frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        kind: Kind of backend; empty for a plugin that provides none.
        name: Name of the backend, likewise.
        plugin: Entry-point name; empty if not installed.
        distribution: Where it comes from.
        version: Version of that; empty if not installed.
        status: ``ok``, ``failed``, ``blocked``, ``duplicate``, ``hidden`` or
            ``missing``.
        reason: Why it is not ok, or what it does.
        milliseconds: How long the plugin took to load.
    """

    kind: str = ""
    name: str = ""
    plugin: str = ""
    distribution: str
    version: str = ""
    status: str
    reason: str
    milliseconds: float = 0.0


def rows(plugins: Plugins) -> Iterator[Row]:
    """Yield a row for each backend, each plugin without one, and each known one."""
    installed = [
        (kind, provider, plugin)
        for plugin in plugins.loaded
        for kind, providers in plugin.providers.items()
        for provider in providers
    ]
    names = [(kind, provider.name) for kind, provider, _ in installed]
    for kind, provider, plugin in sorted(
        installed, key=lambda entry: (entry[0], entry[1].name)
    ):
        twice = names.count((kind, provider.name)) > 1
        fault = _fault_of_options(provider)
        status = Status.FAILED if fault else plugin.status
        yield Row(
            kind=kind,
            name=provider.name,
            plugin=plugin.name,
            distribution=plugin.distribution,
            version=plugin.version,
            status="duplicate" if twice else status.value,
            reason=f"options {provider.options}: {told(fault)}"
            if fault
            else provider.summary,
            milliseconds=round(plugin.seconds * 1000, 1),
        )
    for plugin in plugins.loaded:
        if plugin.status is not Status.OK or not plugin.providers:
            yield Row(
                plugin=plugin.name,
                distribution=plugin.distribution,
                version=plugin.version,
                status=plugin.status.value,
                reason=plugin.reason or "provides nothing",
                milliseconds=round(plugin.seconds * 1000, 1),
            )
    yield from _torchelastics({name for kind, name in names if kind == "rendezvous"})
    present = {plugin.distribution for plugin in plugins.loaded}
    for (kind, name), distribution in sorted(KNOWN.items()):
        if distribution not in present:
            yield Row(
                kind=kind,
                name=name,
                distribution=distribution,
                status="missing",
                reason=f"to get it: pip install {distribution}",
            )


def _fault_of_options(provider: Provider[Any, Any]) -> BaseException | None:
    """Return what keeps a backend from having options, if they are at another place."""
    try:
        provider.options_class()
    except FAULTS as error:
        return error
    return None


def _torchelastics(ours: Collection[str]) -> Iterator[Row]:
    """Yield a row for each rendezvous plugin of torchelastic; none is loaded."""
    for name, point in sorted(registry.points().items()):
        hidden = name in ours
        yield Row(
            kind="rendezvous",
            name=name,
            plugin=name,
            distribution=point.dist.name if point.dist else "unknown distribution",
            version=point.dist.version if point.dist else "?",
            status="hidden" if hidden else "ok",
            reason=f"a plugin for torchelastic (entry point of {registry.GROUP!r})"
            + ("; elaunch's own of this name is used" if hidden else ""),
        )


def show(*, as_json: bool, tracebacks: bool, block: Collection[str]) -> int:
    """Print the table and return the exit status."""
    plugins = load_plugins(block)
    table = list(rows(plugins))
    if as_json:
        print(json.dumps([attrs.asdict(row) for row in table], indent=2))
        return 0
    home = Path(elaunch.__file__).parent
    print(
        f"elaunch {elaunch.__version__} at {home}   "
        f"python {platform.python_version()}   entry-point group 'elaunch'\n"
    )
    head = ("KIND", "NAME", "PROVIDED BY", "STATUS", "LOADED IN", "")
    lines = [head, *(_cells(row) for row in table)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head) - 1)]
    for line in lines:
        cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        print("  ".join([*cells, line[-1]]).rstrip())
    if tracebacks:
        for plugin in plugins.loaded:
            for error in _errors(plugin):
                print(f"\nplugin {plugin.name!r} of {plugin.origin}:")
                print("".join(traceback.format_exception(error)).rstrip())
    return 0


def _errors(plugin: Plugin) -> Iterator[BaseException]:
    if plugin.error:
        yield plugin.error
    for providers in plugin.providers.values():
        yield from filter(None, map(_fault_of_options, providers))


def _cells(row: Row) -> tuple[str, ...]:
    loaded = f"{row.milliseconds:.1f} ms" if row.plugin else "-"
    return (
        row.kind or "-",
        row.name or "-",
        f"{row.distribution} {row.version}".rstrip(),
        row.status,
        loaded,
        row.reason,
    )
