"""When a lease is dead: the decision, without clock and without I/O."""

from collections.abc import Mapping

import attrs


LOOKS = 8
"""A lease is dead only after so many looks at it, so none counts for much alone."""


@attrs.frozen
class LeaseState:
    """What a look shows of a lease.

    Attributes:
        revision: Revision of its record. Its holder writes the record again and again,
            so this is the counter that shows it alive.
        ttl: Its time to live.
    """

    revision: int
    ttl: float


@attrs.frozen
class _Silence:
    revision: int
    looked: float
    length: float = 0.0


@attrs.define(eq=False)
class Judge:
    """Judges leases by how long their records stood still on this reader's own clock.

    No clock of another host is compared, and only time between looks that succeeded
    counts: one gap between two looks, however long, counts as an eighth of the time to
    live at most. So an outage of the store, or a pause of the reader, ends no lease.
    """

    _silences: Mapping[str, _Silence] = attrs.field(factory=dict, init=False)

    def look(self, leases: Mapping[str, LeaseState], now: float) -> list[str]:
        """Take note of a look at all leases there are; return those that are dead."""
        self._silences = {
            lease: self._silence(lease, state, now) for lease, state in leases.items()
        }
        return [
            lease
            for lease, silence in self._silences.items()
            if silence.length >= leases[lease].ttl
        ]

    def forgive(self) -> None:
        """Begin anew: the store was in trouble, and its holders may be, too."""
        self._silences = {}

    def _silence(self, lease: str, state: LeaseState, now: float) -> _Silence:
        before = self._silences.get(lease)
        if before is None or before.revision != state.revision:
            return _Silence(state.revision, now)
        passed = min(now - before.looked, state.ttl / LOOKS)
        return _Silence(state.revision, now, before.length + passed)
