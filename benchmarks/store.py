"""How fast our store server is, with asyncio and with uvloop; beside torch's in C++.

    python benchmarks/store.py [--only NAME ...] [--rounds N] [--quick] [--no-torch]

The servers run in processes of their own and are measured by turns, because machines
are noisy; a figure is the best of the rounds, since noise only slows down. The clients
are plain sockets that send what was encoded before, so that they are the same for all
servers, and some rows use our blocking client and torch's. A ratio is our figure
divided by torch's, so its goal is a lower limit where more is better, and an upper one
where less is.

A wake-up is the time from a client's set to the moment when another process, which
waits for that key, knows; p50 and p99 are of one round. gloo's ranks are connected to
the store before the clock starts. Memory is what the server's resident set grows by.
"""

import argparse
import itertools
import json
import os
import resource
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from importlib.util import find_spec

import attrs
from store_clients import Clients
from store_measures import CLIENTS, MEASURES, RANKS, SOCKETS, Measure, Row, Trial
from store_servers import ASYNCIO, TORCH, UVLOOP, Server


SPARE_DESCRIPTORS = 64
"""What a server needs beside one descriptor a client."""

ENVIRONMENT = {
    "PYTHONWARNINGS": "ignore",
    "TORCH_CPP_LOG_LEVEL": "ERROR",
    "RES_OPTIONS": "timeout:1 attempts:1",
}
"""For our processes: torch warns of what is no matter here, and asks name servers."""

_SECONDS = 0.15  # of one load
_QUICK_SECONDS = 0.1

_salts = itertools.count()


@attrs.frozen
class Figures:
    """What was measured for one row.

    Attributes:
        row: What it is.
        rounds: The figures of each server.
    """

    row: Row
    rounds: Mapping[str, Sequence[float]]

    def best(self, kind: str) -> float:
        """Return the figure to print of a server."""
        return (max if self.row.more else min)(self.rounds[kind])

    def ratio(self, kind: str) -> float | None:
        """Return a server's figure divided by torch's, if that was measured."""
        if TORCH not in self.rounds or kind == TORCH:
            return None
        return self.best(kind) / self.best(TORCH)

    def missed(self, kind: str) -> bool:
        """Return whether a server misses its goal."""
        goal, ratio = self.row.goals.get(kind), self.ratio(kind)
        if goal is None or ratio is None:
            return False
        return ratio < goal if self.row.more else ratio > goal


def measured(
    measure: Measure,
    servers: Mapping[str, Server],
    clients: Clients,
    rounds: int,
    seconds: float,
) -> list[Figures]:
    """Measure all servers by turns."""
    found: dict[str, list[Sequence[float]]] = {kind: [] for kind in servers}
    for _ in range(min(rounds, measure.rounds)):
        for kind, server in servers.items():
            with Server.start(kind) if measure.fresh else nullcontext(server) as used:
                trial = Trial(used, clients, seconds, str(next(_salts)))
                found[kind].append(measure.figures(trial))
    return [
        Figures(row, {kind: [one[at] for one in found[kind]] for kind in servers})
        for at, row in enumerate(measure.rows)
    ]


def heading(kinds: Sequence[str]) -> str:
    """Return the first line of the table."""
    line = f"{'':38} {'':6}"
    for kind in kinds:
        line += f" {kind:>10}" + (
            f" {'ratio':>6} {'goal':>8} " if kind != TORCH else ""
        )
    return line.rstrip()


def shown(figures: Figures, kinds: Sequence[str]) -> str:
    """Return a line of the table."""
    row = figures.row
    line = f"{row.title:38} {row.unit:6}"
    for kind in kinds:
        value = figures.best(kind)
        line += f" {value:10,.0f}" if value >= 100 else f" {value:10.2f}"  # noqa: PLR2004 - digits that matter
        if kind == TORCH:
            continue
        ratio, goal = figures.ratio(kind), row.goals.get(kind)
        line += f" {ratio:5.2f}x" if ratio is not None else f" {'':6}"
        sign = ">=" if row.more else "<="
        line += f" {sign} {goal:.2f}x" if goal is not None else f" {'':8}"
        line += "!" if figures.missed(kind) else " "
    return line.rstrip()


def as_data(figures: Figures) -> dict[str, object]:
    """Return a row as JSON has it."""
    ratios = {kind: figures.ratio(kind) for kind in figures.rounds if kind != TORCH}
    return {
        "what": figures.row.title.strip(),
        "unit": figures.row.unit,
        "more_is_better": figures.row.more,
        "rounds": figures.rounds,
        "ratios": ratios,
        "goals": figures.row.goals,
    }


def allow_descriptors() -> int:
    """Raise the limit of open descriptors as far as we may; return it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted({measure.name for measure in MEASURES})
    parser.add_argument(
        "--only", nargs="+", choices=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--no-torch", action="store_true", help="ours alone")
    parser.add_argument("--json", action="store_true", help="all rounds, as JSON")
    return parser.parse_args()


def available(asked: argparse.Namespace) -> list[str]:
    """Return the servers that can be measured; say what the others need."""
    kinds = [ASYNCIO]
    if not asked.no_torch:
        if find_spec("torch") is None:
            sys.exit(
                "torch is not installed for this interpreter: run "
                "'make test-interop', which installs it, or pass --no-torch"
            )
        kinds.insert(0, TORCH)
    if find_spec("uvloop") is not None:
        kinds.append(UVLOOP)
    else:
        print("without uvloop, which 'pip install uvloop' adds", file=sys.stderr)
    return kinds


def main() -> None:
    """Measure and print."""
    asked = options()
    kinds = available(asked)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    measures = [
        measure
        for measure in MEASURES
        if (not asked.only or measure.name in asked.only)
        and not (measure.torch and asked.no_torch)
    ]
    allowed = allow_descriptors()
    if allowed < SOCKETS + SPARE_DESCRIPTORS:
        print(f"{allowed:,} descriptors are too few for the storm", file=sys.stderr)
        measures = [measure for measure in measures if measure.name != "storm"]
    rounds = 1 if asked.quick else asked.rounds
    seconds = _QUICK_SECONDS if asked.quick else _SECONDS
    modules = ["store_load"] if asked.no_torch else ["store_load", "torch.distributed"]
    rows = []
    with ExitStack() as stack:
        servers = {kind: stack.enter_context(Server.start(kind)) for kind in kinds}
        clients = stack.enter_context(Clients(max(*CLIENTS, *RANKS), modules))
        if not asked.json:
            print(f"{os.cpu_count()} cores, load {load()}\n{heading(kinds)}")
        for measure in measures:
            for figures in measured(measure, servers, clients, rounds, seconds):
                rows.append(as_data(figures))
                if not asked.json:
                    print(shown(figures, kinds), flush=True)
    if asked.json:
        print(json.dumps(rows, indent=1))
    else:
        print(f"load {load()}; ! misses a goal")


def load() -> str:
    """Return how busy the machine is."""
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


if __name__ == "__main__":
    main()
