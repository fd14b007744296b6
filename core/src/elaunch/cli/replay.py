"""``elaunch replay``: what another restart policy would have decided."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any


# Its flags are needed for the help of all commands.
if TYPE_CHECKING:
    from elaunch.decisions import Asked
    from elaunch.policy import Decision, RestartPolicy
    from elaunch.replay import RecordedDecision, Replay, Step


STDIN = "-"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to the parser of the command."""
    parser.add_argument(
        "--policy",
        "--restart-policy",
        metavar="NAME[:K=V,...]",
        help="the policy that is asked (default: the recorded one)",
    )
    parser.add_argument(
        "--max-restarts",
        metavar="N",
        type=int,
        help="its budget (default: as recorded)",
    )
    parser.add_argument(
        "--on-failure",
        metavar="WHEN=THEN",
        action="append",
        help="what follows from some failures; may be given several times, '' for "
        "nothing (default: as recorded)",
    )
    parser.add_argument(
        "--run",
        metavar="ID",
        dest="run_ids",
        action="append",
        default=[],
        help="only this job; may be given several times (default: all)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for tools")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="events of the job, of all its nodes, as the recorder jsonl writes them; "
        "- for stdin",
    )


def show(args: argparse.Namespace) -> int:
    """Print the replay of each job and return the exit status.

    Raises:
        UsageError: If a file can't be read, or tells of no decision.
        PluginError: If there is no such policy.
    """
    from elaunch.errors import UsageError
    from elaunch.replay import lives_of, replay

    if args.max_restarts is not None and args.max_restarts < 0:
        raise UsageError(
            f"--max-restarts must not be negative, not {args.max_restarts}"
        )
    decisions = _read(args.files)
    lives = lives_of(one for one in decisions if _is_wanted(one, args.run_ids))
    if not lives:
        raise UsageError(_nothing(decisions, args))
    told = []
    for life in lives:
        asked = _asked(args, life[-1].decided.asked)
        told.append((asked, replay(life, _policy(asked))))
    if args.json:
        import json

        print(json.dumps([_document(asked, found) for asked, found in told], indent=2))
        return 0
    from elaunch.text import printable

    for number, (asked, found) in enumerate(told):
        # Workers have a part in the messages.
        lines = map(printable, _lines(asked, found))
        print("\n".join(["", *lines] if number else lines))
    return 0


def _read(files: Sequence[str]) -> "list[RecordedDecision]":
    from elaunch.errors import UsageError
    from elaunch.replay import read_decisions

    found: list[RecordedDecision] = []
    for name in files:

        def complain(number: int, why: str, name: str = name) -> None:
            sys.stderr.write(f"elaunch: {name}:{number} is no decision: {why}\n")

        if name == STDIN:
            found += read_decisions(sys.stdin.buffer, complain)
            continue
        try:
            with open(name, "rb") as file:  # noqa: PTH123 - as elsewhere in this package
                found += read_decisions(file, complain)
        except OSError as error:
            raise UsageError(f"can't read {name!r}: {error.strerror}") from None
    return found


def _is_wanted(one: "RecordedDecision", run_ids: Sequence[str]) -> bool:
    return not run_ids or one.run_id in run_ids


def _nothing(decisions: "Sequence[RecordedDecision]", args: argparse.Namespace) -> str:
    from elaunch.text import quoted

    files = ", ".join(map(repr, args.files))
    if decisions:
        known = quoted({one.run_id for one in decisions})
        return f"{files}: no decision about {quoted(args.run_ids)}; there are {known}"
    return (
        f"{files}: no decision of a restart policy; no worker failed, or the events of "
        f"the node that decided are elsewhere: give the files of all nodes, which "
        f"'elaunch run --event-recorder jsonl' writes"
    )


