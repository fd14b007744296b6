"""How an agent is, as lines for a person. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from elaunch.cli.console import waiting_line
from elaunch.failures import ranges


Facts = Mapping[str, Any]


def status_lines(status: Facts) -> list[str]:
    """Return what an agent says of itself, as lines.

    Args:
        status: What its endpoint answers.
    """
    return [*_head(status), *_table(_WORKERS, status["workers"]), *_tail(status)]


def member_lines(members: Sequence[Facts]) -> list[str]:
    """Return the nodes of a job, as lines."""
    return ["  nodes of the job:", *_table(_MEMBERS, members)]


def _head(status: Facts) -> Iterator[str]:
    since = status["state_age"]
    state = status["state"] + (f" for {duration(since)}" if since is not None else "")
    host = f" on {status['host']!r}" if status["host"] else ""  # it has just begun
    who = f"agent {status['pid']}{host}"
    yield f"run {status['run_id']!r}: {who}, {state}"
    if status["max_nodes"] > 1:
        yield f"  meets by {status['backend']} at {status['endpoint']!r}"
    if status["standstill"]:
        yield f"  the agent has not reacted for {duration(status['standstill'])}"
    place = status["place"]
    if place:
        # One that joins again has lost its place.
        when = "before this: " if status["state"] == "joining" else ""
        yield (
            f"  {when}generation {place['generation']}: node {place['group_rank']} of "
            f"{place['group_size']}, {_ranks(place)} of {place['world_size']}; "
            f"{place['restart_count']} of {status['max_restarts']} restarts spent"
        )
        yield f"  formed because: {place['reason']}"
    waiting = status["waiting"]
    if waiting:
        yield f"  {waiting_line(waiting)}"


def _ranks(place: Facts) -> str:
    ranks = place["ranks"]
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranges(ranks)}"


def _tail(status: Facts) -> Iterator[str]:
    if status["progress"] is not None:
        yield f"  progress: {status['progress']:g}"
    for finding in status["findings"]:
        whom = "node" if finding["rank"] is None else f"rank {finding['rank']}"
        yield (
            f"  {duration(finding['age'])} ago, {finding['severity']}: {whom}, by "
            f"{finding['monitor']!r}: {finding['reason']}"
        )
    for decision in status["decisions"]:
        yield (
            f"  {duration(decision['age'])} ago, decided: {decision['verdict']}: "
            f"{decision['reason']}"
        )
    for request in status["requests"]:
        why = f": {request['reason']}" if request["reason"] else ""
        refused = f" (refused: {request['refused']})" if request["refused"] else ""
        yield (
            f"  {duration(request['age'])} ago, {request['request']} was asked for by "
            f"{request['peer']}{why}{refused}"
        )


def _state(worker: Facts) -> str:
    code = worker["exitcode"]
    return f"{worker['state']} ({code})" if code else str(worker["state"])


def _remarks(member: Facts) -> str:
    told = [
        "decides" if member["decides"] else "",
        member["excluded"],
        f"unfit: {member['unfit']}" if member["unfit"] else "",
        member["reason"],
        *(finding["reason"] for finding in member["findings"][-1:]),
    ]
    return "; ".join(filter(None, told))


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _step_time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    # Steps are compared with each other: three digits of short ones count.
    return f"{seconds:.3g} s" if seconds < 10 else duration(seconds)  # noqa: PLR2004 - two digits


def _ago(seconds: float | None) -> str:
    return "-" if seconds is None else f"{duration(seconds)} ago"


def duration(seconds: float) -> str:
    """Return a time as ``0.2 s``, ``12 s``, ``5:03 min`` or ``26:05:03 h``."""
    if seconds < 10:  # noqa: PLR2004 - fewer than two digits
        return f"{seconds:.1f} s"
    if seconds < 60:  # noqa: PLR2004 - of a minute
        return f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


Columns = Mapping[str, Callable[[Facts], str]]
"""Heads of columns -> what stands in them."""

_WORKERS: Columns = {
    "RANK": lambda w: str(w["rank"]),
    "PID": lambda w: str(w["pid"]),
    "STATE": _state,
    "UP": lambda w: duration(w["uptime"]),
    "STEP": lambda w: _or_dash(w["step"]),
    "STEP TIME": lambda w: _step_time(w["step_time"]),
    "LAST BEAT": lambda w: _ago(w["heartbeat_age"]),
}
"""Columns of the table of workers."""

_MEMBERS: Columns = {
    "NODE": lambda m: _or_dash(m["group_rank"]),
    "HOST": lambda m: m["host"],
    "STATE": lambda m: m["state"],
    "GENERATION": lambda m: str(m["generation"]),
    "WORKERS": lambda m: str(m["local_world_size"]),
    "": _remarks,
}
"""Columns of the table of nodes."""


def _table(columns: Columns, rows: Sequence[Facts]) -> list[str]:
    if not rows:
        return []
    lines = [list(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            ["", *(c.ljust(w) for c, w in zip(line, widths, strict=True))]
        ).rstrip()
        for line in lines
    ]
