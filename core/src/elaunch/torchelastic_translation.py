"""From the events of one agent to those that torchelastic would record."""

import os
from collections.abc import Mapping, Sequence

import attrs

from elaunch.events import TORCHELASTIC_KEYS, Event, EventName
from elaunch.torchelastic_events import (
    PREFIX,
    EventSource,
    NodeState,
    RdzvEvent,
)
from elaunch.torchelastic_events import Event as TorchelasticEvent


_KEYS = frozenset(TORCHELASTIC_KEYS)
_WORKER_ENDS: frozenset[str] = frozenset(
    {
        EventName.WORKER_SUCCEEDED,
        EventName.WORKER_FAILED,
        EventName.WORKER_TERMINATED,
        EventName.WORKER_PREEMPTED,
    }
)
_NODE_STATES: Mapping[str, NodeState] = {
    EventName.RENDEZVOUS_JOINING: NodeState.INIT,
    EventName.RENDEZVOUS_WAITING: NodeState.INIT,
    EventName.RENDEZVOUS_COORDINATOR: NodeState.RUNNING,
    EventName.GENERATION_JOINED: NodeState.RUNNING,
    EventName.GENERATION_SUPERSEDED: NodeState.RUNNING,
    EventName.RENDEZVOUS_LINGERING: NodeState.RUNNING,
    EventName.RENDEZVOUS_LEFT: NodeState.SUCCEEDED,
    EventName.RENDEZVOUS_FAILED: NodeState.FAILED,
    EventName.RENDEZVOUS_LOST: NodeState.FAILED,
}


@attrs.define(eq=False)
class Translation:
    """Translates the events of one agent, given in their order.

    torchelastic tells of each worker's end once, when the run is over; so the ends of
    the last generation are held until the agent finishes.
    """

    _ends: list[TorchelasticEvent] = attrs.field(factory=list, init=False)
    _endpoint: str = attrs.field(default="", init=False)

    def statuses(self, event: Event) -> Sequence[TorchelasticEvent]:
        """Return what torchelastic records of agents and workers at this event."""
        if event.name == EventName.GENERATION_JOINED:
            self._ends.clear()
        if not event.metadata.keys() >= _KEYS:
            return ()
        twin = TorchelasticEvent(
            name=str(event.metadata.get("watchdog_event") or PREFIX + _state(event)),
            source=EventSource(event.source.value),
            timestamp=int(event.timestamp * 1000),
            # None of these is a list.
            metadata={k: event.metadata[k] for k in TORCHELASTIC_KEYS},  # type: ignore[misc] # values of a plain mapping
        )
        if event.name in _WORKER_ENDS:
            self._ends.append(twin)
            return ()
        if event.name == EventName.AGENT_FINISHED:
            ends, self._ends = self._ends, []
            return (*sorted(ends, key=_rank), twin)
        return (twin,)

    def rendezvous(self, event: Event) -> RdzvEvent | None:
        """Return what torchelastic would tell of its rendezvous at this event."""
        facts = event.metadata
        if event.name in (EventName.STORE_HOSTED, EventName.STORE_CONNECTED):
            self._endpoint = str(facts["endpoint"])
        state = _NODE_STATES.get(event.name)
        if state is None:
            return None
        told = {key: value for key, value in event.facts.items() if key != "reason"}
        reason = str(facts.get("reason", ""))
        rank = facts.get("group_rank")
        return RdzvEvent(
            name=event.name,
            run_id=event.run_id,
            message=reason or ", ".join(f"{key}={val}" for key, val in told.items()),
            hostname=event.host,
            pid=os.getpid(),
            node_state=state,
            master_endpoint=self._endpoint,
            rank=rank if isinstance(rank, int) else None,
            error_trace=reason if state is NodeState.FAILED else "",
        )


def _rank(end: TorchelasticEvent) -> int:
    return int(end.metadata["global_rank"] or 0)


def _state(event: Event) -> str:
    return str(event.metadata["state"])
