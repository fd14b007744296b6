"""Explore: many seeds, and for the first that breaks a law the shortest story."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import attrs

from elaunch.testing.simulation.backend import NewBackend
from elaunch.testing.simulation.run import Report, run
from elaunch.testing.simulation.scenario import FAMILIES, Scenario, generate


STORY_LINES = 60
"""How many last lines of a story are shown."""


@attrs.define
class Tally:
    """What the runs of one family came to.

    Attributes:
        family: The family.
        seeds: How many seeds were run.
        steps: Callbacks that ran.
        seconds: Virtual seconds that passed.
        generations: Generations that were sealed.
        faults: How often each kind of stimulus was applied.
        broken: The scenarios that broke a law.
    """

    family: str
    seeds: int = 0
    steps: int = 0
    seconds: float = 0.0
    generations: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    broken: list[Scenario] = attrs.field(factory=list)

    def add(self, report: Report) -> None:
        """Count a run."""
        self.seeds += 1
        self.steps += report.steps
        self.seconds += report.seconds
        self.generations += report.generations
        self.faults.update(report.faults)
        if report.broken:
            self.broken.append(report.scenario)

    def render(self) -> str:
        """Return one line for each fact."""
        faults = ", ".join(f"{what} {n}" for what, n in sorted(self.faults.items()))
        return (
            f"{self.family:<11} {self.seeds:>6} seeds {self.steps:>11,} steps "
            f"{self.seconds:>10,.0f} virtual s {self.generations:>7,} generations "
            f"{len(self.broken):>3} broken\n            {faults}"
        )


def scenarios(seeds: int, families: Sequence[str], first: int = 0) -> list[Scenario]:
    """Return so many scenarios, spread over the families."""
    return [
        generate(families[number % len(families)], first + number // len(families))
        for number in range(seeds)
    ]


def explore(
    seeds: int,
    families: Sequence[str] = tuple(FAMILIES),
    first: int = 0,
    backend: NewBackend | None = None,
) -> Iterator[Report]:
    """Run so many scenarios on all cores; yield the reports in order.

    Args:
        seeds: How many scenarios.
        families: From which families, in turn.
        first: The first seed of each family.
        backend: Whose store to run them on, a function or class of a module; `None`
            for the simulated store.
    """
    briefly = partial(_run_briefly, backend=backend)
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        found = pool.map(briefly, scenarios(seeds, families, first), chunksize=8)
        yield from found


def _run_briefly(scenario: Scenario, backend: NewBackend | None) -> Report:
    """Run it; leave the story behind, which is told again if it matters."""
    return attrs.evolve(run(scenario, backend), story=())


def shrink(scenario: Scenario, backend: NewBackend | None = None) -> Scenario:
    """Return a scenario with as few stimuli as still break a law."""
    stimuli = list(scenario.stimuli)
    size = max(1, len(stimuli) // 2)
    while True:
        start = 0
        while start < len(stimuli):
            fewer = stimuli[:start] + stimuli[start + size :]
            shorter = attrs.evolve(scenario, stimuli=tuple(fewer))
            if run(shorter, backend).broken:
                stimuli = fewer
            else:
                start += size
        if size == 1:
            return attrs.evolve(scenario, stimuli=tuple(stimuli))
        size = max(1, size // 2)


def tell(scenario: Scenario, backend: NewBackend | None = None) -> str:
    """Return the shortest story that can be found for a scenario that breaks a law."""
    short = shrink(scenario, backend)
    report = run(short, backend)
    facts = attrs.asdict(
        short, filter=lambda field, _: field.name not in ("stimuli", "family", "seed")
    )
    again = (
        f"python -m elaunch.testing.simulation --family {scenario.family} "
        f"--seed {scenario.seed}"
    )
    if backend:
        again += f" --backend {backend.__module__}:{backend.__qualname__}"
    settings = " ".join(f"{name}={value}" for name, value in facts.items())
    return "\n".join(
        [
            f"{scenario.family}, seed {scenario.seed}: {report.broken[0]}",
            f"  {settings}",
            *(f"  {stimulus}" for stimulus in short.stimuli),
            f"  the last {STORY_LINES} lines of the story:",
            *(f"    {line}" for line in report.story[-STORY_LINES:]),
            f"  again: {again}",
        ]
    )
