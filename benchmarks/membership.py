"""How long a job takes to follow its nodes, and whether all of them agree.

    python benchmarks/membership.py [--rounds N] [--backend NAME --endpoint WHERE]

Real agents on this machine, whose workers say when they begin and when they are told to
stop, then sleep. Nodes are powered off, join and leave in turn; the figures are the
minimum, median and maximum of all rounds, beside the goal. "agreed" counts the rounds
in which all ranks of the next generation told one size, one restart count (0) and one
new endpoint, each rank once, after the workers of the generation before were told to
stop, and in which nobody was disturbed without need. One without agreement makes the
exit status 1; a slow one does not, but tells what happened when.

Without `--endpoint`, an agent of another job hosts a store for the backend `c10d`, so
that every node of the measured job can die.
"""

import argparse
import contextlib
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from nodes import Job, Node, Said, free_endpoint


KILL_GOAL = 1.0
"""Seconds from a power-off to the last worker of the next generation."""

CHANGE_GOAL = 0.5
"""Seconds from a node's wish to join or leave to the last worker that learns of it."""

MAX_NODES = 3

PHASES = (
    ("noticed", "generation.superseded"),
    ("workers stopped", "group.stopped"),
    ("next generation sealed", "generation.joined"),
    ("endpoint known", "bootstrap.ready"),
    ("workers started", "group.started"),
)
"""What happens on each node that stays, and the event that ends it."""


@attrs.frozen
class Change:
    """One change that was followed to its end.

    Attributes:
        told: Seconds until the last worker of the old generation was told to stop.
        running: Seconds until the last worker of the new generation began.
        phases: Seconds that the slowest node spent in each of `PHASES`, then until
            its worker's first line.
        disagreement: What the workers disagree on, or empty.
        timeline: What happened when.
    """

    told: float
    running: float
    phases: tuple[float, ...]
    disagreement: str
    timeline: Sequence[str]


@attrs.define
class Row:
    """All rounds of one kind of change."""

    title: str
    goal: float
    changes: list[Change] = attrs.field(factory=list)
    starts: list[float] = attrs.field(factory=list)


class Membership:
    """A running job, and what it has agreed on last."""

    def __init__(self, job: Job, nodes: int) -> None:
        self.job = job
        for _ in range(nodes):
            job.start()
        self.lines = job.generation(after=0)

    @property
    def generation(self) -> int:
        """Number of the current generation."""
        return self.lines[0].generation

    def join(self, row: Row) -> None:
        """Add a node. Its own start, up to its wish to join, is not the job's time."""
        launched = time.time()
        node = self.job.start()
        event = self.job.event(node, "rendezvous.joining")
        row.starts.append(event.time - launched)
        self._follow(row, event.time)

    def power_off(self, node: Node, row: Row) -> None:
        """Kill a member."""
        self.job.remove(node)
        self._follow(row, node.power_off())

    def leave(self, node: Node, row: Row) -> None:
        """Tell a member to leave."""
        begin = node.terminate()
        self.job.remove(node)
        node.end()
        self._follow(row, begin)

    def power_off_spare(self, row: Row, settle: float) -> None:
        """Let a spare come and be killed; nothing may come of it."""
        before = time.time()
        spare = self.job.start()
        self.job.event(spare, "rendezvous.waiting")
        self.job.remove(spare)
        spare.power_off()
        time.sleep(settle)
        news = [
            f"{node.name}: {event.name}"
            for node in self.job.nodes
            for event in node.events
            if event.time > before
        ]
        row.changes.append(Change(0, 0, (), "; ".join(news), self.job.timeline(before)))

    def _follow(self, row: Row, begin: float) -> None:
        old, self.lines = self.lines, self.job.generation(self.generation)
        told = [
            line.time
            for node in (*self.job.nodes, *self.job.gone)
            for line in node.said
            if (line.what, line.generation) == ("is_told", old[0].generation)
        ]
        disagreed = disagreement(old, self.lines)
        if max(told) > min(line.time for line in self.lines):
            disagreed = f"two generations at once; {disagreed}"
        row.changes.append(
            Change(
                told=max(told) - begin,
                running=max(line.time for line in self.lines) - begin,
                phases=self._phases(begin),
                disagreement=disagreed,
                timeline=self.job.timeline(begin),
            )
        )

    def _phases(self, begin: float) -> tuple[float, ...]:
        """Follow the node whose worker began last."""
        last = max(self.lines, key=lambda line: line.time)
        node = next(node for node in self.job.nodes if node.name == last.node)
        marks = [begin]
        for _, name in PHASES:
            events = node.happened(name, since=begin)
            marks.append(events[0].time if events else marks[-1])
        marks.append(last.time)
        return tuple(after - before for before, after in itertools.pairwise(marks))


def disagreement(old: Sequence[Said], new: Sequence[Said]) -> str:
    """Return in what the workers of a generation disagree, or nothing."""
    found = []
    size = len(new)
    if {line.generation for line in new} != {old[0].generation + 1}:
        found.append(f"generation {new[0].generation} after {old[0].generation}")
    if sorted(line.rank for line in new) != list(range(size)):
        found.append(f"ranks {sorted(line.rank for line in new)}")
    if {line.size for line in new} != {size}:
        found.append(f"sizes {sorted({line.size for line in new})} of {size} workers")
    if {line.restarts for line in new} != {0}:
        found.append(f"restart counts {sorted({line.restarts for line in new})}")
    endpoints = {line.endpoint for line in new}
    if len(endpoints) != 1 or old[0].endpoint in endpoints:
        found.append(f"endpoints {sorted(endpoints)} after {old[0].endpoint}")
    return "; ".join(found)


