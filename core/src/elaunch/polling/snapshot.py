"""What lies under a prefix at one revision, and what has changed between two."""

from collections.abc import Collection, Iterator, Mapping

import attrs

from elaunch.polling.backend import KEYS, LEASES, Backend, Kept, ttl_of
from elaunch.polling.judge import LeaseState
from elaunch.store import Entry, StoreEvent


FEW = 4
"""Up to so many leases are read one by one, more of them by one scan."""


@attrs.frozen
class Snapshot:
    """What lies under a prefix at one revision.

    Attributes:
        entries: The entries, sorted by key.
        orphans: Entries whose lease is gone; they count as absent.
        leases: The leases that the entries live by.
        revision: The revision.
    """

    entries: tuple[Entry, ...]
    orphans: frozenset[Entry]
    leases: Mapping[str, LeaseState]
    revision: int

    @property
    def revisions(self) -> dict[str, int]:
        """Revision of each key."""
        return {entry.key: entry.revision for entry in self.entries}


async def take(
    backend: Backend, prefix: str, before: Snapshot | None = None
) -> Snapshot:
    """Take a snapshot: exactly what is there at its revision.

    A lease can end between the scan of the keys and the look at it. Then the keys are
    scanned once more: a lease that is gone stays gone, so what still names it is an
    orphan at the revision of that scan.

    Args:
        backend: Where.
        prefix: Of which keys.
        before: The snapshot before, which stays true while nothing changes.
    """
    gone: set[str] = set()
    while True:
        listing = await backend.scan(KEYS + prefix)
        if before and before.revision == listing.revision:
            return before
        kept = [Kept.read(raw) for raw in listing.entries]
        named = {item.lease for item in kept if item.lease} - gone
        leases = await _leases(backend, named)
        if leases.keys() == named:
            return Snapshot(
                tuple(item.entry for item in kept if item.lease not in gone),
                frozenset(item.entry for item in kept if item.lease in gone),
                leases,
                listing.revision,
            )
        gone |= named - leases.keys()


async def _leases(backend: Backend, named: Collection[str]) -> dict[str, LeaseState]:
    if len(named) <= FEW:
        found = [await backend.read(LEASES + lease) for lease in sorted(named)]
    else:
        found = list((await backend.scan(LEASES)).entries)
    states = {
        record.key.removeprefix(LEASES): LeaseState(record.revision, ttl_of(record))
        for record in found
        if record
    }
    return {lease: states[lease] for lease in named if lease in states}


def changes(before: Mapping[str, int], after: Snapshot) -> Iterator[StoreEvent]:
    """Yield how to get from the keys' revisions before to a snapshot, in order.

    Of several changes of one key there is the last. When a key was deleted is not
    known, so all deletions come last, with the snapshot's revision.
    """
    for entry in sorted(after.entries, key=lambda entry: entry.revision):
        if before.get(entry.key) != entry.revision:
            yield StoreEvent(entry.key, entry.value, entry.revision)
    present = {entry.key for entry in after.entries}
    for key in sorted(before.keys() - present):
        yield StoreEvent(key, None, after.revision)
