"""Events as torchelastic has them: its classes, its functions, and its JSON."""

import enum
import inspect
import json
import logging
import os
import socket
import traceback
from pathlib import Path
from typing import Any

import attrs

from elaunch.errors import UsageError
from elaunch.text import quoted, suggestion


EventMetadataValue = str | int | float | bool | None

PREFIX = "torchelastic.worker.status."
"""What the name of an event of agents or workers begins with; its state follows."""


class EventSource(enum.StrEnum):
    """Who an event is about."""

    AGENT = "AGENT"
    WORKER = "WORKER"


class NodeState(enum.StrEnum):
    """How a node stands in the rendezvous."""

    INIT = "INIT"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


@attrs.define
class Event:
    """One event of an agent or a worker.

    Attributes:
        name: What happened.
        source: Who it is about.
        timestamp: Unix time in milliseconds; 0 if nobody noted it.
        metadata: Facts.
    """

    name: str
    source: EventSource
    timestamp: int = 0
    metadata: dict[str, EventMetadataValue] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return self.serialize()

    def serialize(self) -> str:
        """Return it as JSON."""
        return json.dumps(attrs.asdict(self))

    @staticmethod
    def deserialize(data: "str | Event") -> "Event":
        """Return an event from its JSON; an event is returned as it is."""
        if isinstance(data, Event):
            return data
        facts = json.loads(data)
        return Event(**facts | {"source": EventSource[facts["source"]]})


@attrs.define
class RdzvEvent:
    """One event of a rendezvous.

    Attributes:
        name: What was being done.
        run_id: Id of the job.
        message: What happened.
        hostname: Host of the node.
        pid: Process of the node.
        node_state: How the node stands.
        master_endpoint: Where the store of the rendezvous is, if known.
        rank: Group rank of the node, if known.
        local_id: Number of the node within its process, if known.
        error_trace: Where the error came from, if this is one.
    """

    name: str
    run_id: str
    message: str
    hostname: str
    pid: int
    node_state: NodeState
    master_endpoint: str = ""
    rank: int | None = None
    local_id: int | None = None
    error_trace: str = ""

    def __str__(self) -> str:
        return self.serialize()

    def serialize(self) -> str:
        """Return it as JSON."""
        return json.dumps(attrs.asdict(self))

    @staticmethod
    def deserialize(data: "str | RdzvEvent") -> "RdzvEvent":
        """Return an event from its JSON; an event is returned as it is."""
        if isinstance(data, RdzvEvent):
            return data
        facts = json.loads(data)
        return RdzvEvent(**facts | {"node_state": NodeState[facts["node_state"]]})


_HANDLERS: dict[str, logging.Handler] = {
    "console": logging.StreamHandler(),
    "dynamic_rendezvous": logging.NullHandler(),
    "null": logging.NullHandler(),
}
_known_loggers: dict[str, logging.Logger] = {}


def get_logging_handler(destination: str = "null") -> logging.Handler:
    """Return who keeps the events of a destination.

    Raises:
        UsageError: If there is no such destination.
    """
    try:
        return _HANDLERS[destination]
    except KeyError:
        raise UsageError(
            f"there is no destination {destination!r} for events"
            f"{suggestion(destination, _HANDLERS)} (destinations: {quoted(_HANDLERS)})"
        ) from None


def get_logger(destination: str = "null") -> logging.Logger:
    """Return the logger of a destination, with its handler.

    It is called ``torchelastic-events-<destination>`` and tells no other logger; what
    else should keep its events is added to it as a handler. Its level is that of
    the variable ``LOGLEVEL``, or INFO where it names none.

    Raises:
        UsageError: If there is no such destination.
    """
    if destination not in _known_loggers:
        handler = get_logging_handler(destination)
        found = logging.getLogger(f"torchelastic-events-{destination}")
        level = os.environ.get("LOGLEVEL", "").upper()
        found.setLevel(logging.getLevelNamesMapping().get(level, logging.INFO))
        found.propagate = False
        found.addHandler(handler)
        _known_loggers[destination] = found
    return _known_loggers[destination]


def record(event: Event, destination: str = "null") -> None:
    """Record an event.

    Raises:
        UsageError: If there is no such destination.
    """
    get_logger(destination).info(event.serialize())


def record_rdzv_event(event: RdzvEvent) -> None:
    """Record an event of a rendezvous, at the destination ``dynamic_rendezvous``."""
    get_logger("dynamic_rendezvous").info(event.serialize())


def construct_and_record_rdzv_event(  # noqa: PLR0913, PLR0917 - torchelastic's signature
    run_id: str,
    message: str,
    node_state: NodeState,
    name: str = "",
    hostname: str = "",
    pid: int | None = None,
    master_endpoint: str = "",
    local_id: int | None = None,
    rank: int | None = None,
) -> None:
    """Record an event of a rendezvous if anybody keeps those.

    Args:
        run_id: Id of the job.
        message: What happened.
        node_state: How the node stands; with FAILED the current traceback is added.
        name: What was being done; the calling function by default.
        hostname: Host of the node, by default this one.
        pid: Process of the node, by default this one.
        master_endpoint: Where the store of the rendezvous is, if known.
        local_id: Number of the node within its process, if known.
        rank: Group rank of the node, if known.
    """
    if not anybody_keeps("dynamic_rendezvous"):
        return
    frame: Any = inspect.currentframe()
    caller = frame.f_back
    file = Path(caller.f_code.co_filename).name if caller else "no_file"
    name = name or (caller.f_code.co_name if caller else "")
    del frame, caller  # they would keep each other alive
    record_rdzv_event(
        RdzvEvent(
            name=f"{file}:{name}",
            run_id=run_id,
            message=message,
            hostname=hostname or socket.gethostname(),
            pid=pid or os.getpid(),
            node_state=node_state,
            master_endpoint=master_endpoint,
            rank=rank,
            local_id=local_id,
            error_trace=traceback.format_exc() if node_state == "FAILED" else "",
        )
    )


def anybody_keeps(destination: str) -> bool:
    """Whether a handler other than one that drops all keeps a destination's events."""
    handlers = get_logger(destination).handlers
    return not all(isinstance(handler, logging.NullHandler) for handler in handlers)
