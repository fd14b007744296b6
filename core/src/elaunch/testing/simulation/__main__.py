"""``python -m elaunch.testing.simulation``: explore seeds, or run one again."""

import argparse
import importlib
import sys
import time

from elaunch.testing.simulation.backend import NewBackend
from elaunch.testing.simulation.explore import Tally, explore, tell
from elaunch.testing.simulation.run import run
from elaunch.testing.simulation.scenario import FAMILIES, generate


def main() -> int:
    """Run what the arguments ask for; return 1 if a law was broken."""
    parser = argparse.ArgumentParser(prog="python -m elaunch.testing.simulation")
    parser.add_argument("--seeds", type=int, default=300, help="how many scenarios")
    parser.add_argument("--first", type=int, default=0, help="first seed of a family")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="this one alone")
    parser.add_argument("--seed", type=int, help="tell the story of this seed")
    parser.add_argument(
        "--backend",
        metavar="MODULE:NAME",
        type=_backend,
        help="run them on the store of this backend",
    )
    args = parser.parse_args()
    families = [args.family] if args.family else list(FAMILIES)
    if args.seed is not None:
        return _tell(families[0], args.seed, args.backend)
    return _explore(args.seeds, families, args.first, args.backend)


def _backend(name: str) -> NewBackend:
    module, _, attribute = name.partition(":")
    try:
        found: NewBackend = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"no backend {name!r}: {error}") from error
    return found


def _tell(family: str, seed: int, backend: NewBackend | None) -> int:
    report = run(generate(family, seed), backend)
    if report.broken:
        print(tell(report.scenario, backend))
        return 1
    print("\n".join(report.story))
    return 0


def _explore(
    seeds: int, families: list[str], first: int, backend: NewBackend | None
) -> int:
    began = time.monotonic()
    tallies = {family: Tally(family) for family in families}
    for report in explore(seeds, families, first, backend):
        tallies[report.scenario.family].add(report)
    for tally in tallies.values():
        print(tally.render())
    broken = [scenario for tally in tallies.values() for scenario in tally.broken]
    print(
        f"{sum(tally.seeds for tally in tallies.values())} seeds, "
        f"{sum(tally.steps for tally in tallies.values()):,} steps, "
        f"{sum(tally.faults.total() for tally in tallies.values()):,} faults, "
        f"{len(broken)} broken, {time.monotonic() - began:.0f} s"
    )
    for scenario in broken[:3]:
        print(f"\n{tell(scenario, backend)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
