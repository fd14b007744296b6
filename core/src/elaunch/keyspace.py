"""The semantics of a store in one plain object: revisions, leases, watches.

No I/O and no clock: time is handed in. `MemoryStore` puts it behind the store port for
one process; a server puts a socket in front of it.
"""

import itertools
from collections import deque
from collections.abc import Callable

import attrs

from elaunch.store import ABSENT, Entry, Listing, StoreEvent, WatchCompacted


@attrs.define(eq=False)
class _Lease:
    ttl: float
    deadline: float
    keys: set[str] = attrs.field(factory=set)


@attrs.define(eq=False)
class Subscription:
    """A watcher of one prefix; keep it to unsubscribe."""

    prefix: str
    deliver: Callable[[StoreEvent], None]


class UnknownLease(Exception):
    """The lease does not exist, or no longer."""


@attrs.define(eq=False)
class Keyspace:
    """An in-memory map of keys with revisions, leases and ordered watches.

    Attributes:
        history: How many past changes are kept for watches that start in the past.
    """

    history: int = 65_536
    revision: int = 0
    _entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    _leases: dict[int, _Lease] = attrs.field(factory=dict, init=False)
    _lease_of: dict[str, int] = attrs.field(factory=dict, init=False)
    _past: deque[StoreEvent] = attrs.field(init=False)
    _watchers: dict[str, list[Subscription]] = attrs.field(factory=dict, init=False)
    _next_lease: int = attrs.field(default=1, init=False)

    def __attrs_post_init__(self) -> None:
        self._past = deque(maxlen=self.history)

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        return self._entries.get(key)

    def list(self, prefix: str) -> Listing:
        """Return all entries under a prefix, sorted by key."""
        keys = sorted(key for key in self._entries if key.startswith(prefix))
        return Listing(tuple(self._entries[key] for key in keys), self.revision)

    def put(self, key: str, value: bytes, lease: int | None = None) -> int:
        """Write a key and return its new revision.

        Raises:
            UnknownLease: If the lease does not exist.
        """
        if lease is not None and lease not in self._leases:
            raise UnknownLease
        self._detach(key)
        if lease is not None:
            self._leases[lease].keys.add(key)
            self._lease_of[key] = lease
        self.revision += 1
        self._entries[key] = Entry(key, value, self.revision)
        self._tell(StoreEvent(key, value, self.revision))
        return self.revision

    def compare_and_set(
        self, key: str, value: bytes, expected: int, lease: int | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``; return the new one or `None`."""
        if self._revision_of(key) != expected:
            return None
        return self.put(key, value, lease)

    def delete(self, key: str, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        present = self._revision_of(key)
        if present == ABSENT or (expected is not None and present != expected):
            return False
        self._detach(key)
        del self._entries[key]
        self.revision += 1
        self._tell(StoreEvent(key, None, self.revision))
        return True

    def grant(self, ttl: float, now: float) -> int:
        """Create a lease that ends at ``now + ttl`` unless it is renewed."""
        number = self._next_lease
        self._next_lease += 1
        self._leases[number] = _Lease(ttl, now + ttl)
        return number

    def renew(self, lease: int, now: float) -> bool:
        """Extend a lease by its whole time to live; `False` if it is gone."""
        held = self._leases.get(lease)
        if held is None:
            return False
        held.deadline = now + held.ttl
        return True

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys. An unknown lease is already ended."""
        held = self._leases.pop(lease, None)
        for key in sorted(held.keys) if held else ():
            self.delete(key)

    def expire(self, now: float) -> None:
        """End every lease whose deadline has passed."""
        for number in [n for n, held in self._leases.items() if held.deadline <= now]:
            self.revoke(number)

    def next_deadline(self) -> float | None:
        """Return when the next lease ends if nobody renews, or `None`."""
        return min((held.deadline for held in self._leases.values()), default=None)

    def subscribe(
        self, prefix: str, since: int, deliver: Callable[[StoreEvent], None]
    ) -> Subscription:
        """Deliver every change under ``prefix`` after ``since``, the past ones first.

        Raises:
            WatchCompacted: If a change after ``since`` has been forgotten.
        """
        forgotten = self.revision - len(self._past)
        if since < forgotten:
            raise WatchCompacted
        # Revisions are consecutive, so what is missed is the end of the past.
        missed = itertools.islice(reversed(self._past), self.revision - since)
        for event in reversed(tuple(missed)):
            if event.key.startswith(prefix):
                deliver(event)
        subscription = Subscription(prefix, deliver)
        self._watchers.setdefault(prefix, []).append(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop delivering to a subscription. Twice is fine."""
        watchers = self._watchers.get(subscription.prefix, [])
        if subscription in watchers:
            watchers.remove(subscription)
        if not watchers:
            self._watchers.pop(subscription.prefix, None)

    def _revision_of(self, key: str) -> int:
        entry = self._entries.get(key)
        return entry.revision if entry else ABSENT

    def _detach(self, key: str) -> None:
        lease = self._lease_of.pop(key, None)
        if lease is not None and lease in self._leases:
            self._leases[lease].keys.discard(key)

    def _tell(self, event: StoreEvent) -> None:
        self._past.append(event)
        # Thousands of nodes watch few distinct prefixes, so the prefix is the index.
        for prefix in [p for p in self._watchers if event.key.startswith(p)]:
            for watcher in tuple(self._watchers[prefix]):
                watcher.deliver(event)