@contextlib.contextmanager
def running(flags: Sequence[str]) -> Iterator[Job]:
    """Give a job without nodes; end those that it got."""
    with tempfile.TemporaryDirectory() as folder:
        job = Job(Path(folder), flags)
        try:
            yield job
        finally:
            job.close()


def kill(job: Job, rounds: int, settle: float) -> list[Row]:
    """Power off the coordinator, other members and spares; replace each."""
    rows = [
        Row("coordinator killed -> others running", KILL_GOAL),
        Row("member killed -> others running", KILL_GOAL),
        Row("its replacement joins", CHANGE_GOAL),
        Row("spare killed -> nobody notices", 0),
    ]
    coordinator, member, replaced, spare = rows
    membership = Membership(job, 3)
    for _ in range(rounds):
        membership.power_off(job.coordinator(), coordinator)
        membership.join(replaced)
    for _ in range(rounds):
        other = next(node for node in job.nodes if node is not job.coordinator())
        membership.power_off(other, member)
        membership.join(replaced)
    for _ in range(rounds):
        membership.power_off_spare(spare, settle)
    return rows


def scale(job: Job, rounds: int) -> list[Row]:
    """Let nodes join and leave, by turns the coordinator and another."""
    rows: dict[str, Row] = {}

    def row(title: str) -> Row:
        return rows.setdefault(title, Row(title, CHANGE_GOAL))

    membership = Membership(job, 1)
    for number in range(2 * rounds):
        for size in range(1, MAX_NODES):
            membership.join(row(f"join {size} -> {size + 1}"))
        for size in range(MAX_NODES, 1, -1):
            decides = job.coordinator()
            if number % 2:
                membership.leave(
                    decides, row(f"coordinator leaves {size} -> {size - 1}")
                )
            else:
                other = next(node for node in job.nodes if node is not decides)
                membership.leave(other, row(f"member leaves {size} -> {size - 1}"))
    return list(rows.values())


def show(rows: Sequence[Row]) -> bool:
    """Print the table, where the time went, and what was slow; tell if all agreed."""
    print(
        f"{'':38} {'goal':>6}   {'all told to stop':^20}   {'all running':^20}   agreed"
    )
    for row in rows:
        good = sum(not change.disagreement for change in row.changes)
        line = f"{row.title:38} "
        if row.goal:
            line += f"{row.goal:5.1f}s   {spread([c.told for c in row.changes])}   "
            line += f"{spread([c.running for c in row.changes])}"
        else:
            line += f"{'-':>6}   {'':20}   {'':20}"
        print(f"{line}   {good} of {len(row.changes)}")
    starts = [start for row in rows for start in row.starts]
    print(f"{'start of a joining agent, not counted':38} {'':6}   {spread(starts)}\n")
    names = [name for name, _ in PHASES]
    print("where the time went: medians of the node that was last, in milliseconds")
    print(f"{'':38} " + " ".join(f"{name:>22}" for name in (*names, "user code")))
    for row in rows:
        columns = zip(*(change.phases for change in row.changes), strict=True)
        medians = [1000 * statistics.median(column) for column in columns]
        if medians:
            print(f"{row.title:38} " + " ".join(f"{m:22.0f}" for m in medians))
    for row in rows:
        for change in row.changes:
            if change.disagreement or change.running > row.goal > 0:
                what = change.disagreement or f"slow: {change.running:.3f} s"
                print(f"\n{row.title}: {what}", *change.timeline, sep="\n  ")
    return not any(change.disagreement for row in rows for change in row.changes)


def spread(values: Sequence[float]) -> str:
    """Return minimum, median and maximum."""
    return f"{min(values):6.3f} {statistics.median(values):6.3f} {max(values):6.3f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--backend", default="c10d")
    parser.add_argument("--endpoint", help="default: a store of its own, by c10d")
    parser.add_argument("--conf", default="", help="more of --rdzv-conf")
    parser.add_argument(
        "--settle", type=float, default=1.5, help="seconds until a death is known"
    )
    options = parser.parse_args()
    endpoint = options.endpoint or free_endpoint()
    conf = ",".join(filter(None, ("last_call_timeout=0", options.conf)))
    flags = ["--rdzv-backend", options.backend, "--rdzv-endpoint", endpoint]
    flags += ["--local-addr", "127.0.0.1"]
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        if options.endpoint is None:
            host = stack.enter_context(running([*flags, "--rdzv-id", "host"]))
            host.event(host.start(), "group.started")
        flags += ["--rdzv-conf", conf, "--nnodes"]
        with running([*flags, "2:3", "--rdzv-id", "kill"]) as job:
            rows += kill(job, options.rounds, options.settle)
        with running([*flags, "1:3", "--rdzv-id", "scale"]) as job:
            rows += scale(job, options.rounds)
    sys.exit(not show(rows))


if __name__ == "__main__":
    main()
