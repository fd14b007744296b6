"""When each worker is heard of for the first time: its start is over then."""

from collections.abc import Callable, Sequence

import attrs

from elaunch.events import EventName, Record
from elaunch.feed import Feed
from elaunch.worker_message import MessageKind, WorkerMessage
from elaunch.workers import WorkerSpec


@attrs.define(eq=False, repr=False)
class FirstBeats:
    """Records the first heartbeat of each worker, of one group after the other.

    Attributes:
        messages: What workers tell.
        record: Told of each first heartbeat.
    """

    messages: Feed[WorkerMessage]
    record: Record
    _ranks: dict[int, int] = attrs.field(factory=dict, init=False)
    _end: Callable[[], object] = attrs.field(default=bool, init=False)

    def begin(self, specs: Sequence[WorkerSpec]) -> None:
        """Listen to workers that have started."""
        self.end()
        self._ranks = {spec.ranks.local_rank: spec.ranks.rank for spec in specs}
        self._end = self.messages.subscribe(self._take)

    def end(self) -> None:
        """Listen no more. Twice is fine."""
        self._end()

    def _take(self, message: WorkerMessage) -> None:
        if message.kind is not MessageKind.HEARTBEAT:
            return
        rank = self._ranks.pop(message.local_rank, None)
        if rank is not None:
            self.record(
                EventName.WORKER_FIRST_HEARTBEAT,
                rank=rank,
                local_rank=message.local_rank,
                step=message.step,
            )
        if not self._ranks:
            self.end()
