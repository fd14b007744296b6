"""What a polling store asks of its backend, and how it keeps things there.

A backend holds two kinds of keys: ``key:`` and a user's key, with the lease that the
key lives by in front of the value; ``lease:`` and an id, with the time to live.
"""

import abc

import attrs

from elaunch.errors import RendezvousCorrupt
from elaunch.store import Entry, Listing


KEYS = "key:"
LEASES = "lease:"


class Backend(abc.ABC):
    """Keys with bytes and revisions, without watches and leases.

    Every write of a key gives it a revision greater than any before it, whatever the
    key. Every method raises `elaunch.errors.RendezvousUnreachable` if the backend can't
    be reached within a deadline of its own, and after `disconnect`; whether a write was
    carried out may then be unknown.
    """

    @abc.abstractmethod
    async def read(self, key: str) -> Entry | None:
        """Return the entry of a key, or `None`."""

    @abc.abstractmethod
    async def write(self, key: str, value: bytes, expected: int | None) -> int | None:
        """Write a key if it is at a revision, in one step for all clients.

        Args:
            key: The key.
            value: The new value.
            expected: Revision the key must have; `ABSENT` if it must not exist; `None`
                if it may be anything.

        Returns:
            The new revision, or `None` if the key had another revision.
        """

    @abc.abstractmethod
    async def remove(self, key: str, expected: int | None) -> bool:
        """Remove a key if it is at a revision, in one step for all clients.

        That is a change, too: it takes a revision of its own.

        Args:
            key: The key.
            expected: Revision the key must have, or `None` if it may be any.

        Returns:
            Whether this call removed it.
        """

    @abc.abstractmethod
    async def scan(self, prefix: str) -> Listing:
        """Return all entries under a prefix, sorted by key, as of one moment.

        Its revision is that of the last change of any key; 0 before the first.
        """

    @abc.abstractmethod
    async def disconnect(self) -> None:
        """Release what the client holds. Called once."""


@attrs.frozen
class Kept:
    """A user's entry as it is kept.

    Attributes:
        entry: The entry as the user sees it.
        lease: Id of the lease it lives by; empty for none.
    """

    entry: Entry
    lease: str

    @classmethod
    def read(cls, raw: Entry) -> "Kept":
        """Take a backend's entry apart.

        Raises:
            RendezvousCorrupt: If no polling store wrote it.
        """
        lease, newline, value = raw.value.partition(b"\n")
        if not newline:
            raise RendezvousCorrupt(f"{raw.key!r} was not written by a polling store")
        entry = Entry(raw.key.removeprefix(KEYS), value, raw.revision)
        return cls(entry, lease.decode(errors="replace"))


def wrap(value: bytes, lease: str) -> bytes:
    """Put the lease in front of a value: an id has no line break, a value may."""
    return lease.encode() + b"\n" + value


def ttl_of(record: Entry) -> float:
    """Return the time to live that a lease's record tells.

    Raises:
        RendezvousCorrupt: If it tells none.
    """
    try:
        return float(record.value)
    except ValueError:
        raise RendezvousCorrupt(f"{record.key!r} holds no time to live") from None
