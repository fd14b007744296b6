"""Opens the store: waits for a server, and tells meanwhile what it waits for."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs

from elaunch.api import EventName, Record, RendezvousUnreachable, Store
from elaunch_rdzv_etcd.link import Link
from elaunch_rdzv_etcd.ring import Ring
from elaunch_rdzv_etcd.trouble import Refused, Unavailable


_REMINDER = 10.0  # seconds between two events that tell of the same wait


class EtcdStore(Store, Protocol):
    """A store in etcd, whatever API it speaks."""

    @property
    def link(self) -> Link[Any]:
        """How requests get to the cluster."""

    async def probe(self, limit: float) -> None:
        """Ask etcd for something, once, to learn whether it is there.

        Raises:
            Unavailable: If there was no answer by the time of the limit; `NoSuchApi` if
                the server does not offer the API.
            Refused: If it refuses.
        """


@attrs.frozen
class Api:
    """One of the APIs that etcd may offer.

    Attributes:
        name: Its name for users.
        store: Makes a store that speaks it.
    """

    name: str
    store: Callable[[], EtcdStore]


async def open_store(
    endpoints: str, apis: Sequence[Api], connect_timeout: float, record: Record
) -> Store:
    """Return a store that speaks the first API that etcd offers, as soon as it answers.

    Args:
        endpoints: Where it is, for messages.
        apis: The APIs, the best first, at least one.
        connect_timeout: Seconds to wait for a server.
        record: Records which API was taken, and what is waited for.

    Raises:
        RendezvousUnreachable: If no server answered in time, or if it refuses, for
            example because it offers none of the APIs.
    """
    limit = asyncio.get_running_loop().time() + connect_timeout
    lacking: list[str] = []
    for api in apis:
        store = api.store()
        ring = store.link.ring
        try:
            offered = await _is_offered(store, limit, connect_timeout, record)
        except BaseException:
            await store.close()
            raise
        if offered:
            rule = "; ".join([*lacking, f"etcd {api.name} API"])
            record(EventName.STORE_CONNECTED, endpoint=str(ring.endpoint), rule=rule)
            return store
        await store.close()
        lacking.append(ring.trouble)
    raise RendezvousUnreachable(
        f"nothing at {endpoints!r} can be used: {'; '.join(lacking)}"
    )


async def _is_offered(
    store: EtcdStore, limit: float, connect_timeout: float, record: Record
) -> bool:
    """Wait for a server, and tell whether it offers the API of the store."""
    clock = asyncio.get_running_loop().time
    ring: Ring[Any] = store.link.ring
    reminder = clock()
    attempt = 0
    while True:
        try:
            await store.probe(limit)
        except Unavailable as error:
            if ring.lacks_api:
                return False
            attempt += 1
            pause = ring.endure(error, attempt, limit - clock(), connect_timeout)
            if clock() >= reminder:
                reason = f"etcd at '{ring.target}': {ring.trouble}"
                record(EventName.STORE_WAITING, reason=reason)
                reminder = clock() + _REMINDER
            await asyncio.sleep(pause)
        except Refused as error:
            raise ring.refused(error) from error
        else:
            return True
