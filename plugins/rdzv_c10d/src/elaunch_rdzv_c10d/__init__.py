"""Rendezvous `c10d`, bootstrap `c10d`, and a store client for workers without torch."""

TYPE_CHECKING = False  # importing `typing` would cost each worker more than the client
if TYPE_CHECKING:
    from elaunch_rdzv_c10d.channel import StoreError, StoreTimeout
    from elaunch_rdzv_c10d.client import QueueEmpty, Store


__all__ = ["QueueEmpty", "Store", "StoreError", "StoreTimeout"]


def __getattr__(name: str) -> object:
    """Import the client when it is asked for: an agent that starts does not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from elaunch_rdzv_c10d import client

    return getattr(client, name)
