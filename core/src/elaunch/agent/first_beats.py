"""When each worker is heard of for the first time: its start is over then."""

from collections.abc import Callable, Sequence

import attrs

from elaunch.events import EventName, Record
from elaunch.feed import Feed
from elaunch.worker_message import MessageKind, WorkerMessage
from elaunch.workers import WorkerSpec


@attrs.define(eq=False)
class FirstBeats:
    """Records the first heartbeat of each worker, of one group after the other.

    Attributes:
        messages: What workers tell.
        record: Told of each first heartbeat.
    """

    messages: Feed[WorkerMessage]
    record: Record
    _ranks: dict[int, int] = attrs.field(factory=dict, init=False)
    _early: list[WorkerMessage] = attrs.field(factory=list, init=False)
    _running: bool = attrs.field(default=False, init=False)
    _end: Callable[[], object] = attrs.field(default=bool, init=False)

    def begin(self, specs: Sequence[WorkerSpec]) -> None:
        """Listen: workers are about to start."""
        self.end()
        self._ranks = {spec.ranks.local_rank: spec.ranks.rank for spec in specs}
        self._end = self.messages.subscribe(self._take)

    def started(self) -> None:
        """All run; what some said before is recorded after that."""
        self._running = True
        early, self._early = self._early, []
        for message in early:
            self._tell(message)

    def end(self) -> None:
        """Listen no more. Twice is fine."""
        self._end()
        self._early, self._running = [], False

    def _take(self, message: WorkerMessage) -> None:
        if message.kind is not MessageKind.HEARTBEAT:
            return
        if self._running:
            self._tell(message)
        elif all(message.local_rank != each.local_rank for each in self._early):
            self._early.append(message)

    def _tell(self, message: WorkerMessage) -> None:
        rank = self._ranks.pop(message.local_rank, None)
        if rank is not None:
            self.record(
                EventName.WORKER_FIRST_HEARTBEAT,
                rank=rank,
                local_rank=message.local_rank,
                step=message.step,
            )
        if not self._ranks:
            self._end()
