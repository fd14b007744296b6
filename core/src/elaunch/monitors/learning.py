"""A limit that is learned: a multiple of the longest time that was seen. Pure."""

import attrs


LEARNED_FROM = 20
"""How many times of each worker are seen before there is a limit: few tell little."""


@attrs.define(eq=False)
class Learned:
    """The longest of some times, and the limit that follows.

    Attributes:
        factor: How many times the longest the limit is.
        floor: Seconds that it has at least.
        longest: Seconds of the longest.
        wanted: How many are seen before there is a limit.
    """

    factor: float
    floor: float
    longest: float = 0.0
    wanted: int = LEARNED_FROM
    _seen: int = attrs.field(default=0, init=False)

    def see(self, seconds: float) -> None:
        """Take a time into account."""
        self._seen += 1
        self.longest = max(self.longest, seconds)

    @property
    def limit(self) -> float | None:
        """The limit in seconds; `None` while too few were seen."""
        if self._seen < self.wanted:
            return None
        return max(self.floor, self.factor * self.longest)

    def __str__(self) -> str:
        """How the limit came about."""
        if self.floor > self.factor * self.longest:
            return f"learned: at least {self.floor:g} s"
        return f"learned: {self.factor:g} times the longest of {self.longest:.1f} s"
