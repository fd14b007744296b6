"""What torchelastic says of an event, computed from the events of one agent."""

import json
from collections.abc import Mapping

import attrs

from elaunch.events import EventName, Value


_STATES = {
    EventName.GENERATION_JOINED: "RENDEZVOUS",
    EventName.RENDEZVOUS_FAILED: "RENDEZVOUS",
    EventName.BOOTSTRAP_READY: "ASSIGN_WORKER_RANKS",
    EventName.WORKER_STARTED: "START",
    EventName.WORKER_SUCCEEDED: "SUCCEEDED",
    EventName.WORKER_FAILED: "FAILED",
    EventName.WORKER_TERMINATED: "TERMINATED",
    EventName.WORKER_PREEMPTED: "TERMINATED",
    EventName.AGENT_FINISHED: "",  # it depends
}
"""Events that torchelastic has, too, with the states by which it calls them."""

_WATCHDOG = "watchdog_event"
"""Fact of the events of a watchdog: torchelastic's name for it."""


@attrs.define(eq=False, repr=False, kw_only=True)
class Twins:
    """Adds torchelastic's keys to the facts of the events that it knows.

    Attributes:
        run_id: Id of the job.
        host: Host name.
        role: Role of this node's workers.
        backend: Name of the rendezvous backend.
        entry_point: What the workers run.
    """

    run_id: str
    host: str
    role: str
    backend: str
    entry_point: str
    _began: float | None = attrs.field(default=None, init=False)
    _joined: float = attrs.field(default=0.0, init=False)
    _place: Mapping[str, Value] = attrs.field(factory=dict, init=False)
    _has_run: bool = attrs.field(default=False, init=False)

    def added(
        self, name: EventName, facts: Mapping[str, Value], now: float
    ) -> Mapping[str, Value]:
        """Return what torchelastic adds to the facts of an event; may be nothing.

        Args:
            name: What happened.
            facts: What is known of it.
            now: Time on a clock that never goes back, in seconds.
        """
        if self._began is None:
            self._began = now
        if name is EventName.GENERATION_JOINED:
            self._place, self._joined = facts, now
        # To torchelastic an agent whose job failed has done what it is for.
        self._has_run |= name in (EventName.JOB_SUCCEEDED, EventName.JOB_FAILED)
        if _WATCHDOG in facts:
            return self._keys(facts, "RUNNING", inner=facts, error=None, now=now)
        if name not in _STATES:
            return {}
        has_run = self._has_run or facts.get("status") == 0
        state = _STATES[name] or ("SUCCEEDED" if has_run else "FAILED")
        error = facts.get("raw_error")
        if name is EventName.AGENT_FINISHED:
            error = None if has_run else facts["error"]
        elif name is EventName.BOOTSTRAP_READY:
            took = round((now - self._joined) * 1000, 3)
            facts = {**facts, "duration_ms": took}
        return self._keys(facts, state, inner=self._inner(facts), error=error, now=now)

    def _keys(
        self,
        facts: Mapping[str, Value],
        state: str,
        *,
        inner: Mapping[str, object],
        error: Value,
        now: float,
    ) -> Mapping[str, Value]:
        rank = facts.get("rank")
        return {
            "run_id": self.run_id,
            "global_rank": rank,
            "group_rank": self._place.get("group_rank"),
            "worker_id": None if rank is None else str(facts["pid"]),
            "role": self.role,
            "hostname": self.host,
            "state": state,
            "total_run_time": int(now - (self._began or now)),
            "rdzv_backend": self.backend,
            "raw_error": error,
            "metadata": json.dumps(inner),
            "agent_restarts": self._place.get("restart_count", 0),
            "duration_ms": facts.get("duration_ms"),
        }

    def _inner(self, facts: Mapping[str, Value]) -> Mapping[str, object]:
        inner: dict[str, object] = {
            "group_world_size": self._place.get("group_size"),
            "entry_point": self.entry_point,
        }
        local_rank = facts.get("local_rank")
        if isinstance(local_rank, int):
            first = self._place.get("role_rank", 0)
            role_rank = (first if isinstance(first, int) else 0) + local_rank
            # One element each: consumers of torchelastic's events know them so.
            inner |= {
                "local_rank": [local_rank],
                "role_rank": [role_rank],
                "role_world_size": [self._place.get("role_world_size")],
                "exit_code": [facts.get("exitcode")],
                "worker_pid": [facts.get("pid")],
            }
        return inner
