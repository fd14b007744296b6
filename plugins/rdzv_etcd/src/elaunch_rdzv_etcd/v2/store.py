"""The store port over etcd's v2 API."""

import asyncio
from collections.abc import AsyncGenerator

import attrs

from elaunch.api import Entry, Lease, Listing, RendezvousUnreachable, StoreEvent
from elaunch_rdzv_etcd.link import Link, closed
from elaunch_rdzv_etcd.ring import Ring
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.v2.client import EtcdClient
from elaunch_rdzv_etcd.v2.lease import EtcdLease
from elaunch_rdzv_etcd.v2.nodes import KEPT, LEASED, MAX_VALUE, Node
from elaunch_rdzv_etcd.v2.paths import Paths
from elaunch_rdzv_etcd.v2.upkeep import Upkeep
from elaunch_rdzv_etcd.v2.watch import Watch
from elaunch_rdzv_etcd.v2.writes import Deletion, Write, Written


_THREADS = 8
_RENEWAL_THREADS = 2  # apart, so that no amount of other requests delays a renewal


@attrs.define(eq=False)
class EtcdV2Store:
    """A client of etcd's v2 API.

    Attributes:
        target: Where etcd is.
        patience: Seconds without any answer after which a call or a watch gives up.
        paths: Where keys lie in etcd.
        job: Prefix of all keys of the job, with a slash at its end.
        job_ttl: Seconds that keys without a lease outlive the last client of the job.
    """

    target: Target
    patience: float
    paths: Paths
    job: str
    job_ttl: float
    link: Link[EtcdClient] = attrs.field(init=False)
    _renewals: Link[EtcdClient] = attrs.field(init=False)
    _leases: list[EtcdLease] = attrs.field(factory=list, init=False)
    _upkeep: Upkeep = attrs.field(init=False)
    _closing: asyncio.Future[None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        threads = _THREADS + _RENEWAL_THREADS
        ring = Ring(
            self.target,
            lambda endpoint: EtcdClient(
                self.target, endpoint, threads, self.paths.root
            ),
        )
        self.link = Link(ring, _THREADS, self.patience)
        self._renewals = Link(ring, _RENEWAL_THREADS, self.patience)
        directory = self.paths.of_prefix(self.job)
        self._upkeep = Upkeep.begin(directory, self.job_ttl, self.link)
        self._closing = asyncio.get_running_loop().create_future()

    async def probe(self, limit: float) -> None:
        """Ask etcd for what the job will ask for, once: may this client write?

        Raises:
            Unavailable: If there was no answer by the time of the limit.
            Refused: If it refuses, for example because it has no v2 API.
        """
        await self.link.attempt(self._upkeep.claim, limit)

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        self._check_open()
        path = self.paths.of_key(key)
        node = await self.link.call(lambda client: client.read(path))
        return _entry(key, node) if node else None

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key and return its new revision."""
        written = await self._write(key, value, None, lease)
        if written is None:
            raise AssertionError("a put without a condition can't fail on one")
        return written.revision

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``.

        After a broken connection `None` can also mean that the key was written and
        then, before this client could see it, written by somebody else.
        """
        written = await self._write(key, value, expected, lease)
        return written.revision if written else None

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        self._check_open()
        path = self.paths.of_key(key)
        self._upkeep.touch(path)
        deleted = await self.link.call(Deletion(path, expected))
        if deleted:
            self._detach(path)
        return deleted

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""
        self._check_open()
        directory = self.paths.of_prefix(prefix)
        nodes, revision = await self.link.call(lambda client: client.list(directory))
        keys = [(self.paths.key(node.path), node) for node in nodes]
        entries = [_entry(k, n) for k, n in keys if k and k.startswith(prefix)]
        return Listing(tuple(sorted(entries, key=lambda e: e.key)), revision)

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield every change under ``prefix`` after ``since``, in order."""
        self._check_open()
        watch = Watch(prefix, since, self.paths, self.link, self._closing)
        try:
            while True:
                yield await watch.next()
        finally:
            watch.close()

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease of ``ttl`` seconds, rounded up, and keep its keys alive.

        etcd has nothing to grant, but is asked whether it is there: whoever waits for
        it to come back takes a lease for a sign of that.

        Raises:
            RendezvousUnreachable: If etcd does not answer, or refuses.
        """
        self._check_open()
        await self.link.call(self._upkeep.look)
        lease = EtcdLease.grant(ttl, self._renewals)
        lease.lost.add_done_callback(lambda _: self._leases.remove(lease))
        self._leases.append(lease)
        return lease

    async def close(self) -> None:
        """End all leases and watches of this client. Twice is fine."""
        if self._closing.done():
            return
        self._closing.set_result(None)
        self._upkeep.close()
        try:
            await asyncio.gather(*(lease.revoke() for lease in tuple(self._leases)))
            await self._upkeep.clear()
        finally:
            self.link.close()
            self._renewals.close()
            self.link.ring.close()

    async def _write(
        self, key: str, value: bytes, expected: int | None, lease: Lease | None
    ) -> Written | None:
        self._check_open()
        path = self.paths.of_key(key)
        self._upkeep.touch(path)
        if len(value) > MAX_VALUE:
            raise RendezvousUnreachable(
                f"the value of {key!r} is too large for etcd: it has {len(value)} "
                f"bytes, and {MAX_VALUE} is the most"
            )
        if lease is None:
            write = Write(path, value, self._upkeep.ttl, KEPT, expected)
            return await self._carry_out(key, write, None)
        if not isinstance(lease, EtcdLease):
            raise TypeError(f"a lease of another kind of store: {lease!r}")
        lease.check(key)
        write = Write(path, value, lease.seconds, LEASED, expected)
        return await lease.see_through(self._carry_out(key, write, lease))

    async def _carry_out(
        self, key: str, write: Write, lease: EtcdLease | None
    ) -> Written | None:
        since = asyncio.get_running_loop().time()
        written = await self.link.call(write)
        if written:
            self._detach(write.path)
        if written and lease:
            await lease.attach(key, write, written, since)
        return written

    def _detach(self, path: str) -> None:
        for lease in self._leases:
            lease.detach(path)

    def _check_open(self) -> None:
        if self._closing.done():
            raise closed()


def _entry(key: str, node: Node) -> Entry:
    return Entry(key, node.value, node.revision)
