"""Decisions of a policy in jobs in trouble, stimulus by stimulus, in any order.

As in `test_scenarios`. The policy leaves out the node of the first failure, and of
every second one after that.
"""

from typing import Any

import pytest
import stories
from stories import errors, every_seed, job_of, places, sizes, starts, told_at

from elaunch.membership.records import JobPhase
from elaunch.testing.simulation import COORDINATOR, Simulation, Stimulus


def play(seed: int, stimuli: list[Stimulus], **settings: Any) -> Simulation:
    """Let this happen to a job of two nodes and a spare; the laws must hold."""
    decided = {"max_restarts": 5, "excludes": True}
    return stories.play(seed, stimuli, **{**decided, **settings})


def sealed_at(simulation: Simulation, generation: int) -> float:
    return told_at(simulation, f"store: sealed {generation},")


def formed_at(simulation: Simulation, generation: int) -> float:
    return told_at(simulation, f"store: forming {generation},")


@every_seed
def test_a_spare_takes_the_rank_of_a_node_that_is_left_out(seed: int) -> None:
    simulation = play(seed, [*starts("n0", "n1", "n2"), Stimulus(6.0, "exit", "n1", 1)])

    assert sizes(simulation) == [(1, 2), (2, 2)]
    assert places(simulation, "n0") == [(1, 0), (2, 0)]
    assert places(simulation, "n1") == [(1, 1)]
    assert places(simulation, "n2") == [(2, 1)]
    assert "without node 'n1' for good" in job_of(simulation).reason or (
        "all workers succeeded" in job_of(simulation).reason
    )
    assert errors(simulation) == {"n0": None, "n1": None, "n2": None}


@every_seed
@pytest.mark.parametrize("lost", ["n0", COORDINATOR])
def test_a_node_stays_out_whoever_decides(seed: int, lost: str) -> None:
    """A node that is lost and back needs no rank of the one that is left out."""
    trouble = [
        Stimulus(6.0, "exit", "n1", 1),
        Stimulus(12.0, "join-again", lost, 1.0),
    ]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble)

    assert [generation for generation, _ in places(simulation, "n1")] == [1]
    assert job_of(simulation).restarts == 1
    assert sizes(simulation)[-1][1] == 2


@every_seed
def test_a_node_that_has_cooled_down_comes_in_where_it_is_needed(seed: int) -> None:
    """The job waits for that; everybody keeps the rank it had."""
    trouble = [Stimulus(6.0, "exit", "n1", 1)]
    simulation = play(seed, starts("n0", "n1") + trouble, nodes=2, cool_down=20.0)

    assert sizes(simulation) == [(1, 2), (2, 2)]
    assert places(simulation, "n1") == [(1, 1), (2, 1)]
    assert sealed_at(simulation, 2) >= formed_at(simulation, 2) + 20.0


@every_seed
def test_a_back_off_is_waited_for_also_if_another_decides(seed: int) -> None:
    trouble = [
        Stimulus(6.0, "exit", "n1", 1),
        Stimulus(7.0, "join-again", COORDINATOR, 0.5),
    ]
    simulation = play(
        seed, starts("n0", "n1") + trouble, nodes=2, excludes=False, delay=8.0
    )

    assert sizes(simulation) == [(1, 2), (2, 2)]
    assert sealed_at(simulation, 2) >= formed_at(simulation, 2) + 8.0
    assert job_of(simulation).restarts == 1


@every_seed
def test_a_node_that_failed_because_another_was_lost_is_not_left_out(seed: int) -> None:
    """It is charged, and that is taken back with all that follows from it."""
    trouble = [
        Stimulus(6.0, "exit", "n0", 1),
        Stimulus(6.01, "kill", "n1"),
        Stimulus(9.0, "start", "n1"),
    ]
    simulation = play(seed, starts("n0", "n1") + trouble, nodes=2)
    job = job_of(simulation)

    assert (job.restarts, job.excluded) == (0, ())
    assert sizes(simulation)[-1][1] == 2


@every_seed
def test_a_node_that_is_unfit_waits_and_comes_in_when_it_is_fit(seed: int) -> None:
    trouble = [
        Stimulus(6.0, "unfit", "n1", 20.0),
        Stimulus(8.0, "ask-restart", "n0"),
    ]
    simulation = play(
        seed, starts("n0", "n1") + trouble, nodes=2, min_nodes=1, excludes=False
    )

    assert sizes(simulation) == [(1, 2), (2, 1), (3, 2)]
    assert sealed_at(simulation, 3) >= 26.0
    assert job_of(simulation).restarts == 0


@every_seed
def test_progress_is_known_to_whoever_decides(seed: int) -> None:
    """Whoever told it may be gone, and may have decided."""
    trouble = [
        *(Stimulus(6.0 + n / 10, "progress", COORDINATOR) for n in range(3)),
        Stimulus(8.0, "kill", COORDINATOR),
        Stimulus(30.0, "exit", "n2", 1),
    ]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble, excludes=False)

    assert job_of(simulation).progress == 3.0


