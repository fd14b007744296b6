"""What an agent records of its node's generations and workers."""

from collections.abc import Mapping, Sequence

import attrs

from elaunch.agent.placement import Placement
from elaunch.events import EventName, Record
from elaunch.failures import signal_name
from elaunch.rendezvous import Membership
from elaunch.workers import WorkerExit, WorkerSpec, failure_of


@attrs.frozen(eq=False)
class Happenings:
    """Records for one node.

    Attributes:
        record: Told what happens.
        placement: Where its workers stand.
    """

    record: Record
    placement: Placement

    def joined(self, membership: Membership) -> None:
        """The node is a member of a sealed generation."""
        self.record(
            EventName.GENERATION_JOINED,
            generation=membership.generation,
            group_rank=membership.group_rank,
            group_size=membership.group_size,
            world_size=membership.world_size,
            ranks=list(self.placement.ranks(membership)),
            restart_count=membership.restart_count,
            reason=membership.reason,
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

    def exited(self, ended: WorkerExit, *, terminated: bool) -> None:
        """A worker ended, by itself or because it was stopped."""
        facts = {}
        if not ended.failed:
            name = EventName.WORKER_SUCCEEDED
        elif terminated:
            name = EventName.WORKER_TERMINATED
        else:
            name = EventName.WORKER_FAILED
            node = self.placement.node
            failure = failure_of(ended, role=node.role, host=node.host)
            facts = {"message": failure.message, "location": failure.location}
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
