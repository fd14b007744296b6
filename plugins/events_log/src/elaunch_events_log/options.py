"""Options of the recorders; imports nothing heavy."""

import attrs
from attrs import validators


QUEUE = 10_000
"""Events that may wait to be written: some 20 MB, and hours of a job's events."""

_positive = validators.ge(1)
_not_negative = validators.ge(0)
_not_below_zero = validators.ge(0.0)


def _lower(level: str) -> str:
    return level.lower()


@attrs.frozen
class ConsoleOptions:
    """Options of the recorder ``console``.

    Attributes:
        format: ``text`` for people, ``json`` or ``torchelastic``.
    """

    format: str = attrs.field(
        default="text", validator=validators.in_(("text", "json", "torchelastic"))
    )


@attrs.frozen
class JsonlOptions:
    """Options of the recorder ``jsonl``.

    Attributes:
        path: File to append to; ``{run_id}``, ``{host}``, ``{agent}`` and ``{pid}`` in
            it are replaced.
        format: ``json``, or ``torchelastic`` for what that would record.
        max_bytes: Bytes of a full file, after which another is begun; 0 for no limit.
        max_age: Seconds after which a file counts as full; 0 for no limit.
        backups: How many full files are kept.
        flush: Seconds that events may wait for others to be written with.
        sync: Whether each write is on the disk before the next.
        queue: How many events may wait to be written.
    """

    path: str = attrs.field(
        default="elaunch-events.jsonl", validator=validators.min_len(1)
    )
    format: str = attrs.field(
        default="json", validator=validators.in_(("json", "torchelastic"))
    )
    max_bytes: int = attrs.field(default=0, validator=_not_negative)
    max_age: float = attrs.field(default=0.0, validator=_not_below_zero)
    backups: int = attrs.field(default=5, validator=_positive)
    flush: float = attrs.field(default=0.0, validator=_not_below_zero)
    sync: bool = False
    queue: int = attrs.field(default=QUEUE, validator=_positive)


@attrs.frozen
class LoggingOptions:
    """Options of the recorder ``logging``.

    Attributes:
        logger: Name of the logger.
        level: Level of its records.
        format: ``text`` for people, ``json`` or ``torchelastic``.
        queue: How many events may wait for its handlers.
    """

    logger: str = attrs.field(default="elaunch.events", validator=validators.min_len(1))
    level: str = attrs.field(
        default="info",
        converter=_lower,
        validator=validators.in_(("debug", "info", "warning", "error", "critical")),
    )
    format: str = attrs.field(
        default="text", validator=validators.in_(("text", "json", "torchelastic"))
    )
    queue: int = attrs.field(default=QUEUE, validator=_positive)


@attrs.frozen
class TorchelasticOptions:
    """Options of the recorder ``torchelastic``.

    Attributes:
        destination: ``null``, ``console`` or ``dynamic_rendezvous``.
        queue: How many events may wait for its handlers.
    """

    destination: str = "null"
    queue: int = attrs.field(default=QUEUE, validator=_positive)