@every_seed
def test_nodes_that_come_in_turn_cost_few_restarts(seed: int) -> None:
    """Eight nodes within a minute: as many as come within the calm come together."""
    names = [f"n{number}" for number in range(9)]
    stimuli = [Stimulus(0.0, "start", "n0")]
    stimuli += [Stimulus(10.0 + 7.5 * i, "start", n) for i, n in enumerate(names[1:])]
    simulation = play(
        seed,
        stimuli,
        nodes=9,
        min_nodes=1,
        max_nodes=16,
        scale_debounce=30.0,
        keep_alive_interval=5.0,
    )

    assert sizes(simulation) == [(1, 1), (2, 9)]
    assert [job.phase for job in simulation.laws.jobs][-1] is JobPhase.CLOSED


HELD = {"nodes": 3, "min_nodes": 1, "max_nodes": 3, "last_call_timeout": 0.0}


def held(
    seed: int, *trouble: Stimulus, seconds: float = 40.0, **settings: Any
) -> Simulation:
    """A worker holds up a scaling from 5 s on, and a node comes at 8 s."""
    stimuli = [
        Stimulus(0.0, "start", "n0"),
        Stimulus(5.0, "hold", "n0", seconds),
        Stimulus(8.0, "start", "n1"),
        *trouble,
    ]
    return play(seed, stimuli, **{**HELD, "scale_hold_limit": 60.0, **settings})


@every_seed
def test_who_comes_while_a_worker_holds_comes_in_when_it_releases(seed: int) -> None:
    simulation = held(seed, Stimulus(20.0, "release", "n0"))

    assert sizes(simulation) == [(1, 1), (2, 2)]
    assert 20.0 <= formed_at(simulation, 2) < 21.0
    assert job_of(simulation).restarts == 0
    told_at(simulation, "n0: scaling.held nodes=['n1'] by=[\"rank 0 on 'n0'\"]")
    told_at(simulation, "left_out=[\"'n1' (held up by rank 0 on 'n0', for ")
    told_at(simulation, "node 'n1' joined, held up for 1")


@every_seed
def test_a_hold_runs_out(seed: int) -> None:
    simulation = held(seed, seconds=20.0)

    assert sizes(simulation) == [(1, 1), (2, 2)]
    assert 25.0 <= formed_at(simulation, 2) < 26.0


@every_seed
def test_no_worker_holds_for_longer_than_the_limit(seed: int) -> None:
    """Which counts from when the job would have formed anew."""
    again = [Stimulus(at, "hold", "n0", 40.0) for at in (10.0, 20.0, 30.0, 40.0)]
    simulation = held(seed, *again, scale_hold_limit=15.0)

    assert 23.0 <= formed_at(simulation, 2) < 24.0
    assert sizes(simulation) == [(1, 1), (2, 2)]


@every_seed
def test_a_worker_that_holds_again_at_once_has_let_them_in(seed: int) -> None:
    """The job need not see the moment in between: here nobody does."""
    simulation = held(
        seed, Stimulus(20.0, "release", "n0"), Stimulus(20.0, "hold", "n0", 40.0)
    )

    assert 20.0 <= formed_at(simulation, 2) < 21.0
    assert sizes(simulation) == [(1, 1), (2, 2)]


@every_seed
@pytest.mark.parametrize("trouble", ["exit", "ask-restart"])
def test_what_forms_the_job_anew_anyway_waits_for_no_hold(
    seed: int, trouble: str
) -> None:
    simulation = held(seed, Stimulus(20.0, trouble, "n0", 1), excludes=False)

    assert sizes(simulation) == [(1, 1), (2, 2)]
    assert 20.0 <= formed_at(simulation, 2) < 21.0


@every_seed
def test_a_hold_stays_known_to_who_reads_the_whole_job_anew(seed: int) -> None:
    """And those of members that are gone count for nothing."""
    stimuli = [
        *starts("n0", "n1"),
        Stimulus(5.0, "hold", "n0", 90.0),
        Stimulus(10.0, "kill", COORDINATOR),
        Stimulus(20.0, "hold", "n1", 90.0),
        Stimulus(22.0, "start", "n2"),
        *(Stimulus(at, "compact", COORDINATOR) for at in (21.0, 30.0, 40.0)),
        Stimulus(50.0, "release", "n1"),
    ]
    times = {"scale_hold_limit": 300.0, "last_call_timeout": 3.0}
    simulation = play(seed, stimuli, **{**HELD, **times})

    assert sizes(simulation) == [(1, 2), (2, 1), (3, 2)]
    assert 50.0 <= formed_at(simulation, 3) < 51.0
