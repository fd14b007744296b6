"""The law of notices: every member of a generation hears of each, and of each once."""

from collections import defaultdict
from collections.abc import Callable, Mapping

import attrs

from elaunch.api import Notice, StoreEvent
from elaunch.membership.records import NoticeRecord, decode
from elaunch.testing.simulation.workers import SimulatedGroup


Key = tuple[int, int, int]
"""A generation among all: its store, how often the job began there, its number."""


@attrs.define(eq=False)
class NoticeLaws:
    """Watches what workers are told.

    Attributes:
        require: Told of what must hold, and what to say if it does not.
    """

    require: Callable[[bool, str], None]
    _announced: dict[Key, Notice] = attrs.field(factory=dict, init=False)
    _heard: dict[SimulatedGroup, list[Notice]] = attrs.field(
        factory=lambda: defaultdict(list), init=False
    )

    def announced(self, store: int, life: int, event: StoreEvent) -> None:
        """Note what the store tells all nodes."""
        if event.value is not None:
            record = decode(NoticeRecord, event.key, event.value)
            self._announced[store, life, record.generation] = record.notice

    def heard(self, name: str, group: SimulatedGroup, notice: Notice) -> None:
        """Nobody hears of the same notice twice."""
        known = self._heard[group]
        self.require(
            not any(notice.is_about(other) for other in known),
            f"workers of {name} are told twice of the notice from {notice.host}",
        )
        known.append(notice)

    def check(self, running: Mapping[SimulatedGroup, tuple[str, Key]]) -> None:
        """Whoever is still there has heard of the last notice to its generation."""
        for group, (name, key) in running.items():
            last = self._announced.get(key)
            self.require(
                last is None or any(last.is_about(n) for n in self._heard[group]),
                f"workers of {name} were not told of a notice to generation {key}",
            )
