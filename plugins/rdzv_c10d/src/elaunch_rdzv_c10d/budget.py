"""How many bytes a store may hold, whoever sends them."""

from collections.abc import Collection
from typing import Protocol

import attrs


MAX_BYTES = 1 << 30
"""Most bytes that a store holds unless it is told otherwise: 1 GiB."""


FREE = 16 * 1024
"""Bytes that a client may have under way uncounted: most never have more."""


ITEM = 50
"""Bytes that a piece of memory takes beside those that it holds, about."""


def cost_of(items: Collection[bytes], each: int = ITEM) -> int:
    """Return how many bytes these take in memory, ``each`` of them besides, about."""
    return sum(map(len, items)) + each * len(items)


class StoreFullError(Exception):
    """There is no room in the store for what was sent."""


class Debtor(Protocol):
    """Who holds bytes that the store has not taken, or that its client has not."""

    def drop(self) -> None:
        """Let go of them, and of the client."""


@attrs.define(eq=False, repr=False)
class Budget:
    """Bytes of one store: those that it keeps and those that are on their way.

    Nobody can be told to wait, since a client of the protocol has no deadline of its
    own. When there is no room, the client that has had bytes under way for the longest
    is dropped: one that sends half a request, or reads no reply, does not push out
    those who finish what they begin.

    Attributes:
        limit: Most bytes, all together.
    """

    limit: int = MAX_BYTES
    _kept: int = attrs.field(default=0, init=False)
    # Those who have had bytes under way for the longest come first.
    _under_way: dict[Debtor, int] = attrs.field(factory=dict, init=False)
    _total: int = attrs.field(default=0, init=False)

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._kept + self._total

    def store(self, change: int) -> None:
        """Count what the store keeps from now on, or no longer if it is negative.

        Raises:
            StoreFullError: If there is no room even without what is under way. Nothing
                is counted.
        """
        while self._kept + change + self._total > self.limit and change > 0:
            if not self._under_way:
                raise StoreFullError(
                    f"the store holds {self._kept} bytes, its limit is {self.limit}"
                )
            self._drop_first()
        self._kept += change

    def owe(self, debtor: Debtor, count: int) -> None:
        """Count the bytes that one client has under way now, if more than `FREE`."""
        self._total -= self._under_way.get(debtor, 0)
        if count <= FREE:
            self._under_way.pop(debtor, None)
            return
        self._total += count
        self._under_way[debtor] = count
        while self._kept + self._total > self.limit and self._under_way:
            self._drop_first()

    def _drop_first(self) -> None:
        debtor = next(iter(self._under_way))
        self._total -= self._under_way.pop(debtor)
        debtor.drop()
