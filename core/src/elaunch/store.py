"""The store port: what a rendezvous needs from a coordination service.

Keys are strings, values are bytes, and every change of a key gives it a new revision,
larger than any revision before it in the same store. A store that offers this contract
gives a complete rendezvous backend through
`elaunch.membership.rendezvous.StoreRendezvous`.
`elaunch.testing.StoreContract` checks it.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Protocol

import attrs


ABSENT = 0
"""The revision of a key that does not exist, for `Store.compare_and_set`."""


@attrs.frozen
class Entry:
    """A key with its value.

    Attributes:
        key: The key.
        value: The value.
        revision: Revision of the last change of the key.
    """

    key: str
    value: bytes
    revision: int


@attrs.frozen
class Listing:
    """All entries under a prefix at one moment.

    Attributes:
        entries: The entries, sorted by key.
        revision: Revision of the store at that moment. A watch from this revision on
            continues exactly where the listing ends.
    """

    entries: tuple[Entry, ...]
    revision: int


@attrs.frozen
class StoreEvent:
    """One change of one key.

    Attributes:
        key: The key.
        value: The new value, or `None` if the key was deleted.
        revision: Revision of the change; for a deletion that was found out by looking
            again, that of the store at this look.
    """

    key: str
    value: bytes | None
    revision: int


class WatchCompacted(Exception):
    """The changes a watch asked for are no longer known: list again, then watch."""


class Lease(Protocol):
    """Life of the keys put under it; kept alive by the store that granted it.

    Keeping it alive is no change of its keys: their revisions stay, watches are silent.
    """

    @property
    def ttl(self) -> float:
        """Seconds of silence after which the store deletes the keys."""

    @property
    def lost(self) -> asyncio.Future[str]:
        """Done, with the reason, as soon as the lease can't be counted on any more.

        A holder that can't renew learns it before other nodes see the keys vanish.
        """

    async def revoke(self) -> None:
        """End the lease and delete its keys now. Never raises on a lost lease."""


class Store(Protocol):
    """An asynchronous client of a key-value store with revisions.

    Every method raises `elaunch.errors.RendezvousUnreachable` when the store can't be
    reached within the client's deadline.
    """

    async def get(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""

    async def put(self, key: str, value: bytes, *, lease: Lease | None = None) -> int:
        """Write a key whatever it held, and return its new revision.

        With a lease the key lives as long as the lease; without one it stays.

        Raises:
            RendezvousUnreachable: Also if the lease is lost.
        """

    async def compare_and_set(
        self, key: str, value: bytes, *, expected: int, lease: Lease | None = None
    ) -> int | None:
        """Write a key if its revision is ``expected``.

        Args:
            key: The key.
            value: The new value.
            expected: Revision the key must have; `ABSENT` if it must not exist.
            lease: As for `put`.

        Returns:
            The new revision, or `None` if the key had another revision.
        """

    async def delete(self, key: str, *, expected: int | None = None) -> bool:
        """Delete a key, if ``expected`` is given only at that revision.

        Returns:
            Whether the key was deleted by this call.
        """

    async def list(self, prefix: str) -> Listing:
        """Return all entries whose key begins with ``prefix``."""

    def watch(self, prefix: str, since: int) -> AsyncGenerator[StoreEvent, None]:
        """Yield the changes under ``prefix`` after revision ``since``, in order.

        Survives reconnects without missing a change. Close the generator to end it.
        A store that has no events looks again and again: of several quick changes of
        one key it tells the last.

        Args:
            prefix: The prefix.
            since: Revision of a recent listing by this client whose prefix covers this
                one. A store may know what was there at other revisions, too.

        Raises:
            WatchCompacted: If changes after ``since`` are not known, or no longer.
            RendezvousUnreachable: If the store is lost for good.
        """

    async def lease(self, ttl: float) -> Lease:
        """Grant a lease of ``ttl`` seconds and keep it alive until it is revoked."""

    async def close(self) -> None:
        """Say goodbye: end all leases and watches of this client. Twice is fine."""
