"""Which workers of a node hold up the growth of its job, and for how long. Pure."""

import itertools
import math
from collections.abc import Callable, Iterator

import attrs

from elaunch.vitals import ScalingHold


@attrs.define(eq=False, repr=False)
class Holds:
    """The holds of one group of workers after the other; each worker has one at most.

    Whoever asks again while it has one makes that last as long as is asked for now. A
    hold that begins after the end of another one has another number.
    """

    _ends: dict[int, float] = attrs.field(factory=dict, init=False)
    _numbers: dict[int, int] = attrs.field(factory=dict, init=False)
    _next: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)

    @property
    def next_end(self) -> float:
        """When the next one runs out; infinity if there is none."""
        return min(self._ends.values(), default=math.inf)

    def begin(self, local_rank: int, seconds: float, now: float) -> bool:
        """Let a worker hold from now on; tell whether it did not before."""
        fresh = self._ends.get(local_rank, -math.inf) <= now
        if fresh:
            self._numbers[local_rank] = next(self._next)
        self._ends[local_rank] = now + seconds
        return fresh

    def end(self, local_rank: int) -> bool:
        """Let a worker hold no more; tell whether it did."""
        return self._ends.pop(local_rank, None) is not None

    def clear(self) -> None:
        """Forget those of a group that is gone."""
        self._ends.clear()

    def told(self, now: float, rank: Callable[[int], int]) -> tuple[ScalingHold, ...]:
        """Return those that last, and forget the others.

        Args:
            now: When.
            rank: Gives the global rank of a local one.
        """
        over = [local_rank for local_rank, end in self._ends.items() if end <= now]
        for local_rank in over:
            del self._ends[local_rank]
        return tuple(
            ScalingHold(
                rank=rank(local_rank),
                number=self._numbers[local_rank],
                seconds=end - now,
            )
            for local_rank, end in self._ends.items()
        )