def _asked(args: argparse.Namespace, recorded: "Asked") -> "Asked":
    """Return which policy is to be asked: as the user says, else as recorded.

    Raises:
        UsageError: If nobody says how many restarts there were.
    """
    from elaunch.decisions import Asked
    from elaunch.errors import UsageError

    most = recorded.max_restarts if args.max_restarts is None else args.max_restarts
    if most is None:
        raise UsageError("the budget was not recorded; give --max-restarts")
    rows = recorded.on_failure
    if args.on_failure is not None:
        rows = tuple(row for row in args.on_failure if row.strip())
    return Asked(
        policy=args.policy or recorded.policy or "default",
        max_restarts=most,
        on_failure=rows,
    )


def _policy(asked: "Asked") -> "RestartPolicy":
    from elaunch.failure_table import FailureTable
    from elaunch.plugins import load_plugins
    from elaunch.policy import PolicyParameters

    FailureTable.parse(asked.on_failure)  # also where the policy makes nothing of it
    params = PolicyParameters(asked.max_restarts or 0, asked.on_failure)
    policies = load_plugins().policies
    return policies.build(asked.policy or "default", "--policy", params)


def _lines(asked: "Asked", found: "Replay") -> Iterator[str]:
    from elaunch.replay import WOULD_HAVE

    count = len(found.steps)
    failures = "1 failure" if count == 1 else f"{count} failures"
    rows = "".join(f" --on-failure {row!r}" for row in asked.on_failure)
    yield f"job {found.run_id}: {failures}"
    budget = f"--max-restarts {asked.max_restarts}"
    yield f"asked: --restart-policy {asked.policy} {budget}{rows}"
    for step in found.steps:
        yield ""
        yield from _of_step(step)
    yield ""
    last = found.steps[-1].recorded.generation
    yield f"recorded: the job has {WOULD_HAVE[found.recorded]} after generation {last}"
    last, end = found.ended_after or last, WOULD_HAVE[found.replayed]
    yield f"replayed: it would have {end} after generation {last}"


def _of_step(step: "Step") -> Iterator[str]:
    from elaunch.failures import root_cause

    told = step.recorded.decided
    first = root_cause(told.report.failures)
    yield f"generation {told.report.generation}: {first.headline()}"
    if first.message:
        yield f"  error: {first.message}"
    if step.missing:
        unknown = ", ".join(map(str, step.missing))
        yield f"  not in these files: the failures of generations {unknown}"
    if step.taken_back:
        yield "  taken back: the loss of a node was its cause, and nothing comes of it"
    yield f"  recorded: {_said(told.decision)}"
    if step.replayed is None:
        yield f"  replayed: would not have happened: {step.instead}"
    elif step.replayed == told.decision:
        yield "  replayed: the same"
    else:
        same = "" if step.differs else "the same, "
        yield f"  replayed: {same}{_said(step.replayed)}"


def _said(decision: "Decision") -> str:
    return f"{decision.verdict.value}: {decision.reason}"


def _document(asked: "Asked", found: "Replay") -> dict[str, Any]:
    return {
        "run_id": found.run_id,
        "policy": asked.policy,
        "max_restarts": asked.max_restarts,
        "on_failure": list(asked.on_failure),
        "recorded": found.recorded.value,
        "replayed": found.replayed.value,
        "ended_after": found.ended_after,
        "failures": [_step_document(step) for step in found.steps],
    }


def _step_document(step: "Step") -> dict[str, Any]:
    from elaunch.failures import root_cause

    told = step.recorded.decided
    first = root_cause(told.report.failures)
    return {
        "generation": told.report.generation,
        "time": told.report.time,
        "root_cause": first.headline(),
        "message": first.message,
        "missing": list(step.missing),
        "taken_back": step.taken_back,
        "recorded": _facts(told.decision),
        "replayed": _facts(step.replayed) if step.replayed else None,
        "instead": step.instead,
        "differs": step.differs,
    }


def _facts(decision: "Decision") -> dict[str, Any]:
    return {
        "verdict": decision.verdict.value,
        "reason": decision.reason,
        "delay": decision.delay,
        "exclude": list(decision.exclude),
        "cool_down": decision.cool_down,
    }
