"""The semantics of a store in one plain object: revisions, leases, watches.

No I/O and no clock: time is handed in. `MemoryStore` puts it behind the store port for
one process; a server puts a socket in front of it.
"""

import heapq
import itertools
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable

import attrs

from elaunch.store import ABSENT, Entry, Listing, StoreEvent, WatchCompacted


@attrs.define(eq=False, repr=False)
class _Lease:
    ttl: float
    deadline: float
    keys: set[str] = attrs.field(factory=set)


@attrs.define(eq=False, repr=False)
class Subscription:
    """A watcher of one prefix; keep it to unsubscribe."""

    prefix: str
    deliver: Callable[[StoreEvent], None]


@attrs.define(eq=False, repr=False)
class _Feed:
    """What happens under one watched prefix, and who is told of it."""

    past: deque[StoreEvent]
    # In the order of subscribing; thousands may come and go at once.
    watchers: dict[Subscription, None] = attrs.field(factory=dict)


class UnknownLease(Exception):
    """The lease does not exist, or no longer."""


class KeyspaceFull(Exception):
    """There is no room for another key, lease or watch."""


@attrs.define(eq=False, repr=False)
class Keyspace:
    """An in-memory map of keys with revisions, leases and ordered watches.

    Attributes:
        history: How many past changes are kept for watches that start in the past.
        history_size: Most bytes of keys and values that they have together.
        limit: Most bytes of keys and values that it holds besides.
        max_leases: Most leases at a time.
        max_watches: Most subscriptions at a time.
        max_prefixes: Most prefixes that are watched at a time.
        revision: Number of the last change.
    """

    history: int = 65_536
    history_size: int = 64 * 1024 * 1024
    limit: int = 1024 * 1024 * 1024
    max_leases: int = 131_072
    max_watches: int = 262_144
    max_prefixes: int = 1_024
    revision: int = 0
    _entries: dict[str, Entry] = attrs.field(factory=dict, init=False)
    _keys: list[str] = attrs.field(factory=list, init=False)  # sorted
    _leases: dict[int, _Lease] = attrs.field(factory=dict, init=False)
    # For each lease a deadline that it had, at the latest the one it has: a renewal,
    # which is frequent, leaves it alone, and an ended lease is met here once more.
    _deadlines: list[tuple[float, int]] = attrs.field(factory=list, init=False)
    _lease_of: dict[str, int] = attrs.field(factory=dict, init=False)
    _size: int = attrs.field(default=0, init=False)
    _past: deque[StoreEvent] = attrs.field(factory=deque, init=False)
    _past_size: int = attrs.field(default=0, init=False)
    _watches: int = attrs.field(default=0, init=False)
    _feeds: dict[str, _Feed] = attrs.field(factory=dict, init=False)
    _next_lease: int = attrs.field(default=1, init=False)

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""
        return self._entries.get(key)

    def list(self, prefix: str) -> Listing:
        """Return all entries under a prefix, sorted by key."""
        begin = bisect_left(self._keys, prefix)
        end = bisect_right(self._keys, prefix, key=lambda key: key[: len(prefix)])
        found = tuple(self._entries[key] for key in self._keys[begin:end])
        return Listing(found, self.revision)

    def put(self, key: str, value: bytes, lease: int | None = None) -> int:
        """Write a key and return its new revision.

        Raises:
            UnknownLease: If the lease does not exist.
            KeyspaceFull: If there is no room.
        """
        if lease is not None and lease not in self._leases:
            raise UnknownLease
        present = self._entries.get(key)
        growth = _size(key, value) - (_size(key, present.value) if present else 0)
        if growth > 0 and self._size + growth > self.limit:
            raise KeyspaceFull
        self._size += growth
        self._detach(key)
        if lease is not None:
            self._leases[lease].keys.add(key)
            self._lease_of[key] = lease
        if present is None:
            insort(self._keys, key)
        self.revision += 1
        self._entries[key] = Entry(key, value, self.revision)
        self._tell(StoreEvent(key, value, self.revision))
        return self.revision

    def compare_and_set(
        self, key: str, value: bytes, expected: int, lease: int | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``; return the new one or `None`.

        Raises:
            UnknownLease: If the lease does not exist.
            KeyspaceFull: If there is no room.
        """
        if self._revision_of(key) != expected:
            return None
        return self.put(key, value, lease)

    def delete(self, key: str, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision."""
        present = self._revision_of(key)
        if present == ABSENT or (expected is not None and present != expected):
            return False
        self._detach(key)
        self._size -= _size(key, self._entries.pop(key).value)
        del self._keys[bisect_left(self._keys, key)]
        self.revision += 1
        self._tell(StoreEvent(key, None, self.revision))
        return True

    def grant(self, ttl: float, now: float) -> int:
        """Create a lease that ends at ``now + ttl`` unless it is renewed.

        Raises:
            KeyspaceFull: If there is no room.
        """
        if len(self._leases) >= self.max_leases:
            raise KeyspaceFull
        number = self._next_lease
        self._next_lease += 1
        self._leases[number] = _Lease(ttl, now + ttl)
        heapq.heappush(self._deadlines, (now + ttl, number))
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
        while (deadline := self.next_deadline()) is not None and deadline <= now:
            self.revoke(self._deadlines[0][1])

    def next_deadline(self) -> float | None:
        """Return when the next lease ends if nobody renews, or `None`."""
        deadlines = self._deadlines
        while deadlines:
            noted, number = deadlines[0]
            held = self._leases.get(number)
            if held is None:
                heapq.heappop(deadlines)
            elif held.deadline > noted:
                heapq.heapreplace(deadlines, (held.deadline, number))
            else:
                return noted
        return None

    def subscribe(
        self, prefix: str, since: int, deliver: Callable[[StoreEvent], None]
    ) -> Subscription:
        """Deliver every change under ``prefix`` after ``since``, the past ones first.

        Raises:
            WatchCompacted: If a change after ``since`` has been forgotten.
            KeyspaceFull: If there is no room.
        """
        forgotten = self.revision - len(self._past)
        if since < forgotten:
            raise WatchCompacted
        feed = self._feeds.get(prefix)
        if self._watches >= self.max_watches or (
            feed is None and len(self._feeds) >= self.max_prefixes
        ):
            raise KeyspaceFull
        if feed is None:
            past = (event for event in self._past if event.key.startswith(prefix))
            feed = self._feeds[prefix] = _Feed(deque(past))
        missed = itertools.takewhile(
            lambda event: event.revision > since, reversed(feed.past)
        )
        for event in reversed(tuple(missed)):
            deliver(event)
        subscription = Subscription(prefix, deliver)
        feed.watchers[subscription] = None
        self._watches += 1
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Stop delivering to a subscription. Twice is fine."""
        feed = self._feeds.get(subscription.prefix)
        if feed is None or subscription not in feed.watchers:
            return
        del feed.watchers[subscription]
        self._watches -= 1
        if not feed.watchers:
            del self._feeds[subscription.prefix]

    def _revision_of(self, key: str) -> int:
        entry = self._entries.get(key)
        return entry.revision if entry else ABSENT

    def _detach(self, key: str) -> None:
        lease = self._lease_of.pop(key, None)
        if lease is not None and lease in self._leases:
            self._leases[lease].keys.discard(key)

    def _tell(self, event: StoreEvent) -> None:
        self._past.append(event)
        self._past_size += _size(event.key, event.value)
        # Thousands of nodes watch few distinct prefixes, so the prefix is the index.
        for prefix, feed in tuple(self._feeds.items()):
            if event.key.startswith(prefix):
                feed.past.append(event)
                for watcher in tuple(feed.watchers):
                    watcher.deliver(event)
        while len(self._past) > self.history or self._past_size > self.history_size:
            self._forget(self._past.popleft())

    def _forget(self, event: StoreEvent) -> None:
        self._past_size -= _size(event.key, event.value)
        for feed in self._feeds.values():
            if feed.past and feed.past[0] is event:
                feed.past.popleft()


def _size(key: str, value: bytes | None) -> int:
    return len(key) + len(value or b"")
