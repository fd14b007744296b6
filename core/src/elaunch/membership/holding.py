"""Workers that put off a scaling, as a coordinator knows of them. Pure.

A scaling that is due waits for each worker that holds it up until that one has released
it once: whoever holds from one checkpoint to the next lets nodes in at the next one,
however soon it holds again. So nobody needs to see the moment in between.
"""

from collections.abc import Iterable, Mapping, Sequence

import attrs


NAMED = 8
"""How many workers that hold up a scaling are named; the others are counted."""

WorkerKey = tuple[str, int]
"""A worker: its node, and its global rank."""


@attrs.frozen
class Hold:
    """One worker's hold.

    Attributes:
        worker: Who it is.
        number: Tells it from those of this worker before and after it.
        until: When it runs out.
    """

    worker: WorkerKey
    number: int
    until: float


@attrs.frozen
class HeldRecord:
    """What those that wait are told of it.

    Attributes:
        generation: The generation that runs.
        by: Some of the workers, and how many there are more.
        seconds: For how long at most, from when this was written.
    """

    generation: int
    by: tuple[str, ...]
    seconds: float


@attrs.define(eq=False, repr=False)
class PutOff:
    """A scaling that is due and put off.

    Attributes:
        since: When it was first; `None` if there is none.
        met: The number of each worker's hold that it has met.
    """

    since: float | None = None
    met: dict[WorkerKey, int] = attrs.field(factory=dict)

    def note(self, held: Sequence[Hold], now: float) -> bool:
        """Note who holds it up now, if anybody; tell whether somebody does at last."""
        if not held:
            self.forget()
            return False
        for hold in held:
            self.met.setdefault(hold.worker, hold.number)
        begins = self.since is None
        self.since = now if self.since is None else self.since
        return begins

    def forget(self) -> None:
        """Note that it is over."""
        self.since = None
        self.met.clear()


def in_force(
    holds: Iterable[Hold], met: Mapping[WorkerKey, int], limit: float, now: float
) -> tuple[Hold, ...]:
    """Return the holds that count for a scaling that is due, none longer than it does.

    Args:
        holds: Those that workers have.
        met: The number of each worker's hold that the scaling has met before.
        limit: When it waits for nobody any more.
        now: Time on the same clock.
    """
    return tuple(
        attrs.evolve(hold, until=min(hold.until, limit))
        for hold in holds
        if now < min(hold.until, limit)
        and met.get(hold.worker, hold.number) == hold.number
    )


def holders(held: Sequence[Hold], hosts: Mapping[str, str]) -> tuple[str, ...]:
    """Name those who hold, for people; ``hosts`` has the host of each node."""
    workers = sorted((hold.worker[1], hosts[hold.worker[0]]) for hold in held)
    named = [f"rank {rank} on {host!r}" for rank, host in workers[:NAMED]]
    more = len(workers) - len(named)
    return (*named, f"{more} more") if more else tuple(named)
