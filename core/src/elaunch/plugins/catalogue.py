"""A catalogue: the backends of one kind by name, and errors that help."""

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import attrs

from elaunch.errors import (
    DuplicateBackend,
    ElaunchError,
    PluginFailed,
    UnknownBackend,
)
from elaunch.options import build_options, parse_spec
from elaunch.plugins.known import KNOWN
from elaunch.plugins.loader import FAULTS, Plugin, Status, told
from elaunch.provider import Provider


ParamsT = TypeVar("ParamsT")
PortT = TypeVar("PortT")


@attrs.frozen
class Registered(Generic[ParamsT, PortT]):
    """A provider and the plugin it came from."""

    provider: Provider[ParamsT, PortT]
    plugin: Plugin


@attrs.frozen
class Catalogue(Generic[ParamsT, PortT]):
    """The backends of one kind.

    Attributes:
        kind: The kind, as users read it.
        registered: Who registered each name; more than one is a conflict that counts
            only if the name is asked for.
        plugins: All plugins, also those that failed: they explain what is missing.
    """

    kind: str
    registered: Mapping[str, Sequence[Registered[ParamsT, PortT]]]
    plugins: Sequence[Plugin]

    def __contains__(self, name: str) -> bool:
        return name in self.registered

    def find(self, name: str) -> Registered[ParamsT, PortT]:
        """Return the backend of this name.

        Raises:
            UnknownBackend: If there is none; tells how to get it.
            DuplicateBackend: If two plugins provide it.
            PluginFailed: If the plugin known to provide it failed to load.
        """
        found = self.registered.get(name, ())
        if not found:
            raise self._missing(name)
        if len(found) > 1:
            names = [entry.plugin.name for entry in found]
            last = found[-1].plugin
            raise DuplicateBackend(
                self.kind,
                name,
                [f"{e.plugin.name!r} ({e.plugin.origin})" for e in found],
                last.name if len(set(names)) > 1 else last.distribution,
            )
        return found[0]

    def create(self, name: str, params: ParamsT, given: Mapping[str, Any]) -> PortT:
        """Build the backend of this name.

        Args:
            name: Name of the backend.
            params: Parameters of the kind.
            given: Options as the user gave them.

        Raises:
            UsageError: If an option is unknown or wrong.
            PluginFailed: If building it, or its options, raised something foreign,
                which is the cause.
            PluginError: As for `find`.
        """
        entry = self.find(name)
        options = self.options(name, given)
        try:
            return entry.provider.create(params, options)
        except ElaunchError:
            raise
        except FAULTS as error:
            why = f"could not build {self.kind} {name!r}: {told(error)}"
            raise self.failed(name, why) from error

    def options(self, name: str, given: Mapping[str, Any]) -> attrs.AttrsInstance:
        """Build the options of the backend of this name.

        Raises:
            UsageError: If an option is unknown or wrong.
            PluginFailed: If their class can't be had, or raises something foreign.
            PluginError: As for `find`.
        """
        entry = self.find(name)
        try:
            cls = entry.provider.options_class()
            return build_options(cls, given, f"{self.kind} {name!r}")
        except ElaunchError:
            raise
        except FAULTS as error:
            place = entry.provider.options
            which = f" ({place})" if isinstance(place, str) else ""
            why = f"could not build options of {self.kind} {name!r}{which}"
            raise self.failed(name, f"{why}: {told(error)}") from error

    def failed(self, name: str, why: str) -> PluginFailed:
        """Return the error of a backend that its plugin can't build.

        Args:
            name: Name of the backend.
            why: What went wrong.
        """
        plugin = self.find(name).plugin
        return PluginFailed(plugin.name, plugin.origin, why, "-v shows the traceback")

    def build(self, spec: str, flag: str, params: ParamsT) -> PortT:
        """Build the backend that a user named as ``NAME[:key=value,...]``.

        Args:
            spec: What the user wrote.
            flag: The flag it was written for, for messages.
            params: Parameters of the kind.

        Raises:
            UsageError: Also if ``spec`` is malformed.
            PluginError: As for `create`.
        """
        name, given = parse_spec(spec, flag)
        return self.create(name, params, given)

    def _missing(self, name: str) -> ElaunchError:
        known = {n: dist for (kind, n), dist in KNOWN.items() if kind == self.kind}
        failed = [p for p in self.plugins if p.status is Status.FAILED]
        for plugin in failed:
            if plugin.distribution == known.get(name):
                error = PluginFailed(plugin.name, plugin.origin, plugin.reason)
                error.__cause__ = plugin.error
                return error
        return UnknownBackend(
            kind=self.kind,
            name=name,
            installed=sorted(self.registered),
            known=known,
            blocked=[p.name for p in self.plugins if p.status is Status.BLOCKED],
            failed=[f"{p.name!r} of {p.origin}: {p.reason}" for p in failed],
        )
