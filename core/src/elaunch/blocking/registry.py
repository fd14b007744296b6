"""Where rendezvous backends with torchelastic's interface come from.

A program registers a creator, or a distribution has an entry point in the group
``torchrun.handlers``: a function without arguments that returns the creator.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from elaunch.blocking.adapter import BlockingRendezvous
from elaunch.blocking.parameters import RendezvousParameters
from elaunch.errors import PluginError, PluginFailed, UnknownBackend, UsageError
from elaunch.rendezvous import RendezvousParameters as OurParameters


GROUP = "torchrun.handlers"

DEFAULT_TIMEOUT = 900
"""The option ``timeout`` that torchelastic gives to all backends if nobody says."""

RendezvousHandlerCreator = Callable[[RendezvousParameters], Any]
"""Builds a handler; what it returns has the methods of `RendezvousHandler`."""


@attrs.define(eq=False)
class RendezvousHandlerRegistry:
    """Creators by the names of their backends."""

    _creators: dict[str, RendezvousHandlerCreator] = attrs.field(
        factory=dict, init=False
    )

    def register(self, backend: str, creator: RendezvousHandlerCreator) -> None:
        """Make a creator known; the same one twice is fine.

        Raises:
            UsageError: If there is no name, or it is another creator's.
        """
        if not backend:
            raise UsageError("a rendezvous backend has a name, not ''")
        if self._creators.setdefault(backend, creator) is not creator:
            raise UsageError(
                f"rendezvous backend {backend!r} is registered already, with "
                f"{self._creators[backend]!r}"
            )

    def __contains__(self, backend: str) -> bool:
        return backend in self._creators

    def create_handler(self, params: RendezvousParameters) -> Any:
        """Build the handler of the backend that the parameters name; may block.

        Raises:
            UnknownBackend: If there is none of this name.
            PluginError: If it calls itself otherwise.
        """
        if params.backend not in self._creators:
            raise UnknownBackend("rendezvous", params.backend, list(self._creators))
        handler = self._creators[params.backend](params)
        named = handler.get_backend()
        if named != params.backend:
            raise PluginError(
                f"the handler of rendezvous backend {params.backend!r} calls itself "
                f"{named!r}"
            )
        return handler


rendezvous_handler_registry = RendezvousHandlerRegistry()
"""The registry of this process."""


def points() -> Mapping[str, importlib.metadata.EntryPoint]:
    """Return the entry points that are installed, by name."""
    return {point.name: point for point in importlib.metadata.entry_points(group=GROUP)}


def known(backend: str) -> bool:
    """Register the backend of this name if it is installed; return whether it is there.

    Raises:
        PluginFailed: If its plugin can't be loaded.
    """
    if backend in rendezvous_handler_registry:
        return True
    point = points().get(backend)
    if point is None:
        return False
    try:
        creator = point.load()()
    except Exception as error:
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "?"
        raise PluginFailed(
            backend, origin, f"{type(error).__name__}: {error}"
        ) from error
    rendezvous_handler_registry.register(backend, creator)
    return True


def adapted(params: OurParameters) -> BlockingRendezvous:
    """Return the backend that `known` has found, as the port that an agent uses."""
    theirs = RendezvousParameters(
        params.backend,
        params.endpoint,
        params.run_id,
        params.min_nodes,
        params.max_nodes,
        params.local_addr,
        **{"timeout": DEFAULT_TIMEOUT, **params.config},
    )
    return BlockingRendezvous(
        lambda: rendezvous_handler_registry.create_handler(theirs), params
    )
