"""``elaunch explain`` and ``--dry-run``: the plan of a run, for people and tools."""

import json
import os
import shlex
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from elaunch.cli.actions import flag_of, settings_of
from elaunch.cli.found import Origin
from elaunch.cli.parser import run_parser
from elaunch.cli.run import config_of, entry_of
from elaunch.cli.settings import Resolved
from elaunch.environ import WITHHELD
from elaunch.launcher.plan import HIDDEN, Plan, WorkerPlan, plan, without_secrets


WIDTH = 79

_NO_SETTINGS = ("dry_run", "verbose", "quiet")
"""Flags about what is said, not about what runs."""


@attrs.frozen
class Setting:
    """One setting.

    Attributes:
        name: Its flag.
        value: What it is, as text.
        source: Who says so.
        default: Whether nobody does.
    """

    name: str
    value: str
    source: str
    default: bool = False


def explain(resolved: Resolved) -> int:
    """Print the plan of a run, and return the exit status.

    Args:
        resolved: The settings, filled.

    Raises:
        ElaunchError: What a run would raise before it starts anything.
    """
    args = resolved.args
    made = plan(config_of(resolved), entry_of(args, os.environ))
    settings = list(all_settings(resolved))
    if getattr(args, "json", False):
        text = as_json(made, settings, resolved.notes)
    else:
        text = as_text(made, settings, resolved.notes, everything=args.verbose)
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # Whoever read it has read enough; the interpreter would complain at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def all_settings(resolved: Resolved) -> Iterator[Setting]:
    """Yield each setting as it is told."""
    for name, action in settings_of(run_parser("elaunch run")).items():
        if name not in _NO_SETTINGS:
            yield Setting(
                flag_of(action),
                _shown(name, getattr(resolved.args, name)),
                resolved.sources[name],
                default=resolved.origins[name] is Origin.DEFAULT,
            )


