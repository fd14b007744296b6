"""The store port over etcd's v3 API."""

import asyncio
from collections.abc import AsyncGenerator

import attrs

from elaunch.api import Entry, Lease, Listing, RendezvousUnreachable, StoreEvent
from elaunch_rdzv_etcd.endpoints import Endpoint
from elaunch_rdzv_etcd.link import Link, closed
from elaunch_rdzv_etcd.ring import Ring
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.v3.changes import Change, Record
from elaunch_rdzv_etcd.v3.gateway import Gateway
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.lease import EtcdLease
from elaunch_rdzv_etcd.v3.login import Login
from elaunch_rdzv_etcd.v3.refusals import LeaseGone
from elaunch_rdzv_etcd.v3.remains import Job, Remains
from elaunch_rdzv_etcd.v3.stream import Stream
from elaunch_rdzv_etcd.v3.watch import IDLE, Watch
from elaunch_rdzv_etcd.v3.writer import Writer


_THREADS = 4
_RENEWAL_THREADS = 2  # apart, so that no amount of other requests delays a renewal
_REMEMBERED = 4096


@attrs.define(eq=False)
class EtcdV3Store:
    """A client of etcd's v3 API.

    Attributes:
        target: The cluster.
        patience: Seconds without any answer after which a call or a watch gives up.
        keys: Where keys lie in etcd.
        job: The job that uses it.
    """

    target: Target
    patience: float
    keys: Keys
    job: Job
    link: Link[Gateway] = attrs.field(init=False)
    _renewals: Link[Gateway] = attrs.field(init=False)
    _login: Login = attrs.field(init=False)
    _writer: Writer = attrs.field(init=False)
    _remains: Remains = attrs.field(init=False)
    _leases: list[EtcdLease] = attrs.field(factory=list, init=False)
    _known: dict[str, int] = attrs.field(factory=dict, init=False)
    _closing: asyncio.Future[None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._login = Login(self.target.timeout)
        ring = Ring(self.target, self._connect)
        self.link = Link(ring, _THREADS, self.patience)
        self._renewals = Link(ring, _RENEWAL_THREADS, self.patience)
        self._writer = Writer(self.link)
        self._remains = Remains(self.job, self.link)
        self._closing = asyncio.get_running_loop().create_future()

    async def probe(self, limit: float) -> None:
        """Ask etcd once whether it is there, and whether we may write.

        Raises:
            Unavailable: If there was no answer by the time of the limit.
            Refused: If it refuses.
        """
        place = self.keys.of_key("/")
        await self.link.attempt(lambda etcd: etcd.probe(place), limit)

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        self._check_open()
        place = self.keys.of_key(key)
        record = await self.link.call(lambda etcd: etcd.read(place))
        return _entry(key, record) if record else None

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key and return its new revision."""
        revision = await self._write(key, value, None, lease)
        if revision is None:
            raise AssertionError("a put without a condition can't fail on one")
        return revision

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``.

        After a broken connection `None` can also mean that the key was written and
        then, before this client could see it, written by somebody else.
        """
        return await self._write(key, value, expected, lease)

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        self._check_open()
        basis = self._known.pop(key, 0)
        change = Change(self.keys.of_key(key), None, expected, basis)
        await self._writer.carry_out(change)
        return change.outcome is not None

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""
        self._check_open()
        start, end = self.keys.range_of(prefix)
        records, revision = await self.link.call(lambda etcd: etcd.entries(start, end))
        keys = [(self.keys.key(record.place), record) for record in records]
        entries = [_entry(k, r) for k, r in keys if k and k.startswith(prefix)]
        return Listing(tuple(sorted(entries, key=lambda e: e.key)), revision)

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield every change under ``prefix`` after ``since``, in order."""
        self._check_open()
        start, end = self.keys.range_of(prefix)
        watch = Watch(
            prefix,
            since,
            self.keys,
            self.link,
            self._closing,
            lambda since: self._stream(start, end, since),
        )
        try:
            while True:
                yield await watch.next()
        finally:
            watch.close()

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease of ``ttl`` seconds, rounded up, and keep its keys alive."""
        self._check_open()
        lease = await EtcdLease.grant(ttl, self.link, self._renewals)
        lease.lost.add_done_callback(lambda _: self._leases.remove(lease))
        self._leases.append(lease)
        return lease

    async def close(self) -> None:
        """End all leases and watches of this client. Twice is fine."""
        if self._closing.done():
            return
        self._closing.set_result(None)
        self._writer.close()
        self._remains.close()
        try:
            await asyncio.gather(*(lease.revoke() for lease in tuple(self._leases)))
        finally:
            self.link.close()
            self._renewals.close()
            self.link.ring.close()

    def _connect(
        self, endpoint: Endpoint, connections: int = _THREADS + _RENEWAL_THREADS
    ) -> Gateway:
        return Gateway(self.target, endpoint, connections, self._login)

    def _stream(self, start: bytes, end: bytes, since: int) -> Stream:
        etcd = self._connect(self.link.ring.endpoint, connections=1)
        # The watch itself is the first to find it silent.
        return Stream(etcd, start, end, since, 2 * IDLE)

    async def _write(
        self, key: str, value: bytes, expected: int | None, lease: Lease | None
    ) -> int | None:
        self._check_open()
        if lease is None:
            lease_id = await self._remains.lease()
        elif isinstance(lease, EtcdLease):
            lease.check(key)
            lease_id = lease.id
        else:
            raise TypeError(f"a lease of another kind of store: {lease!r}")
        basis = self._known.get(key, 0)
        change = Change(self.keys.of_key(key), value, expected, basis, lease_id)
        try:
            await self._writer.carry_out(change)
        except RendezvousUnreachable as error:
            if not isinstance(error.__cause__, LeaseGone):
                raise
            if isinstance(lease, EtcdLease):
                lease.lose("etcd let it expire")
                lease.check(key)
            # What this job had put before is gone, but that is for the job to judge.
            await self._remains.renew()
            await self._writer.carry_out(change)
        self._remember(key, change.outcome)
        return change.outcome

    def _remember(self, key: str, revision: int | None) -> None:
        """Keep what a next put would have to ask for."""
        self._known.pop(key, None)
        if revision is not None:
            self._known[key] = revision
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def _check_open(self) -> None:
        if self._closing.done():
            raise closed()


def _entry(key: str, record: Record) -> Entry:
    return Entry(key, record.value, record.revision)
