"""Moments: what a stimulus can wait for instead of a time.

Some faults matter in one short moment only, between two writes of a job, which a time
that is drawn hits seldom.
"""

from collections.abc import Callable

import attrs

from elaunch.api import Keyspace, StoreEvent
from elaunch.membership.records import JobRecord, Keys, NodeRecord, decode
from elaunch.testing.simulation.scenario import COORDINATOR, WHOSE, Stimulus


@attrs.define(eq=False)
class Moments:
    """The stimuli that wait for a change in the store.

    Attributes:
        on_moment: Told of each whose moment has come; its node is a node's name, or
            `COORDINATOR`.
    """

    on_moment: Callable[[Stimulus], None] = attrs.field(
        default=lambda _: None, init=False
    )
    _keys: Keys = attrs.field(factory=lambda: Keys("job"), init=False)
    _keyspace: Keyspace | None = attrs.field(default=None, init=False)
    _waiting: list[Stimulus] = attrs.field(factory=list, init=False)

    def watch(self, keyspace: Keyspace) -> None:
        """Look at what changes in a store."""
        if keyspace is not self._keyspace:
            self._keyspace = keyspace
            keyspace.subscribe(self._keys.root, keyspace.revision, self._changed)

    def wait(self, stimulus: Stimulus) -> None:
        """Keep a stimulus for the next moment of its kind."""
        self._waiting.append(stimulus)

    def give_up(self) -> None:
        """Forget the stimuli whose moments did not come."""
        self._waiting.clear()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def _changed(self, event: StoreEvent) -> None:
        moment, name = self._moment(event)
        due = [stimulus for stimulus in self._waiting if stimulus.upon == moment]
        for stimulus in due:
            self._waiting.remove(stimulus)
            whose = stimulus.node == WHOSE
            self.on_moment(attrs.evolve(stimulus, node=name) if whose else stimulus)

    def _moment(self, event: StoreEvent) -> tuple[str, str]:
        """Return which moment a change is, and of which node."""
        key, value, keys = event.key, event.value, self._keys
        if key.startswith(keys.nodes):
            name = _host(key.removeprefix(keys.nodes))
            if value is None:
                return "gone", name
            return str(decode(NodeRecord, key, value).phase), name
        if key.startswith(keys.assignments):
            return "assigned" if value else "", _host(
                key.removeprefix(keys.assignments)
            )
        if key == keys.state and value:
            return str(decode(JobRecord, key, value).phase), COORDINATOR
        if key == keys.coordinator:
            return "claimed" if value else "vacant", COORDINATOR
        published = value and key.startswith(f"{keys.job}bootstrap/")
        return "published" if published else "", COORDINATOR


def _host(node_id: str) -> str:
    return node_id.rpartition("-")[0]
