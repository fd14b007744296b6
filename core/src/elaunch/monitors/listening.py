"""From the feed of messages to whoever watches: none of a start is missed."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterator

from elaunch.api import Feed, WorkerMessage


KEPT = 10_000
"""Messages that are kept until somebody watches; then the oldest go."""


class Listening:
    """Listens to one group after the other.

    Workers that have started may speak before all have, and are watched only then.

    Args:
        messages: What they say.
    """

    def __init__(self, messages: Feed[WorkerMessage]) -> None:
        self._messages = messages
        self._early: deque[WorkerMessage] = deque(maxlen=KEPT)
        self._end: Callable[[], object] = bool

    def begin(self) -> None:
        """Keep what is said from now on: a group is about to start."""
        self._end()
        self._early.clear()
        self._end = self._messages.subscribe(self._early.append)

    def keep(self, message: WorkerMessage) -> None:
        """Keep a message for who listens next."""
        self._early.append(message)

    @contextlib.contextmanager
    def to(self, take: Callable[[WorkerMessage], None]) -> Iterator[None]:
        """Give on what was said since the begin, and what is said in this block."""
        self._end()
        early = tuple(self._early)
        self._early.clear()
        self._end = self._messages.subscribe(take)
        for message in early:
            take(message)
        try:
            yield
        finally:
            self._end()
