"""The policy ``default``, as it is created at each start: most jobs never ask it."""

import attrs

from elaunch.policy import Decision, FailureReport, History
from elaunch.restart_budget.options import BudgetOptions


@attrs.frozen
class BudgetPolicy:
    """Restart while no budget is spent and no row of the table says otherwise.

    Attributes:
        max_restarts: Restarts that failures may cost the job.
        options: The other budgets, and what happens when one is spent.
        rows: What follows from which failure, as rows ``WHEN=THEN``.
    """

    max_restarts: int
    options: BudgetOptions = attrs.field(factory=BudgetOptions)
    rows: tuple[str, ...] = ()

    def on_failure(self, report: FailureReport, history: History) -> Decision:
        """Say what to do; see `elaunch.policy.RestartPolicy`."""
        from elaunch.failure_table import FailureTable
        from elaunch.restart_budget.judging import Judge

        table = FailureTable.parse(self.rows)
        return Judge(self.max_restarts, self.options, table).decide(report, history)
