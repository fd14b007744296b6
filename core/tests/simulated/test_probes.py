"""A probe that fails is no failure of the job, whatever its tool prints."""

import json
from collections.abc import AsyncGenerator, Mapping

import pytest
from depth import seeds

from elaunch.api import Finding, Severity, WatchedGroup
from elaunch.monitor import NamedMonitor
from elaunch.testing.simulation import Scenario, Simulation, Stimulus


class Probe:
    """Reads what a tool prints; the tool of some vendor prints what is no JSON."""

    def __init__(self, printed: str) -> None:
        self.printed = printed

    def __repr__(self) -> str:
        return f"Probe({self.printed!r})"

    def environment(self) -> Mapping[str, str]:
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        for local_rank in group.pids:
            reason = json.loads(self.printed)["health"]
            yield Finding(local_rank=local_rank, severity=Severity.INFO, reason=reason)


@pytest.mark.parametrize("seed", seeds(8))
@pytest.mark.parametrize("printed", ['{"health": ', "{}", "[]", ""])
def test_a_probe_that_reads_nonsense_is_disabled_and_the_job_goes_on(
    seed: int, printed: str
) -> None:
    simulation = Simulation(
        Scenario(
            family="scenario",
            seed=seed,
            stimuli=(Stimulus(0.0, "start", "n0"), Stimulus(0.5, "start", "n1")),
            nodes=2,
            min_nodes=2,
            max_nodes=2,
        )
    )
    probes = (Probe(printed), Probe('{"health": "fine"}'))
    simulation.nodes["n1"].monitors = [
        NamedMonitor(name, probe)
        for name, probe in zip(("bad", "good"), probes, strict=True)
    ]
    report = simulation.run()
    story = "\n".join(report.story)

    assert report.broken == ()
    assert report.generations == 1
    assert story.count("monitor 'bad' failed and is disabled") == 1
    assert story.count("reason=fine") == 2
    assert "all workers succeeded" in story
