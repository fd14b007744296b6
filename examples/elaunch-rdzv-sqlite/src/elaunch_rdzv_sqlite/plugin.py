"""What this plugin provides. Imports nothing heavy."""

from collections.abc import Iterable

import attrs

from elaunch.api import (
    Provider,
    RendezvousOptions,
    RendezvousParameters,
    RendezvousProvider,
    Store,
    StoreRendezvous,
    UsageError,
)
from elaunch.hookspecs import hookimpl


@attrs.frozen(kw_only=True)
class SqliteOptions(RendezvousOptions):
    """Options of the backend, beside those that every rendezvous has.

    Attributes:
        poll_interval: Seconds between two looks at the file.
    """

    poll_interval: float = 0.05

    @property
    def sees_connections(self) -> bool:
        """Nobody is connected to a file."""
        return False


def create(params: RendezvousParameters, options: SqliteOptions) -> StoreRendezvous:
    """Build the handler; the file is opened when the node joins."""
    if not params.endpoint.endswith(".db"):
        raise UsageError(
            f"backend 'sqlite' meets in a file, for example "
            f"--rdzv-endpoint /tmp/job.db, not {params.endpoint!r}"
        )

    async def open_store() -> Store:
        from elaunch_rdzv_sqlite.store import SqliteStore

        return SqliteStore(params.endpoint, poll_interval=options.poll_interval)

    return StoreRendezvous(open_store, params, options)


@hookimpl
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare ``sqlite``."""
    return [Provider("sqlite", "an SQLite file on this host", create, SqliteOptions)]
