"""What an agent has told so far, as far as somebody may ask for it."""

import threading
from collections import Counter, deque
from typing import NamedTuple

from elaunch.events import Event, EventName
from elaunch.worker_message import MessageKind, WorkerMessage


LATEST = 8
"""How many of the latest findings, generations and the like are kept."""

ENDINGS = frozenset(
    {
        EventName.WORKER_SUCCEEDED,
        EventName.WORKER_FAILED,
        EventName.WORKER_TERMINATED,
        EventName.WORKER_PREEMPTED,
    }
)

_SERIES = frozenset(
    {
        EventName.GENERATION_JOINED,
        EventName.MONITOR_FINDING,
        EventName.POLICY_DECIDED,
        EventName.CONTROL_REQUEST,
    }
)
"""Events of which the latest few are kept."""


class Contents(NamedTuple):
    """What stands in the book.

    Attributes:
        latest: The last event of each name.
        series: The latest few of some names, in order.
        counts: How many there were of each name.
        findings: How many findings of a monitor and a severity there were.
        started: The start of each worker of the last group, by local rank.
        ended: The end of those that have ended, likewise.
        beats: The last heartbeat of each worker, likewise.
        progress: The farthest marker that a worker has told.
    """

    latest: dict[str, Event]
    series: dict[str, tuple[Event, ...]]
    counts: dict[str, int]
    findings: dict[tuple[str, str], int]
    started: dict[int, Event]
    ended: dict[int, Event]
    beats: dict[int, WorkerMessage]
    progress: float | None


class Book:
    """Keeps events and messages of workers; see `elaunch.events.EventRecorder`.

    It is written on the agent's loop and read in other threads, and does not grow with
    time. What it means is found out only when somebody asks.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[str, Event] = {}
        self._series: dict[str, deque[Event]] = {
            name: deque(maxlen=LATEST) for name in _SERIES
        }
        self._counts: Counter[str] = Counter()
        self._findings: Counter[tuple[str, str]] = Counter()
        self._started: dict[int, Event] = {}
        self._ended: dict[int, Event] = {}
        self._beats: dict[int, WorkerMessage] = {}
        self._progress: float | None = None

    def record(self, event: Event) -> None:
        """Take note of what has happened."""
        name, facts = event.name, event.metadata
        with self._lock:
            self._latest[name] = event
            self._counts[name] += 1
            if name in self._series:
                self._series[name].append(event)
            if name == EventName.WORKER_STARTED:
                self._started[int(str(facts["local_rank"]))] = event
            elif name in ENDINGS:
                self._ended[int(str(facts["local_rank"]))] = event
            elif name == EventName.GENERATION_JOINED:
                self._started, self._ended, self._beats = {}, {}, {}
            elif name == EventName.MONITOR_FINDING:
                self._findings[str(facts["monitor"]), str(facts["severity"])] += 1

    def hear(self, message: WorkerMessage) -> None:
        """Take note of what a worker tells."""
        with self._lock:
            if message.kind is MessageKind.HEARTBEAT:
                self._beats[message.local_rank] = message
            elif message.kind is MessageKind.PROGRESS and message.marker is not None:
                before = self._progress
                if before is None or message.marker > before:
                    self._progress = message.marker

    def close(self) -> None:
        """Nothing is held."""

    def read(self) -> Contents:
        """Return what stands in it now."""
        with self._lock:
            return Contents(
                latest=dict(self._latest),
                series={name: tuple(kept) for name, kept in self._series.items()},
                counts=dict(self._counts),
                findings=dict(self._findings),
                started=dict(self._started),
                ended=dict(self._ended),
                beats=dict(self._beats),
                progress=self._progress,
            )
