"""Opens the store: waits for a server, and tells meanwhile what it waits for."""

import asyncio

from elaunch.api import EventName, Record
from elaunch_rdzv_etcd.client import Refused, Unavailable
from elaunch_rdzv_etcd.link import pause
from elaunch_rdzv_etcd.options import EtcdV2Options
from elaunch_rdzv_etcd.paths import Paths
from elaunch_rdzv_etcd.store import EtcdV2Store
from elaunch_rdzv_etcd.target import Target


_REMINDER = 10.0  # seconds between two events that tell of the same wait


async def open_store(
    target: Target, options: EtcdV2Options, record: Record
) -> EtcdV2Store:
    """Return a store as soon as etcd answers.

    A store gives up after as long a silence as costs a node its lease.

    Raises:
        RendezvousUnreachable: If it did not within ``connect_timeout``, or if it
            refuses, for example because it has no v2 API.
    """
    store = EtcdV2Store(target, options.lease_ttl, Paths(options.prefix))
    try:
        await _wait_for_server(store, options.connect_timeout, record)
        record(EventName.STORE_CONNECTED, endpoint=str(target), rule="etcd v2 API")
    except BaseException:
        await store.close()
        raise
    return store


async def _wait_for_server(
    store: EtcdV2Store, connect_timeout: float, record: Record
) -> None:
    clock = asyncio.get_running_loop().time
    limit = clock() + connect_timeout
    reminder = clock()
    attempt = 0
    while True:
        try:
            return await store.probe(limit)
        except Unavailable as error:
            if clock() >= limit:
                raise store.link.unreachable(connect_timeout) from error
            if clock() >= reminder:
                record(
                    EventName.STORE_WAITING, reason=f"etcd at '{store.target}': {error}"
                )
                reminder = clock() + _REMINDER
        except Refused as error:
            raise store.link.refused(error) from error
        await asyncio.sleep(min(pause(attempt), max(0.0, limit - clock())))
        attempt += 1
