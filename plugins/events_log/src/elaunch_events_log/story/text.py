"""A story as lines for people."""

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from elaunch_events_log.reading.entry import Entry
from elaunch_events_log.reading.lives import Life
from elaunch_events_log.story.run import Generation, Phase, Run


_CONTROLS = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What moves about on a terminal, turns text around, or is none."""
_SHOWN = 8
"""Nodes or failures that are listed; of others the number."""


def safe(text: str) -> str:
    """Return a text that does nothing to a terminal but stand there, in one line."""
    return _CONTROLS.sub(lambda found: ascii(found[0])[1:-1], text)


def safe_json(line: str) -> str:
    """Return a line of JSON that says the same and does nothing to a terminal."""
    # Within texts JSON itself allows none of those that separate its words.
    return _CONTROLS.sub(
        lambda found: " " if found[0] in "\t\r" else f"\\u{ord(found[0]):04x}", line
    )


def clock(time: float) -> str:
    """Return a time with its date, by the clock of this host."""
    when = dt.datetime.fromtimestamp(time, dt.UTC).astimezone()
    return when.isoformat(sep=" ", timespec="milliseconds")


def as_line(entry: Entry, node: str, life: Life | None = None) -> str:
    """Return one event as a line: time, generation, node, name, facts.

    Args:
        entry: The event.
        node: What to call its node.
        life: The life of the job in which it happened, where that is known.
    """
    facts = "".join(f" {key}={_value(value)}" for key, value in entry.facts.items())
    which = f"life{life.number}:" if life and life.of > 1 else ""
    where = f"{which}g{entry.generation} {node}"
    return safe(f"{clock(entry.time)} {where} {entry.name}{facts}")


def _value(value: object) -> str:
    plain = isinstance(value, str) and value.isprintable() and " " not in value
    try:
        return str(value) if plain and value else json.dumps(value)
    except RecursionError:
        return "..."


def as_text(run: Run) -> str:
    """Return the story of a run."""
    lines = [headline(run)]
    if run.root_cause:
        lines.append(f"  root cause: {run.root_cause}")
    if run.report:
        lines.append(f"  report: {run.report}")
    for generation in run.generations:
        lines += _generation(generation)
    if run.remarks:
        lines += ["", "also:", *(f"  {line}" for line in _some(run.remarks))]
    return "\n".join(map(safe, lines)) + "\n"


def headline(run: Run) -> str:
    """Return the run in one line."""
    goes_on = "began anew" if run.life < run.lives else "has no outcome yet"
    which = f", life {run.life} of {run.lives}" if run.lives > 1 else ""
    generations = counted(len(run.generations), "generation")
    nodes = counted(len(run.nodes), "node")
    took = f"{run.ended - run.began:.3f} s"
    how = f"{run.outcome or goes_on} after {took}"
    return f"job {run.run_id}{which}: {how}, {generations}, {nodes}"


def _generation(generation: Generation) -> Iterable[str]:
    yield ""
    yield title(generation)
    joined = [f"{node} ({ranks_of(ranks)})" for node, ranks in generation.nodes.items()]
    yield f"  joined: {', '.join(_some(joined))}"
    yield f"  took: {', '.join(timed(phase) for phase in generation.phases)}"
    for finding in _some(generation.findings):
        yield f"  found: {finding}"
    for failed in _some(
        [f"rank {w.rank} on {w.node}: {w.remark}" for w in generation.failures()]
    ):
        yield f"  failed: {failed}"
    if generation.stopped_for:
        yield f"  stopped: {generation.stopped_for}"
    for decision in _some(generation.decisions):
        yield f"  decided: {decision}"
    ends = ended(generation)
    yield f"  ended: {ends}"


def title(generation: Generation) -> str:
    """Return a generation in one line."""
    nodes = counted(len(generation.nodes), "node")
    workers = counted(generation.world_size, "worker")
    restarts = f", restart {generation.restarts}" if generation.restarts else ""
    reason = f" ({generation.reason})" if generation.reason else ""
    return f"generation {generation.number}{reason}: {nodes}, {workers}{restarts}"


def ended(generation: Generation) -> str:
    """Return how many workers ended how."""
    counts: dict[str, int] = {}
    for worker in generation.workers:
        how = worker.end or "not seen to end"
        counts[how] = counts.get(how, 0) + 1
    return (
        ", ".join(f"{count} {how}" for how, count in counts.items()) or "none started"
    )


def timed(phase: Phase) -> str:
    """Return how long a phase took."""
    return f"{phase.name} {phase.seconds:.3f} s"


def ranks_of(ranks: Sequence[int]) -> str:
    """Return the ranks of a node in short."""
    if not ranks:
        return "no ranks"
    alone = len(ranks) == 1
    return f"rank {ranks[0]}" if alone else f"ranks {ranks[0]}-{ranks[-1]}"


def counted(number: int, thing: str) -> str:
    """Return a number of things."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _some(items: Sequence[str]) -> list[str]:
    more = len(items) - _SHOWN
    shown = list(items[:_SHOWN])
    return [*shown, f"and {more} more"] if more > 0 else shown


PHASES: Mapping[str, str] = {
    "rendezvous": "from a node's wish to join to its membership",
    "spawn": "from membership to the start of all its workers",
    "first heartbeat": "from there to the first heartbeat of all its workers",
    "ran": "from the start of all its workers to the first end",
    "detect": "from the first failure to the moment a node begins to stop its workers",
    "stop": "from there to the end of all its workers",
    "down": "from what ended the generation before to the start of all workers",
}
"""What each phase is, on the node where it took longest."""
