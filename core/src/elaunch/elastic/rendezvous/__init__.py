"""How nodes meet, as torchelastic's plugins know it.

elaunch's own backends have an interface that does not block:
`elaunch.get_rdzv_handler` builds them.
"""

from elaunch.blocking.handler import (
    RendezvousHandler,
    RendezvousInfo,
    RendezvousStoreInfo,
)
from elaunch.blocking.parameters import RendezvousParameters
from elaunch.blocking.registry import (
    RendezvousHandlerCreator,
    RendezvousHandlerRegistry,
    rendezvous_handler_registry,
)
from elaunch.errors import RendezvousClosed as RendezvousClosedError
from elaunch.errors import RendezvousCorrupt as RendezvousStateError
from elaunch.errors import RendezvousError
from elaunch.errors import RendezvousGracefulExit as RendezvousGracefulExitError
from elaunch.errors import RendezvousTimeout as RendezvousTimeoutError
from elaunch.errors import RendezvousUnreachable as RendezvousConnectionError


__all__ = [
    "RendezvousClosedError",
    "RendezvousConnectionError",
    "RendezvousError",
    "RendezvousGracefulExitError",
    "RendezvousHandler",
    "RendezvousHandlerCreator",
    "RendezvousHandlerRegistry",
    "RendezvousInfo",
    "RendezvousParameters",
    "RendezvousStateError",
    "RendezvousStoreInfo",
    "RendezvousTimeoutError",
    "rendezvous_handler_registry",
]
