"""`PollingStore`: the whole store port for backends without watches and leases."""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Mapping

import attrs

from elaunch.errors import RendezvousUnreachable, UsageError
from elaunch.polling.backend import KEYS, LEASES, Backend, Kept, wrap
from elaunch.polling.judge import LOOKS, Judge
from elaunch.polling.lease import PollingLease
from elaunch.polling.snapshot import Snapshot, changes, take
from elaunch.store import (
    ABSENT,
    Entry,
    Lease,
    Listing,
    StoreEvent,
    WatchCompacted,
)


CLOSED = "the store client is closed"

READ_RATE = 2000
"""Entries that a watch reads in a second at most, on the average."""

LONGEST_PAUSE = 2.0
"""Seconds between two polls at most, unless the poll interval is longer."""

REMEMBERED = 8
"""Listings of this client from which a watch can go on."""


@attrs.frozen
class _Remembered:
    prefix: str
    revision: int
    revisions: Mapping[str, int]


@attrs.frozen(eq=False)
class _Watching:
    """A watch that is going on.

    Attributes:
        prefix: Of which keys.
        judge: Judges the leases that it sees.
        news: Set when it should look at once.
    """

    prefix: str
    judge: Judge = attrs.field(factory=Judge)
    news: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def pause(self, seconds: float) -> None:
        """Wait for news, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.news.wait()
        self.news.clear()


@attrs.define(eq=False)
class PollingStore(Backend):
    """A store over a backend with five methods, which a subclass implements.

    Watches compare snapshots, so of several quick changes of one key they tell the
    last. Leases are records that their holders keep writing; whoever watches keys of a
    lease ends it when its record stood still for its time to live.

    Attributes:
        poll_interval: Seconds between two looks of a watch. They grow with what it
            reads, so that a large job does not keep the backend busy.
        patience: Seconds for which a watch puts up with a backend that can't be
            reached.
    """

    poll_interval: float = attrs.field(default=0.1, kw_only=True)
    patience: float = attrs.field(default=30.0, kw_only=True)
    _leases: list[PollingLease] = attrs.field(factory=list, init=False)
    _watching: list[_Watching] = attrs.field(factory=list, init=False)
    _listings: deque[_Remembered] = attrs.field(
        factory=lambda: deque(maxlen=REMEMBERED), init=False
    )
    _closed: bool = attrs.field(default=False, init=False)

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        self._check_open()
        raw = await self.read(KEYS + key)
        while raw and not await self._is_alive(raw):
            # It may have got another life before its lease ended.
            again = await self.read(KEYS + key)
            if again is None or again.revision == raw.revision:
                return None
            raw = again
        return Kept.read(raw).entry if raw else None

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key and return its new revision."""
        revision = await self._write(key, value, None, lease)
        if revision is None:
            raise AssertionError("a write without a condition can't fail on one")
        return revision

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``."""
        self._check_open()
        while True:
            raw = await self.read(KEYS + key)
            alive = raw is not None and await self._is_alive(raw)
            kept = raw.revision if raw else ABSENT
            if (kept if alive else ABSENT) != expected:
                return None
            revision = await self._write(key, value, kept, lease)
            if revision is not None or expected != ABSENT:
                return revision
            # Something came between, maybe only the removal of an orphan.

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        while True:
            entry = await self.get(key)
            if entry is None or expected not in (None, entry.revision):
                return False
            if await self.remove(KEYS + key, entry.revision):
                self._wake(key)
                return True

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""
        self._check_open()
        shot = await take(self, prefix)
        self._listings.append(_Remembered(prefix, shot.revision, shot.revisions))
        return Listing(shot.entries, shot.revision)

    async def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield what changes under ``prefix`` after ``since``.

        Args:
            prefix: The prefix.
            since: Revision of a recent listing by this client that covers the prefix,
                or of the store as it is now, or 0.

        Raises:
            WatchCompacted: If ``since`` is another revision: what lay under the prefix
                then, and so what was deleted since, is not known.
        """
        self._check_open()
        watching = _Watching(prefix)
        self._watching.append(watching)
        try:
            shot = await self._poll(watching, None)
            known = self._known(prefix, since, shot)
            while True:
                for event in changes(known, shot):
                    yield event
                await watching.pause(self._pause(shot))
                known, shot = shot.revisions, await self._poll(watching, shot)
        finally:
            self._watching.remove(watching)

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease and keep it alive until it is revoked."""
        self._check_open()
        lost = asyncio.get_running_loop().create_future()
        lease = PollingLease(secrets.token_hex(8), ttl, lost, self, self._forgive)
        self._leases.append(lease)  # first: it may be granted and we not learn of it
        await lease.grant()
        return lease

    async def close(self) -> None:
        """End all leases and watches of this client."""
        if self._closed:
            return
        self._closed = True
        self._wake("")
        try:
            await asyncio.gather(*(lease.revoke() for lease in self._leases))
        finally:
            await self.disconnect()

    async def _write(
        self, key: str, value: bytes, expected: int | None, lease: Lease | None
    ) -> int | None:
        self._check_open()
        if lease is None:
            revision = await self.write(KEYS + key, wrap(value, ""), expected)
        elif isinstance(lease, PollingLease):
            lease.attach(key)
            revision = await self.write(KEYS + key, wrap(value, lease.id), expected)
            if revision is not None:
                await lease.confirm(key, revision)
        else:
            raise UsageError(f"{lease!r} is not a lease of this kind of store")
        if revision is not None:
            self._wake(key)
        return revision

    async def _is_alive(self, raw: Entry) -> bool:
        lease = Kept.read(raw).lease
        return not lease or await self.read(LEASES + lease) is not None

    def _known(self, prefix: str, since: int, shot: Snapshot) -> Mapping[str, int]:
        """Return the revision that each key under a prefix had at a revision."""
        if since == ABSENT:
            return {}
        if since == shot.revision:
            return shot.revisions
        for listing in self._listings:
            if listing.revision == since and prefix.startswith(listing.prefix):
                old = listing.revisions
                return {key: old[key] for key in old if key.startswith(prefix)}
        raise WatchCompacted(f"what lay under {prefix!r} at {since} is not known")

    def _pause(self, shot: Snapshot) -> float:
        longest = max(self.poll_interval, LONGEST_PAUSE)
        size = len(shot.entries) + len(shot.orphans)
        return min(max(self.poll_interval, size / READ_RATE), longest)

    async def _poll(self, watching: _Watching, before: Snapshot | None) -> Snapshot:
        """Look again, and again while the backend can't be reached for a while."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.patience
        while True:
            self._check_open()
            try:
                shot = await take(self, watching.prefix, before)
                await self._tidy(watching.judge, shot, before)
            except RendezvousUnreachable:
                watching.judge.forgive()
                if loop.time() >= deadline:
                    raise
                await watching.pause(self.poll_interval)
            else:
                return shot

    async def _tidy(
        self, judge: Judge, shot: Snapshot, before: Snapshot | None
    ) -> None:
        """End the leases that are dead, and remove what was left of such."""
        loop = asyncio.get_running_loop()
        for lease in judge.look(shot.leases, loop.time()):
            asked = loop.time()
            # Changes nothing, but shows whether the backend takes writes just now. If
            # it does not, the holder of the lease could not renew it either.
            await self.remove(LEASES + lease, ABSENT)
            if loop.time() - asked > shot.leases[lease].ttl / LOOKS:
                judge.forgive()
                return
            await self._end(lease, shot.leases[lease].revision)
        # Whoever ended the lease is removing them; this is for one that died over it.
        for entry in shot.orphans & (before.orphans if before else frozenset()):
            await self.remove(KEYS + entry.key, entry.revision)

    async def _end(self, lease: str, revision: int) -> None:
        """End a lease for good, unless its holder has renewed it meanwhile."""
        if await self.remove(LEASES + lease, revision):
            for raw in (await self.scan(KEYS)).entries:
                if Kept.read(raw).lease == lease:
                    await self.remove(raw.key, raw.revision)
            self._wake("")

    def _forgive(self) -> None:
        for watching in self._watching:
            watching.judge.forgive()

    def _wake(self, key: str) -> None:
        """Let the watches of a key look at once; of every key if it is empty."""
        for watching in self._watching:
            if not key or key.startswith(watching.prefix):
                watching.news.set()

    def _check_open(self) -> None:
        if self._closed:
            raise RendezvousUnreachable(CLOSED)
