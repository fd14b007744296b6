"""What follows from a failure, by table and budget. Pure.

In this order: a row of the table may end the job at once; a budget of the job may be
spent; a row may exclude a node; a budget of the node may be spent; otherwise the job
restarts. An exclusion costs a restart, too.
"""

from collections.abc import Iterator, Sequence

import attrs

from elaunch.failure_table import FailureMatch, FailureTable, Treatment
from elaunch.failures import root_cause
from elaunch.policy import Decision, FailureReport, History, Verdict
from elaunch.restart_budget.counts import (
    barren_in_a_row,
    exclusions,
    grown,
    length_of_row,
    node_of,
    of_node,
    quick_in_a_row,
    restarts_within,
)
from elaunch.restart_budget.options import BudgetOptions


_VERDICTS = {
    "fail": Verdict.FAIL,
    "hand-back": Verdict.HAND_BACK,
}


@attrs.frozen
class Judge:
    """Decides for `BudgetPolicy`.

    Attributes:
        max_restarts: Restarts that failures may cost the job.
        options: The other budgets, and what happens when one is spent.
        table: What follows from which failure.
    """

    max_restarts: int
    options: BudgetOptions
    table: FailureTable

    def decide(self, report: FailureReport, history: History) -> Decision:
        """Say what to do."""
        match = self.table.find(report.failures)
        if match and match.row.then.value in _VERDICTS:
            return Decision(_VERDICTS[match.row.then.value], _because(match))
        spent = next(self._spent(report, history, match), "")
        if spent:
            return Decision(_VERDICTS[self.options.spent], spent)
        if match and match.row.then is Treatment.EXCLUDE:
            nodes = tuple(dict.fromkeys(node_of(f) for f in match.failures))
            asked = match.row.cool_down
            return self._exclude(report, history, nodes, _because(match), asked)
        node = node_of(root_cause(report.failures))
        spent = next(self._spent_by(node, report, history), "")
        if spent and self.options.node_spent == "exclude":
            return self._exclude(report, history, (node,), spent)
        if spent:
            return Decision(_VERDICTS[self.options.node_spent], spent)
        delay = self._delay(report, history)
        return Decision(Verdict.RESTART, self._restart(report, delay), delay)

    def _spent(
        self, report: FailureReport, history: History, match: FailureMatch | None
    ) -> Iterator[str]:
        """Yield which budgets of the job are spent."""
        options, most = self.options, self.max_restarts
        if report.restarts >= most:
            yield (
                f"all {most} restarts are spent" if most else "no restarts are allowed"
            )
        if options.window_restarts is not None:
            recent = restarts_within(options.window, report.time, history)
            if recent >= options.window_restarts:
                yield (
                    f"all {options.window_restarts} restarts within "
                    f"{options.window:g} s are spent"
                )
        if options.no_progress is not None:
            barren = barren_in_a_row([*(one.report for one in history), report])
            if barren >= options.no_progress:
                yield f"{_generations(barren)} failed without progress"
        if options.min_uptime:
            quick = quick_in_a_row(report, history, options.min_uptime)
            if quick >= options.quick_failures:
                yield (
                    f"{_generations(quick)} failed within {options.min_uptime:g} s of "
                    f"the start of the workers"
                )
        if match and match.row.most is not None:
            row = match.row
            found = (self.table.find(one.report.failures) for one in history)
            if (
                sum(one is not None and one.row == row for one in found)
                >= match.row.most
            ):
                yield f"{row.text!r} allows no more"

    def _spent_by(
        self, node: str, report: FailureReport, history: History
    ) -> Iterator[str]:
        """Yield which budgets of a node are spent."""
        options = self.options
        if not node:
            return
        past = of_node(node, history)
        if options.node_restarts is not None and len(past) >= options.node_restarts:
            yield f"node {node!r} has spent its {_restarts(options.node_restarts)}"
        if options.node_window_restarts is not None:
            window = options.node_window or options.window
            if (
                restarts_within(window, report.time, past)
                >= options.node_window_restarts
            ):
                yield (
                    f"node {node!r} has spent its "
                    f"{_restarts(options.node_window_restarts)} within {window:g} s"
                )
        if options.node_no_progress is not None:
            barren = barren_in_a_row([*(one.report for one in past), report])
            if barren >= options.node_no_progress:
                yield f"node {node!r} has failed {_times(barren)} without progress"

    def _exclude(
        self,
        report: FailureReport,
        history: History,
        nodes: Sequence[str],
        why: str,
        asked: float | None = None,
    ) -> Decision:
        """Leave nodes out, if the job can go on without them."""
        options = self.options
        known = tuple(filter(None, nodes))
        if not known:
            delay = self._delay(report, history)
            reason = f"{self._restart(report, delay)}; nobody knows the node: {why}"
            return Decision(Verdict.RESTART, reason, delay)
        cool_down = asked or options.cool_down
        if cool_down is not None:
            times = max(exclusions(node, history) for node in known)
            most = max(cool_down, options.cool_down_max)
            cool_down = grown(cool_down, 2.0, times, most)
        elif end := self._too_few(report, known):
            left = f"without {_nodes(known)} too few nodes are left"
            return Decision(end, f"{why}; {left}")
        delay = self._delay(report, history)
        long = "for good" if cool_down is None else f"for {cool_down:g} s"
        return Decision(
            Verdict.EXCLUDE,
            f"{self._restart(report, delay)}, without {_nodes(known)} {long}: {why}",
            delay=delay,
            exclude=known,
            cool_down=cool_down,
        )

    def _too_few(self, report: FailureReport, nodes: Sequence[str]) -> Verdict | None:
        """Return how the job ends if it can't go on without these nodes."""
        if not report.group_size:
            return None
        left = report.group_size - len(nodes) + report.spares
        if left >= report.min_nodes:
            return None
        if self.options.too_few == "wait":
            # Where nobody is left, nobody can wait.
            return None if left > 0 else Verdict.HAND_BACK
        return _VERDICTS[self.options.too_few]

    def _delay(self, report: FailureReport, history: History) -> float:
        options = self.options
        if not options.backoff:
            return 0.0
        row = length_of_row(report, history, options.backoff_reset)
        factor, most = options.backoff_factor, options.backoff_max
        return grown(options.backoff, factor, row - 1, most)

    def _restart(self, report: FailureReport, delay: float) -> str:
        number = f"restart {report.restarts + 1} of {self.max_restarts}"
        return f"{number} after {delay:g} s" if delay else number


def _because(match: FailureMatch) -> str:
    """Return why, as the row says; its own words are those of the user."""
    first = match.failures[0]
    if first.request is None:
        return f"on failure {match.row.text!r}"
    who = f"{first.who} on {first.host!r}"
    return f"{who} asked for {first.request.value!r}"


def _nodes(nodes: Sequence[str]) -> str:
    named = ", ".join(map(repr, nodes))
    return f"node {named}" if len(nodes) == 1 else f"nodes {named}"


def _restarts(count: int) -> str:
    return f"{count} restart" if count == 1 else f"{count} restarts"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _generations(count: int) -> str:
    return "the generation" if count == 1 else f"{count} generations in a row"
