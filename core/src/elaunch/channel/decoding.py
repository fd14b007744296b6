"""From the bytes of a datagram to messages. Pure, and unmoved by whatever comes.

A worker may be anybody's program. What is no message is refused as a whole; what is
too much of something is cut; a kind or a field that is unknown is one of a later
version, and no fault.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from elaunch.encodable import encodable
from elaunch.text import printable
from elaunch.worker_message import MessageKind, Scalar, WorkerMessage


MAX_DATAGRAM = 8 * 1024
"""Bytes of a datagram at most."""

MAX_LINES = 32
"""Messages in a datagram at most."""

MAX_VALUES = 32
"""Values that a heartbeat may tell at most."""

NAME_LIMIT = 128
"""Characters kept of a name."""

TEXT_LIMIT = 256
"""Characters kept of a text among the values."""

REASON_LIMIT = 1000
"""Characters kept of a reason."""

SHOWN = 80
"""Characters of what is malformed that are shown."""

_LARGEST = 2**63


class Malformed(ValueError):
    """What came is no message."""


def decoded(data: bytes, local_rank: int, time: float) -> Iterator[WorkerMessage]:
    """Yield the messages of a datagram; those before a fault are given all the same.

    Args:
        data: What came.
        local_rank: From which worker.
        time: When it was read.

    Raises:
        Malformed: If it is no datagram of messages; tells why in one line.
    """
    if len(data) > MAX_DATAGRAM:
        raise Malformed(f"more than {MAX_DATAGRAM} bytes: {_shown(data)}")
    lines = data.splitlines()
    if len(lines) > MAX_LINES:
        raise Malformed(f"{len(lines)} lines, and {MAX_LINES} are possible")
    for line in filter(None, lines):
        try:
            told = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            raise Malformed(f"no JSON: {_shown(line)} ({error})") from error
        if not isinstance(told, dict):
            raise Malformed(f"no object: {_shown(line)}")
        read = _READERS.get(_text(told, "kind", NAME_LIMIT))
        if read:
            kind, fields = read
            yield WorkerMessage(
                local_rank=local_rank, kind=kind, time=time, **fields(told)
            )


def _heartbeat(told: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if told.get("step") is not None:
        fields["step"] = _whole(told, "step")
    if told.get("step_time") is not None:
        fields["step_time"] = _number(told, "step_time", least=0.0)
    if told.get("values"):
        fields["values"] = _values(told["values"])
    return fields


def _section(told: Mapping[str, Any]) -> dict[str, Any]:
    limit = None
    if told.get("limit") is not None:
        limit = _number(told, "limit", least=0.0)
    return {**_section_end(told), "limit": limit}


def _section_end(told: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": _text(told, "name", NAME_LIMIT),
        "token": _whole(told, "token"),
        "pid": _whole(told, "pid"),
    }


def _progress(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"marker": _number(told, "marker")}


def _hold(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"limit": _number(told, "limit", least=0.0)}


def _release(_: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _request(told: Mapping[str, Any]) -> dict[str, Any]:
    return {"reason": _text(told, "reason", REASON_LIMIT)}


_READERS: Mapping[
    str, tuple[MessageKind, Callable[[Mapping[str, Any]], dict[str, Any]]]
] = {
    kind.value: (kind, read)
    for kind, read in (
        (MessageKind.HEARTBEAT, _heartbeat),
        (MessageKind.SECTION, _section),
        (MessageKind.SECTION_END, _section_end),
        (MessageKind.PROGRESS, _progress),
        (MessageKind.NO_RESTART, _request),
        (MessageKind.EXCLUDE_NODE, _request),
        (MessageKind.HOLD_SCALING, _hold),
        (MessageKind.RELEASE_SCALING, _release),
    )
}
"""What is read of each kind."""


def _text(told: Mapping[str, Any], name: str, limit: int) -> str:
    value = told.get(name, "")
    if not isinstance(value, str):
        raise Malformed(f"{name!r} is no text: {_shown(value)}")
    return _clean(value, limit)


def _whole(told: Mapping[str, Any], name: str) -> int:
    value = told.get(name, 0)
    if type(value) is not int or not -_LARGEST <= value < _LARGEST:
        raise Malformed(f"{name!r} is no number of 64 bits: {_shown(value)}")
    return value


def _number(told: Mapping[str, Any], name: str, least: float = -math.inf) -> float:
    value: Any = told.get(name)
    if type(value) not in (int, float) or not least <= value < math.inf:
        raise Malformed(f"{name!r} is no such number: {_shown(value)}")
    if not -_LARGEST <= value <= _LARGEST:
        raise Malformed(f"{name!r} is too large a number: {_shown(value)}")
    return float(value)


def _values(told: Any) -> dict[str, Scalar]:
    if not isinstance(told, dict):
        raise Malformed(f"'values' is no object: {_shown(told)}")
    found: dict[str, Scalar] = {}
    for name, value in tuple(told.items())[:MAX_VALUES]:
        found[_clean(name, NAME_LIMIT)] = _scalar(value)
    return found


def _scalar(value: Any) -> Scalar:
    if isinstance(value, str):
        return _clean(value, TEXT_LIMIT)
    if isinstance(value, float):
        # No JSON that others read has a number for it.
        return value if math.isfinite(value) else str(value)
    if value is None or (isinstance(value, int) and -_LARGEST <= value < _LARGEST):
        return value
    return _clean(json.dumps(value)[:TEXT_LIMIT], TEXT_LIMIT)


def _clean(text: str, limit: int) -> str:
    """Return a text that any encoding and any terminal takes."""
    text = text[:limit]
    if text.isprintable():
        return text
    return printable(encodable(text))[:limit]


def _shown(what: object) -> str:
    text = repr(what)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
