"""Faults of what a restart policy decides: of the table, the budgets and the replay."""

from mutation import Mutant


POLICY = (
    Mutant(
        name="take any failure for the root cause",
        file="failure_table/table.py",
        old="if row.kind is not Kind.REQUEST and row.matches(first):",
        new="if row.kind is not Kind.REQUEST and any(map(row.matches, failures)):",
        promise="a row is looked for by the root cause",
        suite="failure_table",
    ),
    Mutant(
        name="hear requests of the root cause alone",
        file="failure_table/table.py",
        old="others = [failure for failure in failures if failure is not first]",
        new="others: list[ProcessFailure] = []",
        promise="what a worker asks for counts whoever failed first",
        suite="failure_table",
    ),
    Mutant(
        name="take what a monitor found for an exit code",
        file="failure_table/kinds.py",
        old="failure.ending is not Ending.UNHEALTHY and failure.exitcode >= 0",
        new="failure.exitcode >= 0",
        promise="a finding has no exit code",
        suite="failure_table",
    ),
    Mutant(
        name="give one restart too many",
        file="restart_budget/judging.py",
        old="if report.restarts >= most:",
        new="if report.restarts > most:",
        promise="no job has more restarts than its budget",
        suite="planner",
    ),
    Mutant(
        name="forget no restart of a window",
        file="restart_budget/counts.py",
        old="_restarted(one) and now - one.report.time < seconds for one in past",
        new="_restarted(one) for one in past",
        promise="a window forgets",
        suite="restart_budget",
    ),
    Mutant(
        name="take standing still for progress",
        file="restart_budget/counts.py",
        old="farthest is None or progress > farthest",
        new="farthest is None or progress >= farthest",
        promise="a job that gets nowhere ends",
        suite="restart_budget",
    ),
    Mutant(
        name="take one quick failure for all",
        file="restart_budget/counts.py",
        old="    return all(\n        failure.uptime is not None",
        new="    return any(\n        failure.uptime is not None",
        promise="one worker that ran for long is enough",
        suite="restart_budget",
    ),
    Mutant(
        name="count what a node cost before it was left out",
        file="restart_budget/counts.py",
        old="        if node in one.decision.exclude:\n            found = []\n",
        new="",
        promise="a node that returns has its budget anew",
        suite="restart_budget",
    ),
    Mutant(
        name="never stop a row of failures",
        file="restart_budget/counts.py",
        old="count = 1 if long or farther else count + 1",
        new="count = count + 1",
        promise="a good run ends the back-off",
        suite="restart_budget",
    ),
    Mutant(
        name="exclude at no cost",
        file="restart_budget/judging.py",
        old='(report, history, match), "")\n        if spent:',
        new=(
            '(report, history, match), "")\n'
            "        if spent and not (match and match.row.then is Treatment.EXCLUDE):"
        ),
        promise="an exclusion costs a restart",
        suite="restart_budget",
    ),
    Mutant(
        name="wait where nobody is left",
        file="restart_budget/judging.py",
        old="return None if left > 0 else Verdict.HAND_BACK",
        new="return None",
        promise="a job of which no node is left is handed back",
        suite="restart_budget",
    ),
    Mutant(
        name="replay what was taken back",
        file="replay/replaying.py",
        old="past = [self._past[g] for g in told.history if g in self._past]",
        new="past = list(self._past.values())",
        promise="a failure that was taken back costs nothing",
        suite="replay",
    ),
    Mutant(
        name="let who is left out fail in a replay",
        file="replay/replaying.py",
        old="if report.time < self._out_until.get(node, -math.inf):",
        new="if False:",
        promise="what would not have happened costs nothing",
        suite="replay",
    ),
    Mutant(
        name="take a job that began anew for the old one",
        file="replay/lives.py",
        old="if life is None or not _belongs(one, life):",
        new="if life is None:",
        promise="jobs with one id are told apart",
        suite="replay",
    ),
)
