"""Events: what happened, when, to whom; and the port of those who keep them."""

import enum
import socket
import time
from collections.abc import Mapping
from typing import Protocol

import attrs

from elaunch.encodable import all_encodable
from elaunch.provider import Provider


SCHEMA = 1
"""Version of the event schema; it grows when a field changes its meaning."""

Value = str | int | float | bool | None | list[int] | list[str]


class EventName(enum.StrEnum):
    """Every event that the core records. `docs/events.md` tells their fields."""

    AGENT_STARTED = "agent.started"
    AGENT_FINISHED = "agent.finished"
    AGENT_SIGNALLED = "agent.signalled"
    NODE_ADDRESS = "node.address"
    STORE_HOSTED = "store.hosted"
    STORE_CONNECTED = "store.connected"
    STORE_WAITING = "store.waiting"
    STORE_NOTE = "store.note"
    RENDEZVOUS_JOINING = "rendezvous.joining"
    RENDEZVOUS_WAITING = "rendezvous.waiting"
    RENDEZVOUS_COORDINATOR = "rendezvous.coordinator"
    RENDEZVOUS_LOST = "rendezvous.lost"
    RENDEZVOUS_LEFT = "rendezvous.left"
    RENDEZVOUS_LINGERING = "rendezvous.lingering"
    GENERATION_JOINED = "generation.joined"
    GENERATION_SUPERSEDED = "generation.superseded"
    BOOTSTRAP_READY = "bootstrap.ready"
    NOTICE_ANNOUNCED = "notice.announced"
    NOTICE_DELIVERED = "notice.delivered"
    GROUP_STARTED = "group.started"
    GROUP_STOPPING = "group.stopping"
    GROUP_STOPPED = "group.stopped"
    GROUP_SUCCEEDED = "group.succeeded"
    WORKER_STARTED = "worker.started"
    WORKER_SUCCEEDED = "worker.succeeded"
    WORKER_FAILED = "worker.failed"
    WORKER_TERMINATED = "worker.terminated"
    WORKER_PREEMPTED = "worker.preempted"
    MONITOR_FINDING = "monitor.finding"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"


class Source(enum.StrEnum):
    """Who an event is about."""

    AGENT = "AGENT"
    WORKER = "WORKER"


@attrs.frozen(kw_only=True)
class Event:
    """One thing that happened.

    Attributes:
        name: What happened; one of `EventName`, or a plugin's own dotted name.
        source: Whether it is about the agent or a worker.
        timestamp: Unix time in seconds.
        run_id: Id of the job.
        host: Host that recorded it.
        metadata: Facts; flat, JSON-ready.
        schema: Version of this schema.
    """

    name: str
    run_id: str
    metadata: Mapping[str, Value] = attrs.field(factory=dict, converter=all_encodable)
    source: Source = Source.AGENT
    timestamp: float = attrs.field(factory=time.time)
    host: str = attrs.field(factory=socket.gethostname)
    schema: int = SCHEMA


class EventRecorder(Protocol):
    """Keeps events. One that raises is disabled and the job goes on."""

    def record(self, event: Event) -> None:
        """Accept an event without blocking noticeably.

        Raises:
            ValueError: If the recorder is closed.
        """

    def close(self) -> None:
        """Write what was accepted, then release everything. Twice is fine."""


class Record(Protocol):
    """The callable that parts of the core get to tell what happened."""

    def __call__(self, name: EventName, /, **metadata: Value) -> None:
        """Record one event of the running job."""


def discard(
    name: EventName,
    /,
    **metadata: Value,
) -> None:
    """Record nothing: for users of a port who watch no events."""


@attrs.frozen
class RecorderParameters:
    """What every event recorder is built with.

    Attributes:
        run_id: Id of the job.
    """

    run_id: str


EventRecorderProvider = Provider[RecorderParameters, EventRecorder]
