"""What the members of a group do together over a store."""

from elaunch.blocking.collectives import (
    barrier,
    get_all,
    store_timeout,
    synchronize,
)


__all__ = ["barrier", "get_all", "store_timeout", "synchronize"]
