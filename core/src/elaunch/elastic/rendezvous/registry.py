"""From a name to a rendezvous handler that blocks."""

from typing import Any

from elaunch.blocking.registry import known, rendezvous_handler_registry
from elaunch.elastic.rendezvous import RendezvousParameters
from elaunch.errors import UsageError
from elaunch.plugins import load_plugins


__all__ = ["get_rendezvous_handler", "rendezvous_handler_registry"]


def get_rendezvous_handler(params: RendezvousParameters) -> Any:
    """Return the handler of a backend that blocks; may block.

    Args:
        params: Its name, and what it is built with.

    Raises:
        UsageError: If it is one of elaunch's own, which do not block.
        UnknownBackend: If there is none of this name.
        PluginError: If it can't be used.
    """
    own = load_plugins().rendezvous
    if not known(params.backend) and params.backend in own:
        raise UsageError(
            f"rendezvous backend {params.backend!r} is elaunch's own and does not "
            f"block; use elaunch.get_rdzv_handler, or name it in a LaunchConfig"
        )
    return rendezvous_handler_registry.create_handler(params)
