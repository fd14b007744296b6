"""What an agent records of its node's generations and workers."""

import asyncio
import json
from collections.abc import Mapping, Sequence

import attrs

from elaunch.agent.placement import Placement
from elaunch.errors import RendezvousClosed
from elaunch.events import EventName, Record, Value
from elaunch.failures import ProcessFailure, signal_name
from elaunch.notice import Notice
from elaunch.rendezvous import Membership, Outcome
from elaunch.spawner import StopStep
from elaunch.workers import WorkerExit, WorkerSpec, failure_of


@attrs.define(eq=False, repr=False)
class Happenings:
    """Records for one node.

    Attributes:
        record: Told what happens.
        placement: Where its workers stand.
    """

    record: Record
    placement: Placement
    _joining_since: float = attrs.field(default=0.0, init=False)
    _has_joined: bool = attrs.field(default=False, init=False)

    def joining(self) -> None:
        """The node begins to join: from here on it counts how long that takes."""
        self._joining_since = asyncio.get_running_loop().time()

    def not_joined(self, error: Exception, outcome: Outcome | None) -> None:
        """The node did not become a member.

        One that was, and looked for its next place before it heard that the job is
        over, has missed nothing.
        """
        if self._has_joined and isinstance(error, RendezvousClosed) and outcome:
            return
        self.record(
            EventName.RENDEZVOUS_FAILED,
            reason=str(error),
            error=type(error).__name__,
            duration_ms=self._joining_took(),
        )

    def joined(self, membership: Membership) -> None:
        """The node is a member of a sealed generation."""
        self._has_joined = True
        self.record(
            EventName.GENERATION_JOINED,
            generation=membership.generation,
            group_rank=membership.group_rank,
            group_size=membership.group_size,
            world_size=membership.world_size,
            ranks=list(self.placement.ranks(membership)),
            role_rank=membership.base_role_rank,
            role_world_size=membership.role_world_size,
            restart_count=membership.restart_count,
            reason=membership.reason,
            duration_ms=self._joining_took(),
        )

    def started(
        self,
        membership: Membership,
        specs: Sequence[WorkerSpec],
        pids: Mapping[int, int],
    ) -> None:
        """All workers of the node run."""
        for spec in specs:
            self.record(
                EventName.WORKER_STARTED,
                generation=membership.generation,
                rank=spec.ranks.rank,
                local_rank=spec.ranks.local_rank,
                pid=pids[spec.ranks.local_rank],
            )
        self.record(
            EventName.GROUP_STARTED,
            generation=membership.generation,
            world_size=membership.world_size,
            ranks=list(self.placement.ranks(membership)),
        )

    def announced(self, notice: Notice) -> None:
        """The agent tells the job of a notice."""
        self.record(
            EventName.NOTICE_ANNOUNCED, kind=notice.kind.value, reason=notice.reason
        )

    def notified(self, notice: Notice, pids: Sequence[int]) -> None:
        """The workers of the node know of a notice."""
        self.record(
            EventName.NOTICE_DELIVERED,
            kind=notice.kind.value,
            reason=notice.reason,
            host=notice.host,
            pids=list(pids),
        )

    def step(
        self, step: StopStep, signum: int, pids: Sequence[int], files: Sequence[str]
    ) -> None:
        """A step of the schedule by which workers are stopped is taken."""
        self.record(
            EventName.GROUP_STOPPING,
            step=step.value,
            signal=signal_name(signum) if signum else "",
            pids=list(pids),
            **({"files": list(files)} if files else {}),
        )

    def exited(self, ended: WorkerExit, *, preempted: bool, terminated: bool) -> None:
        """A worker ended, by itself or because it was stopped."""
        facts: dict[str, Value] = {}
        if not ended.failed:
            name = EventName.WORKER_SUCCEEDED
        elif preempted:
            name = EventName.WORKER_PREEMPTED
        elif terminated:
            name = EventName.WORKER_TERMINATED
        else:
            name = EventName.WORKER_FAILED
            node = self.placement.node
            failure = failure_of(ended, role=node.role, host=node.host)
            facts = {
                "message": failure.message,
                "location": failure.location,
                "failed_at": ended.timestamp,
                "raw_error": _raw_error(failure),
            }
        self.record(
            name,
            rank=ended.ranks.rank,
            local_rank=ended.ranks.local_rank,
            pid=ended.pid,
            exitcode=ended.exitcode,
            signal=signal_name(-ended.exitcode) if ended.exitcode < 0 else "",
            ending=ended.ending.value,
            **facts,
        )

    def _joining_took(self) -> float:
        return round(
            (asyncio.get_running_loop().time() - self._joining_since) * 1000, 3
        )


def _raw_error(failure: ProcessFailure) -> str:
    """Return an error as torchelastic's error files have it."""
    timestamp = str(int(failure.timestamp))
    told = {"py_callstack": failure.traceback, "timestamp": timestamp}
    return json.dumps({"message": {"message": failure.message, "extraInfo": told}})
