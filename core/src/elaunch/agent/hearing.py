"""Requests of workers, as they reach the agent's machine: each of each worker once."""

import time
from collections.abc import Callable

import attrs

from elaunch.agent.messages import Asked
from elaunch.events import EventName, Record
from elaunch.failures import Request
from elaunch.feed import Feed
from elaunch.monitor import WatchedGroup
from elaunch.worker_message import MessageKind, WorkerMessage


REQUESTS = {
    MessageKind.NO_RESTART: Request.NO_RESTART,
    MessageKind.EXCLUDE_NODE: Request.EXCLUDE_NODE,
}


@attrs.define(eq=False, repr=False)
class Requests:
    """Hears the requests of one group after the other.

    Attributes:
        messages: What workers tell.
        record: Told of each request.
        feed: Given each request.
        clock: Tells the time in Unix seconds.
    """

    messages: Feed[WorkerMessage]
    record: Record
    feed: Callable[[Asked], None]
    clock: Callable[[], float] = time.time
    _group: WatchedGroup = attrs.field(factory=lambda: WatchedGroup(pids={}))
    _heard: set[tuple[int, MessageKind]] = attrs.field(factory=set, init=False)
    _end: Callable[[], object] = attrs.field(default=bool, init=False)

    def begin(self, group: WatchedGroup) -> None:
        """Listen to a group whose start the machine knows of."""
        self.end()
        self._group, self._heard = group, set()
        self._end = self.messages.subscribe(self._take)

    def end(self) -> None:
        """Listen no more. Twice is fine."""
        self._end()

    def _take(self, message: WorkerMessage) -> None:
        request = REQUESTS.get(message.kind)
        rank = message.local_rank
        if request is None or (rank, message.kind) in self._heard:
            return
        self._heard.add((rank, message.kind))
        pid = self._group.pids.get(rank, 0)
        self.record(
            EventName.WORKER_REQUEST,
            rank=self._group.rank(rank),
            local_rank=rank,
            pid=pid,
            request=request.value,
            reason=message.reason,
        )
        self.feed(
            Asked(
                request=request,
                local_rank=rank,
                pid=pid,
                timestamp=self.clock(),
                reason=message.reason,
            )
        )
