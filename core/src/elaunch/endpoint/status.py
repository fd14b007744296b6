"""What an agent says of itself: the meaning of what it has told so far. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from elaunch.endpoint.book import Contents
from elaunch.endpoint.states import STATES
from elaunch.events import Event, EventName
from elaunch.worker_message import WorkerMessage


Facts = dict[str, Any]
"""What goes into JSON."""

_LEFT_OUT = frozenset({"monitor", "severity", "reason", "rank", "local_rank"})

_ENDS: Mapping[str, str] = {
    EventName.WORKER_SUCCEEDED: "succeeded",
    EventName.WORKER_FAILED: "failed",
    EventName.WORKER_TERMINATED: "terminated",
    EventName.WORKER_PREEMPTED: "preempted",
}

_PLACE = (
    *("generation", "group_rank", "group_size", "world_size", "ranks"),
    *("restart_count", "reason"),
)


def status_of(contents: Contents, now: float, clock: float) -> Facts:
    """Return all that is known of an agent, ready for JSON.

    Args:
        contents: What it has told.
        now: The time, in Unix seconds.
        clock: The time on the clock of its loop.
    """
    began = contents.latest.get(EventName.AGENT_STARTED)
    state, since = state_of(contents)
    return {
        "pid": began.metadata["pid"] if began else None,
        "host": began.host if began else "",
        "uptime": _age(began, now),
        "state": state,
        "state_age": round(max(now - since, 0.0), 3) if since else None,
        "place": _place(contents),
        "waiting": _waiting(contents) if state == "joining" else None,
        "workers": workers_of(contents, now, clock),
        "progress": contents.progress,
        "findings": [_finding(event, now) for event in _series(contents, "finding")],
        "generations": [
            _told(event, now, ("generation", "restart_count", "group_size", "reason"))
            for event in _series(contents, "generation")
        ],
        "decisions": [
            _told(event, now, ("verdict", "reason", "delay"))
            for event in _series(contents, "decision")
        ],
        "requests": [
            _told(event, now, ("request", "reason", "peer", "refused"))
            for event in _series(contents, "request")
        ],
    }


def state_of(contents: Contents) -> tuple[str, float]:
    """Return a word for what an agent does, and since when; 0 if nobody knows."""
    known = [event for name, event in contents.latest.items() if name in STATES]
    if not known:
        return "joining", 0.0
    last = max(known, key=lambda event: event.sequence)
    return STATES[last.name], last.timestamp


def workers_of(contents: Contents, now: float, clock: float) -> list[Facts]:
    """Return how each worker of the last group is, in the order of ranks.

    Args:
        contents: What the agent has told.
        now: The time, in Unix seconds.
        clock: The time on the clock of its loop.
    """
    return [
        _worker(event, contents.ended.get(local), contents.beats.get(local), now, clock)
        for local, event in sorted(contents.started.items())
    ]


def _worker(
    began: Event,
    ended: Event | None,
    beat: WorkerMessage | None,
    now: float,
    clock: float,
) -> Facts:
    last = ended.timestamp if ended else now
    # Of one that has ended it is how old the last beat was then: it grows no more, and
    # sets off no alarm.
    silence = clock - beat.time - (now - last) if beat else None
    return {
        "rank": began.metadata["rank"],
        "local_rank": began.metadata["local_rank"],
        "pid": began.metadata["pid"],
        "state": _ENDS[ended.name] if ended else "running",
        "uptime": round(max(last - began.timestamp, 0.0), 3),
        "exitcode": ended.metadata["exitcode"] if ended else None,
        "heartbeat_age": None if silence is None else round(max(silence, 0.0), 3),
        "step": beat.step if beat else None,
        "step_time": beat.step_time if beat else None,
        "values": dict(beat.values) if beat else {},
    }


def _place(contents: Contents) -> Facts | None:
    joined = contents.latest.get(EventName.GENERATION_JOINED)
    return {key: joined.metadata[key] for key in _PLACE} if joined else None


def _waiting(contents: Contents) -> Facts | None:
    """Return what a join waits for; nothing of a join before this one."""
    waits = contents.latest.get(EventName.RENDEZVOUS_WAITING)
    joined = contents.latest.get(EventName.GENERATION_JOINED)
    if waits is None or (joined and joined.sequence > waits.sequence):
        return None
    return {**waits.facts}


def _series(contents: Contents, what: str) -> Sequence[Event]:
    return contents.series[SERIES[what]]


SERIES: Mapping[str, str] = {
    "generation": EventName.GENERATION_JOINED,
    "finding": EventName.MONITOR_FINDING,
    "decision": EventName.POLICY_DECIDED,
    "request": EventName.CONTROL_REQUEST,
}


def _finding(event: Event, now: float) -> Facts:
    facts = event.metadata
    return {
        "age": _age(event, now),
        "monitor": facts["monitor"],
        "severity": facts["severity"],
        "rank": facts.get("rank"),
        "reason": facts["reason"],
        "evidence": {k: v for k, v in facts.items() if k not in _LEFT_OUT},
    }


def _told(event: Event, now: float, keys: Sequence[str]) -> Facts:
    return {"age": _age(event, now), **{key: event.metadata.get(key) for key in keys}}


def _age(event: Event | None, now: float) -> float | None:
    return round(max(now - event.timestamp, 0.0), 3) if event else None
