"""What a node makes of its own failures, where nobody decides for the job."""

import attrs

from elaunch.decisions import decided
from elaunch.failures import ProcessFailure
from elaunch.policy import Decision, FailureReport, PastFailure, ask
from elaunch.rendezvous import Membership, RendezvousParameters
from elaunch.vitals import Vitals


@attrs.define(eq=False)
class Deciding:
    """The failures of one node, as its policy is told of them.

    Attributes:
        params: What the rendezvous is built with; has the policy.
    """

    params: RendezvousParameters
    _history: list[PastFailure] = attrs.field(factory=list, init=False)

    def decide(
        self,
        place: Membership,
        failures: tuple[ProcessFailure, ...],
        vitals: Vitals | None,
    ) -> Decision:
        """Ask the policy what follows.

        Args:
            place: The node's place when its workers failed.
            failures: Their failures so far.
            vitals: How the node went.
        """
        # A second report of one generation takes the place of the first.
        before = [p for p in self._history if p.report.generation < place.generation]
        told = vitals or Vitals(generation=place.generation)
        markers = [told.progress, *(past.report.progress for past in before)]
        report = FailureReport(
            generation=place.generation,
            restarts=place.restart_count,
            failures=failures,
            time=self.params.clock(),
            progress=max((m for m in markers if m is not None), default=None),
            findings=told.findings,
            group_size=place.group_size,
            min_nodes=self.params.min_nodes,
        )
        decision = ask(self.params.policy, report, before)
        settings = self.params.settings
        asked = settings.asked if settings else None
        decided(self.params.record, report, before, decision, asked)
        self._history = [*before, PastFailure(report.trimmed(), decision)]
        return decision
