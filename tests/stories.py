"""What tests of scenarios share: worlds with a story, and what came of it."""

from typing import Any

import pytest
from depth import seeds

from elaunch.agent.messages import Result
from elaunch.membership.records import JobPhase, JobRecord
from elaunch.testing.simulation import Scenario, Simulation, Stimulus


every_seed = pytest.mark.parametrize("seed", seeds(8))
some_seeds = pytest.mark.parametrize("seed", seeds(4))


def starts(*names: str) -> list[Stimulus]:
    """Start nodes one after the other, so that the first decides and has rank 0."""
    return [Stimulus(0.7 * number, "start", name) for number, name in enumerate(names)]


def world(seed: int, stimuli: list[Stimulus], **settings: Any) -> Simulation:
    """Return a world in which this will happen."""
    facts = {"nodes": 3, "min_nodes": 2, "max_nodes": 2, "last_call_timeout": 3.0}
    return Simulation(
        Scenario(
            family="scenario",
            seed=seed,
            stimuli=tuple(stimuli),
            **{**facts, **settings},
        )
    )


def play(seed: int, stimuli: list[Stimulus], **settings: Any) -> Simulation:
    """Let this happen."""
    return run(world(seed, stimuli, **settings))


def run(simulation: Simulation) -> Simulation:
    """Run it to its end; the laws must hold."""
    report = simulation.run()
    assert report.broken == (), "\n".join(report.story)
    return simulation


def job_of(simulation: Simulation) -> JobRecord:
    """Return the job's last record."""
    return simulation.laws.jobs[-1]


def errors(simulation: Simulation) -> dict[str, Exception | None]:
    """Return with what the agents ended that were not killed."""
    results = {name: node.result for name, node in simulation.nodes.items()}
    return {
        name: result.error if isinstance(result, Result) else result
        for name, result in results.items()
        if result
    }


def sizes(simulation: Simulation) -> list[tuple[int, int]]:
    """Return generation and size of all that was sealed."""
    return [
        (job.generation, job.size)
        for job, after in zip(
            simulation.laws.jobs, [*simulation.laws.jobs[1:], None], strict=True
        )
        if job.phase is JobPhase.SEALED and job != after
    ]


def places(simulation: Simulation, name: str) -> list[tuple[int, int]]:
    """Return generation and group rank of each place that a node had."""
    memberships = simulation.nodes[name].memberships
    return [(place.generation, place.group_rank) for place in memberships]


def told_at(simulation: Simulation, text: str) -> float:
    """Return when the story first says something."""
    line = next(line for line in simulation.laws.story if text in line)
    return float(line.split()[0])
