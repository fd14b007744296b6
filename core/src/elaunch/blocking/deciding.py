"""What follows from a failure, where nobody decides for the job."""

from collections.abc import Sequence

import attrs

from elaunch.decisions import decided
from elaunch.failures import ProcessFailure
from elaunch.policy import Decision, FailureReport, PastFailure
from elaunch.rendezvous import Membership, RendezvousParameters


@attrs.define(eq=False)
class Deciding:
    """Asks the policy about what one node knows itself.

    Attributes:
        params: What its rendezvous was built with.
    """

    params: RendezvousParameters
    _history: Sequence[PastFailure] = attrs.field(default=(), init=False)

    def decide(
        self, membership: Membership, failures: tuple[ProcessFailure, ...]
    ) -> Decision:
        """Return what to do; a second report of a generation replaces the first."""
        report = FailureReport(
            generation=membership.generation,
            restarts=membership.restart_count,
            failures=failures,
            time=self.params.clock(),
            group_size=membership.group_size,
            min_nodes=self.params.min_nodes,
        )
        before = [p for p in self._history if p.report.generation < report.generation]
        decision = self.params.policy.on_failure(report, before)
        decided(self.params.record, report, before, decision)
        self._history = [*before, PastFailure(report.trimmed(), decision)]
        return decision
