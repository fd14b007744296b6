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
    PREFLIGHT_PASSED = "preflight.passed"
    PREFLIGHT_FAILED = "preflight.failed"
    RENDEZVOUS_JOINING = "rendezvous.joining"
    RENDEZVOUS_WAITING = "rendezvous.waiting"
    RENDEZVOUS_COORDINATOR = "rendezvous.coordinator"
    RENDEZVOUS_FAILED = "rendezvous.failed"
    RENDEZVOUS_LOST = "rendezvous.lost"
    RENDEZVOUS_LEFT = "rendezvous.left"
    RENDEZVOUS_LINGERING = "rendezvous.lingering"
    SCALING_HELD = "scaling.held"
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
    WORKER_FIRST_HEARTBEAT = "worker.first_heartbeat"
    WORKER_PROGRESS = "worker.progress"
    WORKER_REQUEST = "worker.request"
    WORKER_SUCCEEDED = "worker.succeeded"
    WORKER_FAILED = "worker.failed"
    WORKER_TERMINATED = "worker.terminated"
    WORKER_PREEMPTED = "worker.preempted"
    MONITOR_FINDING = "monitor.finding"
    STRAGGLER_REPORT = "straggler.report"
    CONTROL_REQUEST = "control.request"
    WATCHDOG_STARTED = "watchdog.started"
    WATCHDOG_STOPPED = "watchdog.stopped"
    TIMER_EXPIRED = "timer.expired"
    TIMER_KILLED = "timer.killed"
    POLICY_DECIDED = "policy.decided"
    JOB_SUCCEEDED = "job.succeeded"
    JOB_FAILED = "job.failed"
    EVENTS_LOST = "events.lost"


TORCHELASTIC_KEYS = (
    *("run_id", "global_rank", "group_rank", "worker_id", "role", "hostname", "state"),
    *("total_run_time", "rdzv_backend", "raw_error", "metadata", "agent_restarts"),
    "duration_ms",
)
"""Keys of torchelastic, in its order; in the metadata of events that it knows, too."""

_SHARED_KEYS = frozenset({"group_rank", "duration_ms"})


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
        agent: Id of the agent that recorded it, another one at each start.
        sequence: Number among the events of that agent, from 0, without a gap.
        generation: The last generation that the agent was a member of; 0 before.
        metadata: Facts; flat, JSON-ready.
        schema: Version of this schema.
    """

    name: str
    run_id: str
    metadata: Mapping[str, Value] = attrs.field(factory=dict, converter=all_encodable)
    source: Source = Source.AGENT
    timestamp: float = attrs.field(factory=time.time)
    host: str = attrs.field(factory=socket.gethostname)
    agent: str = ""
    sequence: int = 0
    generation: int = 0
    schema: int = SCHEMA

    @property
    def facts(self) -> Mapping[str, Value]:
        """The metadata for people: without what is for torchelastic or a replay."""
        if self.name == EventName.POLICY_DECIDED:
            return {k: v for k, v in self.metadata.items() if k != "report"}
        if "state" not in self.metadata:
            return self.metadata
        repeated = set(TORCHELASTIC_KEYS) - _SHARED_KEYS
        told = {k: v for k, v in self.metadata.items() if k not in repeated}
        if told.get("duration_ms", 0) is None:
            del told["duration_ms"]
        return told


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
        agent: Id of the agent.
    """

    run_id: str
    agent: str = ""


EventRecorderProvider = Provider[RecorderParameters, EventRecorder]
