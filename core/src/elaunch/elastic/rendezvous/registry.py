"""From a name to a rendezvous handler that blocks."""

from typing import Any

from elaunch.blocking.registry import known, rendezvous_handler_registry
from elaunch.elastic.rendezvous import RendezvousParameters
from elaunch.elastic.rendezvous.own import OwnRendezvous
from elaunch.plugins import load_plugins


__all__ = ["get_rendezvous_handler", "rendezvous_handler_registry"]


def get_rendezvous_handler(params: RendezvousParameters) -> Any:
    """Return the handler of a backend; may block.

    Args:
        params: Its name, and what it is built with. One of elaunch's own can be given
            to a `WorkerSpec`, and does nothing else.

    Raises:
        UnknownBackend: If there is none of this name.
        PluginError: If it can't be used.
    """
    own = load_plugins().rendezvous
    if not known(params.backend) and params.backend in own:
        return OwnRendezvous(params)
    return rendezvous_handler_registry.create_handler(params)
