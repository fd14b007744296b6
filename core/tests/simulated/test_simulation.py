"""Explored seeds break no promise, and a run is told again from its seed alone."""

import os
import subprocess
import sys

import attrs
import pytest

from elaunch.testing.simulation import (
    ACTIONS,
    FAMILIES,
    MOMENTS,
    Laws,
    Scenario,
    Simulation,
    Stimulus,
    generate,
    run,
    shrink,
    tell,
)


SEEDS_OF_A_FAMILY = 12


@pytest.mark.parametrize("family", FAMILIES)
def test_no_seed_of_a_family_breaks_a_law(family: str) -> None:
    for seed in range(SEEDS_OF_A_FAMILY):
        scenario = generate(family, seed)
        if run(scenario).broken:
            pytest.fail(tell(scenario))


def test_every_family_does_all_that_it_can() -> None:
    drawn = [generate(family, seed) for family in FAMILIES for seed in range(200)]
    stimuli = [stimulus for scenario in drawn for stimulus in scenario.stimuli]

    assert {stimulus.what for stimulus in stimuli} == ACTIONS.keys()
    assert {stimulus.upon for stimulus in stimuli} == {"", *MOMENTS}


# -- the same run from the same seed -------------------------------------------------


def simulation(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "elaunch.testing.simulation", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize("family", ["churn", "moments", "everything"])
def test_a_seed_tells_the_same_story_in_every_interpreter(family: str) -> None:
    stories = [
        simulation("--family", family, "--seed", "3", PYTHONHASHSEED=salt)
        for salt in ("1", "2")
    ]

    assert [(story.returncode, story.stderr) for story in stories] == [(0, "")] * 2
    assert len(stories[0].stdout.splitlines()) > 20
    assert stories[0].stdout == stories[1].stdout


def test_the_command_line_counts_what_it_explored() -> None:
    count = len(FAMILIES)
    seen = simulation("--seeds", str(count), "--first", "3")
    rows = [line.split() for line in seen.stdout.splitlines() if "virtual s" in line]

    assert (seen.returncode, seen.stderr) == (0, "")
    assert [row[:3] for row in rows] == [[family, "1", "seeds"] for family in FAMILIES]
    assert seen.stdout.splitlines()[-1].startswith(f"{count} seeds, ")
    assert ", 0 broken, " in seen.stdout.splitlines()[-1]


def test_what_ran_before_changes_nothing() -> None:
    scenario = generate("everything", 5)
    first = run(scenario)
    run(generate("churn", 1))
    again = run(scenario)

    assert first == again


# -- the shortest story --------------------------------------------------------------


LONG = Scenario(
    family="churn",
    seed=1,
    stimuli=(
        Stimulus(0.0, "start", "n0"),
        Stimulus(0.0, "start", "n1"),
        Stimulus(0.5, "start", "n2"),
        Stimulus(5.0, "reset", "n1"),
        Stimulus(6.0, "kill", "n2"),
        Stimulus(7.0, "slow-stop", "n0", 0.5),
        Stimulus(8.0, "term", "n1"),
    ),
    nodes=3,
    min_nodes=1,
    max_nodes=3,
)


def test_a_story_is_as_short_as_it_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_dies(laws: Laws) -> None:
        dead = [n.name for n in laws.nodes.values() if n.process and n.process.dead]
        laws.broken += [f"{name} is dead" for name in dead]

    monkeypatch.setattr(Laws, "check", nobody_dies)

    assert run(LONG).broken == ("n2 is dead",)
    assert [s.what for s in shrink(LONG).stimuli] == ["start", "kill"]
    told = tell(LONG).splitlines()
    assert told[0] == "churn, seed 1: n2 is dead"
    assert told[-1].endswith("simulation --family churn --seed 1")
    assert sum("kill n2" in line for line in told) == 2  # as a stimulus and as it comes


def test_a_run_ends_with_the_first_law_that_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Laws, "check", lambda laws: laws.broken.append("always"))
    report = run(LONG)

    assert report.broken == ("always",)
    assert report.steps == 1


def stand_still(excuse: str) -> tuple[str, ...]:
    """Let a host stand still for good and return the laws that this breaks."""
    simulation = Simulation(attrs.evolve(LONG, stimuli=LONG.stimuli[:3]))

    def stop() -> None:
        node = simulation.nodes["n1"]
        assert node.process is not None
        simulation.loop.pause(node.process)
        node.excused = excuse

    simulation.later(10.0, stop)
    return simulation.run().broken


def test_workers_of_two_generations_at_once_are_noticed() -> None:
    (broken,) = stand_still("")

    assert broken.endswith("while n1 runs (1, 0, 1)")


def test_a_job_that_does_not_settle_is_noticed() -> None:
    generations, members = stand_still("for this test")

    assert generations.startswith("generation 2 is current, workers run in")
    assert members.startswith("3 nodes are here, 3 fit, generation 2 has 2")