def _shown(name: str, value: object) -> str:
    if name == "env" and isinstance(value, list):
        return ", ".join(f"{pair.partition('=')[0]}={HIDDEN}" for pair in value) or "-"
    if isinstance(value, list):
        return ", ".join(without_secrets(str(one)) for one in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value in (None, "") else without_secrets(str(value))


def as_json(plan: Plan, settings: Sequence[Setting], notes: Sequence[str]) -> str:
    """Return the plan for tools: all settings, the defaults too."""
    document: dict[str, Any] = {
        "settings": [
            {"name": s.name, "value": s.value, "source": s.source} for s in settings
        ],
        **attrs.asdict(plan),
        "notes": list(notes),
    }
    return json.dumps(document, indent=2)


def as_text(
    plan: Plan, settings: Sequence[Setting], notes: Sequence[str], *, everything: bool
) -> str:
    """Return the plan for people, on 80 columns.

    Args:
        plan: The plan.
        settings: All settings.
        notes: What a run would warn of.
        everything: Whether to show settings that have their default, too.
    """
    shown = [s for s in settings if everything or not s.default]
    sections: list[tuple[str, Callable[[], Iterator[str]]]] = [
        (
            "settings" if everything else "settings that are no defaults",
            lambda: _settings(shown),
        ),
        ("backends", lambda: _backends(plan)),
        ("ranks", lambda: _ranks(plan)),
        ("commands", lambda: _commands(plan.workers)),
        ("environment", lambda: _environments(plan.workers)),
        ("output", lambda: _output(plan)),
        ("what happens when", lambda: _outcomes(plan)),
        ("notes", lambda: _wrapped(notes)),
    ]
    lines = ["This is what would run; nothing was started."]
    for head, section in sections:
        body = list(section())
        if body:
            lines += ["", head, *body]
    return "\n".join(lines)


def _settings(settings: Sequence[Setting]) -> Iterator[str]:
    yield from _table([(s.name, s.value, s.source) for s in settings])


def _backends(plan: Plan) -> Iterator[str]:
    rows = []
    for backend in plan.backends:
        options = ",".join(f"{k}={v}" for k, v in backend.options.items())
        name = f"{backend.name}:{options}" if options else backend.name
        rows.append((backend.kind, name, f"{backend.distribution} {backend.version}"))
    yield from _table(rows)


def _ranks(plan: Plan) -> Iterator[str]:
    ranks, count = plan.ranks, len(plan.workers)
    nodes = _span(ranks.nodes, "node")
    if ranks.nodes == (1, 1):
        yield from _paragraph(f"{nodes}, {_span(ranks.workers, 'worker')}")
    else:
        yield from _paragraph(
            f"{nodes}, {_span(ranks.workers, 'worker')} if each node has as many as "
            f"this one ({count})"
        )
        yield from _paragraph(f"they meet at {plan.endpoint}, as job {plan.run_id}")
    first, last = ranks.first
    ours = _span((count, count), "rank")
    if first == last:
        numbers = f"{first}" if count == 1 else f"{first} to {first + count - 1}"
        where = f"this node: rank{'s' * (count > 1)} {numbers}"
    else:
        where = f"this node: {ours} from {first} to {last + count - 1}"
    if ranks.node is not None:
        where += f"; it is node {ranks.node} ({ranks.source})"
    elif ranks.nodes[1] > 1:
        where += "; nodes are numbered in the order in which they join"
    yield from _paragraph(where)


def _commands(workers: Sequence[WorkerPlan]) -> Iterator[str]:
    commands = {worker.local_rank: shlex.join(worker.argv) for worker in workers}
    for who, command in _grouped(commands):
        yield from _paragraph(f"{who}: {command}", indent=4)


def _environments(workers: Sequence[WorkerPlan]) -> Iterator[str]:
    yield from _paragraph(f"the agent's own, but {', '.join(WITHHELD)}")
    everybody = workers[0].environment
    same = [
        name
        for name in everybody
        if all(w.environment.get(name) == everybody[name] for w in workers)
    ]
    if len(workers) == 1:
        yield from _assignments(everybody, list(everybody))
        return
    yield "  all local ranks"
    yield from _assignments(everybody, same, indent=4)
    for worker in workers:
        own = [name for name in worker.environment if name not in same]
        pairs = " ".join(f"{name}={worker.environment[name]}" for name in own)
        yield from _paragraph(f"local rank {worker.local_rank}: {pairs}", indent=4)


def _assignments(
    environment: Mapping[str, str], names: Sequence[str], indent: int = 2
) -> Iterator[str]:
    for name in names:
        yield from _paragraph(
            f"{name}={environment[name]}", start=indent, indent=indent + 4
        )


def _output(plan: Plan) -> Iterator[str]:
    streams: list[tuple[str, Callable[[WorkerPlan], Sequence[str]]]] = [
        ("stdout", lambda worker: worker.stdout),
        ("stderr", lambda worker: worker.stderr),
    ]
    for stream, places_of in streams:
        places = {w.local_rank: " and ".join(places_of(w)) for w in plan.workers}
        for who, where in _grouped(places):
            yield from _paragraph(f"{stream} of {who}: {where or 'nowhere'}")
    if plan.logs:
        yield from _paragraph(f"files: below {plan.logs}")
    yield from _paragraph(f"report of a failed job: {plan.failure_report}")


def _outcomes(plan: Plan) -> Iterator[str]:
    for outcome in plan.outcomes:
        yield f"  {outcome.when}"
        yield from _paragraph(outcome.then, start=4, indent=4)


def _wrapped(texts: Sequence[str]) -> Iterator[str]:
    for text in texts:
        yield from _paragraph(text)


def _grouped(texts: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    """Yield who has each text, and the text; the texts are those of local ranks."""
    groups: dict[str, list[int]] = {}
    for local_rank, text in texts.items():
        groups.setdefault(text, []).append(local_rank)
    for text, members in groups.items():
        if len(groups) == 1:
            yield ("the worker" if len(members) == 1 else "all workers"), text
        else:
            listed = ", ".join(map(str, members))
            yield f"local rank{'s' * (len(members) > 1)} {listed}", text


def _span(ends: tuple[int, int], word: str) -> str:
    least, most = ends
    count = f"{least}" if least == most else f"{least} to {most}"
    return f"{count} {word}{'s' * (most != 1)}"


def _table(rows: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    """Yield rows in columns; what does not fit in stands on a line of its own."""
    if not rows:
        return
    first = max(len(row[0]) for row in rows)
    second = min(max(len(row[1]) for row in rows), 30)
    for name, value, source in rows:
        line = f"  {name:{first}}  {value:{second}}"
        if len(value) <= second and len(line) + 2 + len(source) <= WIDTH:
            yield f"{line}  {source}"
        else:
            yield from _paragraph(f"{name:{first}}  {value}", indent=first + 4)
            yield from _paragraph(source, start=first + 4, indent=first + 4)


def _paragraph(text: str, *, start: int = 2, indent: int = 2) -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=" " * start,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
