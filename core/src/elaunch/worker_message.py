"""What a worker tells its agent, and what it writes, as the agent's parts get it."""

import enum
from collections.abc import Mapping

import attrs


class MessageKind(enum.StrEnum):
    """The kinds of messages, by their names on the wire."""

    HEARTBEAT = "heartbeat"
    """The worker goes on; a step may be over."""
    SECTION = "section"
    """A section, or a block with a deadline, begins."""
    SECTION_END = "section_end"
    """It is over."""
    PROGRESS = "progress"
    """The job has come so far that a restart begins there."""
    NO_RESTART = "no_restart"
    """No restart can help: the next failure is to end the job."""
    EXCLUDE_NODE = "exclude_node"
    """This worker's node is to be left out."""
    HOLD_SCALING = "hold_scaling"
    """The job is to form anew for no nodes that join, for a while."""
    RELEASE_SCALING = "release_scaling"
    """It may do so again."""


Scalar = str | int | float | bool | None


@attrs.frozen(kw_only=True)
class WorkerMessage:
    """One message of one worker.

    Attributes:
        local_rank: Who sent it.
        kind: What it is.
        time: When it was read, on the clock of the agent's loop.
        step: Number of the step that is over, for ``HEARTBEAT``; `None` if not told.
        step_time: Seconds that it took, likewise.
        values: Whatever else a heartbeat tells, for people and metrics.
        name: Name of a section; empty for a block that has a deadline alone.
        token: Tells a section from others of its name in the same process: that of
            its beginning is that of its end.
        pid: The process that has the section.
        limit: Seconds that the section may take; `None` if the worker sets no limit.
            For ``HOLD_SCALING`` those for which the job is held up at most.
        marker: How far the job is, for ``PROGRESS``: a number that grows.
        reason: Why, for a request.
    """

    local_rank: int
    kind: MessageKind
    time: float
    step: int | None = None
    step_time: float | None = None
    values: Mapping[str, Scalar] = attrs.field(factory=dict)
    name: str = ""
    token: int = 0
    pid: int = 0
    limit: float | None = None
    marker: float | None = None
    reason: str = ""


@attrs.frozen
class OutputBlock:
    """Something that a worker wrote, as it came: lines may be cut anywhere.

    One without data says that the worker has written no more by now: it comes again and
    again as long as what the worker writes is read, and not while it can't be, because
    a console blocks, say.

    Attributes:
        local_rank: Who wrote it.
        stream: 1 for stdout, 2 for stderr, 3 where both are one terminal.
        data: What.
    """

    local_rank: int
    stream: int
    data: bytes
