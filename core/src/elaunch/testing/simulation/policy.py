"""The restart policy of simulated jobs: one that does all that a policy can do."""

from collections.abc import Callable

import attrs

from elaunch.api import Decision, FailureReport, History, Verdict


@attrs.frozen(kw_only=True)
class SimulatedPolicy:
    """Restarts while the budget lasts; leaves out the node of every second failure.

    Attributes:
        max_restarts: The budget.
        excludes: Whether it leaves out nodes at all.
        cool_down: Seconds for which it does; `None` for good.
        delay: Seconds of back-off.
        on_question: Told what it is asked.
    """

    max_restarts: int
    excludes: bool = False
    cool_down: float | None = None
    delay: float = 0.0
    on_question: Callable[[FailureReport, History], None]

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        """Decide by the number of failures so far."""
        self.on_question(report, history)
        if report.restarts >= self.max_restarts:
            return Decision(Verdict.FAIL, f"all {self.max_restarts} restarts are spent")
        if not self.excludes or len(history) % 2:
            return Decision(Verdict.RESTART, "again", self.delay)
        nodes = (report.failures[0].node,)
        return Decision(Verdict.EXCLUDE, "bad", self.delay, nodes, self.cool_down)
