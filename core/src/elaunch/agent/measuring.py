"""An agent's metrics: what makes numbers of events, under torchelastic's names.

A dashboard made for torchelastic reads them as they are. Where a phase is another one
here, its name stands for the nearest: ranks come with the membership, so the metric
about their assignment tells how long the workers' meeting point took.
"""

import time
from collections.abc import Callable

import attrs

from elaunch.events import Event, EventName
from elaunch.metrics import GROUP, MetricData, MetricHandler


RENDEZVOUS = "SimpleElasticAgent._rendezvous"
RANKS = "SimpleElasticAgent._assign_worker_ranks"
INITIALIZE = "SimpleElasticAgent._initialize_workers"
RESTART = "SimpleElasticAgent._restart_workers"
RUN = "SimpleElasticAgent.run"
START = "LocalElasticAgent._start_workers"
STOP = "LocalElasticAgent._stop_workers"

_BEGINS: dict[str, tuple[str, ...]] = {
    EventName.AGENT_STARTED: (RUN, INITIALIZE, RENDEZVOUS),
    EventName.RENDEZVOUS_JOINING: (INITIALIZE, RENDEZVOUS),
    EventName.GENERATION_JOINED: (RANKS,),
    EventName.BOOTSTRAP_READY: (START,),
    EventName.GROUP_STOPPING: (RESTART, STOP),
    EventName.GROUP_STOPPED: (INITIALIZE, RENDEZVOUS),
}
"""Phases that begin with an event, if they are not under way."""

_ENDS: dict[str, tuple[str, ...]] = {
    EventName.GENERATION_JOINED: (RENDEZVOUS,),
    EventName.BOOTSTRAP_READY: (RANKS,),
    EventName.GROUP_STARTED: (START, INITIALIZE, RESTART),
    EventName.GROUP_STOPPED: (STOP,),
}
"""Phases that are over, and were successful, with an event."""

_MEETS_AGAIN = (EventName.RENDEZVOUS_JOINING, EventName.RENDEZVOUS_WAITING)
"""What tells that the end of a group is not the end of the job."""

_STATES: dict[str, str] = {
    EventName.GROUP_STARTED: "healthy",
    EventName.WORKER_FAILED: "failed",
    EventName.GROUP_SUCCEEDED: "succeeded",
}
"""State of the node's workers from an event on, in torchelastic's words."""


@attrs.define(eq=False, kw_only=True)
class Measuring:
    """Puts the metrics of one agent; see `elaunch.events.EventRecorder`.

    Attributes:
        handler: Who takes them.
        role: Role of the node's workers.
        max_restarts: Restart budget of the job.
        clock: Tells the time in which durations are measured.
    """

    handler: MetricHandler
    role: str
    max_restarts: int
    clock: Callable[[], float] = time.monotonic
    _since: dict[str, float] = attrs.field(factory=dict, init=False)
    _restarts: int = attrs.field(default=0, init=False)
    _state: str = attrs.field(default="", init=False)
    _may_leave: bool = attrs.field(default=False, init=False)

    def record(self, event: Event) -> None:
        """Put the metrics that an event gives rise to."""
        if event.name == EventName.GENERATION_JOINED:
            self._restarts = int(str(event.metadata["restart_count"]))
        for phase in _ENDS.get(event.name, ()):
            self._end(phase, "success")
        for phase in _BEGINS.get(event.name, ()):
            self._since.setdefault(phase, self.clock())
        if event.name == EventName.GROUP_STOPPED or event.name in _MEETS_AGAIN:
            self._may_leave = event.name == EventName.GROUP_STOPPED
        if state := self._state_after(event):
            self._change(state)
        if event.name in (EventName.JOB_SUCCEEDED, EventName.JOB_FAILED):
            self._put_outcome(failed=event.name == EventName.JOB_FAILED)
        if event.name == EventName.AGENT_FINISHED:
            self._finish(failed=bool(event.metadata["error"]))

    def close(self) -> None:
        """Nothing is held."""

    def _state_after(self, event: Event) -> str:
        if event.name == EventName.MONITOR_FINDING:
            return "unhealthy" * (event.metadata.get("severity") == "unhealthy")
        return _STATES.get(event.name, "")

    def _change(self, state: str) -> None:
        # Of many workers that fail one after the other, the first changes the state.
        if state != self._state or state == "healthy":
            self._put_for_role("remaining_restarts", self._remaining)
            self._put_for_role(state, 1)
        self._state = state

    @property
    def _remaining(self) -> int:
        return self.max_restarts - self._restarts

    def _put_outcome(self, *, failed: bool) -> None:
        spent = 100 - 100 * (self._remaining + 1) / (self.max_restarts + 1)
        self._put_for_role("flakiness", 100 if failed else int(spent))
        self._put_for_role("run_total", 1)
        retried = self._restarts > 0
        for word, happened in (
            ("success_with", not failed and retried),
            ("success_no", not failed and not retried),
            ("failed_with", failed and retried),
            ("failed_no", failed and not retried),
        ):
            self._put_for_role(f"run_{word}_retries", int(happened))

    def _finish(self, *, failed: bool) -> None:
        # The workers were stopped for good, and nobody was met after that.
        for phase in (RESTART, INITIALIZE, RENDEZVOUS) if self._may_leave else ():
            self._since.pop(phase, None)
        for phase in tuple(self._since):
            if failed or phase == RUN:
                self._end(phase, "failure" if failed else "success")

    def _end(self, phase: str, how: str) -> None:
        if (since := self._since.pop(phase, None)) is None:
            return
        self._put(f"{phase}.{how}", 1)
        self._put(f"{phase}.duration.ms", int((self.clock() - since) * 1000))

    def _put_for_role(self, name: str, value: float) -> None:
        self._put(f"workers.{self.role}.{name}", value)

    def _put(self, name: str, value: float) -> None:
        self.handler.emit(MetricData(time.time(), GROUP, name, value))
