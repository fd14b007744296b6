"""A watch of etcd's v2 API: one long poll after the other, each for the next change."""

import asyncio
from typing import Any

import attrs

from elaunch.api import StoreEvent, WatchCompacted
from elaunch_rdzv_etcd.link import Link, closed
from elaunch_rdzv_etcd.threads import DaemonThreads
from elaunch_rdzv_etcd.trouble import Refused, Unavailable
from elaunch_rdzv_etcd.v2.client import EtcdClient
from elaunch_rdzv_etcd.v2.nodes import Change, Seen
from elaunch_rdzv_etcd.v2.paths import Paths


@attrs.define(eq=False)
class Watch:
    """Changes under one prefix. It has a connection and a thread of its own.

    Each poll goes to the endpoint that requests of all kinds go to at the time.

    Attributes:
        prefix: The prefix.
        since: Index of etcd up to which everything has been seen. It moves also when
            nothing under the prefix changes: etcd remembers the last 1,000 changes of
            the whole cluster, renewals of leases included.
    """

    prefix: str
    since: int
    _paths: Paths
    _link: Link[EtcdClient]
    _closing: asyncio.Future[None]
    _client: EtcdClient = attrs.field(init=False)
    _thread: DaemonThreads = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._client = self._connect()
        self._thread = DaemonThreads(1, "elaunch-etcd-watch")

    async def next(self) -> StoreEvent:
        """Return the next change.

        Raises:
            WatchCompacted: If etcd has forgotten it, or a directory with all its keys
                was deleted at once.
            RendezvousUnreachable: If there was no answer for the link's patience, or
                the store client was closed.
        """
        while True:
            seen = await self._poll()
            self.since = seen.index
            event = self._event(seen.change) if seen.change else None
            if event:
                return event

    def close(self) -> None:
        """End the watch at once; its thread follows."""
        self._client.interrupt()
        self._thread.submit(self._client.close)
        self._thread.shutdown(wait=False)

    async def _poll(self) -> Seen:
        clock = asyncio.get_running_loop().time
        ring = self._link.ring
        limit = clock() + self._link.patience
        attempt = 0
        while True:
            try:
                return await self._attempt()
            except Unavailable as error:
                ring.failed(self._client.endpoint, error)
                attempt += 1
                left = limit - clock()
                await self._until_closing(
                    ring.endure(error, attempt, left, self._link.patience)
                )
            except Refused as error:
                raise ring.refused(error) from error

    async def _attempt(self) -> Seen:
        path = self._paths.of_prefix(self.prefix)
        loop = asyncio.get_running_loop()
        if self._client.endpoint != self._link.ring.endpoint:
            self._client.close()
            self._client = self._connect()
        client = self._client
        poll = loop.run_in_executor(
            self._thread, lambda: client.watch(path, self.since, recursive=True)
        )
        # A poll that hears nothing of the key has been answered all the same.
        limit = self._link.patience + self._link.ring.target.timeout
        try:
            await self._until_closing(limit, poll)
            if not poll.done():
                raise self._link.ring.unreachable(limit)
            return poll.result()
        finally:
            poll.cancel()

    def _connect(self) -> EtcdClient:
        ring = self._link.ring
        client = EtcdClient(ring.target, ring.endpoint, 1, self._paths.root)
        client.expect(ring.cluster_id)
        return client

    async def _until_closing(self, limit: float, *others: asyncio.Future[Any]) -> None:
        """Wait for a time or one of the others; raise if the store is closed."""
        await asyncio.wait(
            {self._closing, *others},
            timeout=limit,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._closing.done():
            raise closed()

    def _event(self, change: Change) -> StoreEvent | None:
        if change.directory:
            if change.gone:
                raise WatchCompacted
            return None
        key = self._paths.key(change.path)
        if key is None or not key.startswith(self.prefix):
            return None
        if change.node is None:
            return StoreEvent(key, None, change.index)
        if change.node.revision != change.index:
            return None  # written once more, with the revision it had got
        return StoreEvent(key, change.node.value, change.index)
