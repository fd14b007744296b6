"""What the restart policy makes of a failure, in plain sentences. Pure."""

from collections.abc import Iterator

from elaunch.config import LaunchConfig
from elaunch.failure_table import FailureRow, FailureTable, Treatment
from elaunch.options import build_options, parse_spec
from elaunch.restart_budget import BudgetOptions


def restarts(config: LaunchConfig) -> Iterator[str]:
    """Yield what follows when workers have failed and are stopped."""
    name, given = parse_spec(config.restart_policy, "--restart-policy")
    if config.on_failure:
        rows = FailureTable.parse(config.on_failure).rows
        yield "Rows of --on-failure come first:"
        yield "; ".join(map(_of_row, rows)) + "."
    if name != "default":
        yield f"The restart policy {config.restart_policy!r} decides, with a"
        yield f"budget of {times(config.max_restarts, 'restart')}."
        return
    options = build_options(BudgetOptions, given, "--restart-policy")
    assert isinstance(options, BudgetOptions)  # noqa: S101 - for mypy
    handed_back = options.spent == "hand-back"
    end = "exit code 93" if handed_back else "the exit code of the failure"
    first = "" if handed_back else " that came first"
    if not config.max_restarts:
        yield "No restart is allowed (--max-restarts 0): the job ends with"
        yield f"{end}{first}."
        return
    yield f"Workers are started again, {times(config.max_restarts, 'time')} at"
    yield "most for the whole job (--max-restarts). After that the job ends"
    yield f"with {end}{first}."
    yield from _budgets(options)
    yield from _of_nodes(options)
    if options.backoff:
        yield f"The first restart waits {options.backoff:g} s, each further one in a"
        yield f"row {options.backoff_factor:g} times as long, at most"
        yield f"{options.backoff_max:g} s."


def _of_row(row: FailureRow) -> str:
    when = repr(row.text.rpartition("=")[0])
    if row.then is Treatment.FAIL:
        return f"{when} ends the job"
    if row.then is Treatment.HAND_BACK:
        return f"{when} ends the job with exit code 93"
    if row.then is Treatment.RETRY:
        often = "" if row.most is None else f" {times(row.most, 'time')} at most"
        return f"{when} restarts it{often}"
    long = "" if row.cool_down is None else f" for {row.cool_down:g} s"
    return f"{when} leaves out the node{long}"


def _budgets(options: BudgetOptions) -> Iterator[str]:
    ends = []
    if options.window_restarts is not None:
        count = times(options.window_restarts, "restart")
        ends.append(f"{count} within {options.window:g} s are spent")
    if options.no_progress is not None:
        count = times(options.no_progress, "generation")
        ends.append(f"{count} in a row failed without progress")
    if options.min_uptime:
        count = times(options.quick_failures, "generation")
        ends.append(f"{count} in a row failed within {options.min_uptime:g} s")
    if ends:
        yield f"It ends before, if {', or '.join(ends)}."


def _of_nodes(options: BudgetOptions) -> Iterator[str]:
    reasons = []
    if options.node_restarts is not None:
        reasons.append(f"costs more than {times(options.node_restarts, 'restart')}")
    if options.node_window_restarts is not None:
        count = times(options.node_window_restarts, "restart")
        window = options.node_window or options.window
        reasons.append(f"costs more than {count} within {window:g} s")
    if options.node_no_progress is not None:
        count = times(options.node_no_progress, "time")
        reasons.append(f"fails {count} without progress")
    if not reasons:
        return
    if options.node_spent == "exclude":
        cool_down = options.cool_down
        long = "for good" if cool_down is None else f"for {cool_down:g} s"
        then = f"is left out {long}"
    else:
        then = "ends the job" + (", exit code 93" * (options.node_spent != "fail"))
    yield f"A node that {' or '.join(reasons)} {then}."


def times(count: int, word: str) -> str:
    """Return ``1 restart``, or ``3 restarts``."""
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
