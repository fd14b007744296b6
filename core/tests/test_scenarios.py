"""Jobs in trouble, told stimulus by stimulus: what must come of each, in any order.

Each is a class of faults that launchers have had. They run the real agents in the
simulation: a seed decides whose turn it is and how long messages take, and all laws are
checked at every step. In the end the workers that still run end well. Faults of probes
are in `simulated/test_probes.py`.
"""

import pytest
from stories import (
    errors,
    every_seed,
    job_of,
    places,
    play,
    run,
    sizes,
    some_seeds,
    starts,
    told_at,
    world,
)

from elaunch.api import OutcomeState
from elaunch.errors import ChildFailedError, Preempted
from elaunch.membership.records import JobPhase
from elaunch.testing.simulation import (
    COORDINATOR,
    WHOSE,
    Simulation,
    Stimulus,
)


# -- spares --------------------------------------------------------------------------


@every_seed
def test_an_extra_node_is_parked_and_disturbs_nobody(seed: int) -> None:
    trouble = [
        Stimulus(5.0, "start", "n2"),
        Stimulus(8.0, "join-again", "n2", 0.3),
        Stimulus(9.0, "term", "n2"),
        Stimulus(11.0, "start", "n2"),
    ]
    simulation = play(seed, starts("n0", "n1") + trouble)

    assert sizes(simulation) == [(1, 2)]
    assert places(simulation, "n2") == []
    assert errors(simulation) == {"n0": None, "n1": None, "n2": None}


@every_seed
def test_a_member_that_became_a_spare_succeeds_with_the_job(seed: int) -> None:
    trouble = [Stimulus(6.0, "join-again", "n1", 3.0), Stimulus(14.0, "done")]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble)

    assert places(simulation, "n1") == [(1, 1)]
    assert places(simulation, "n2") == [(2, 1)]
    assert errors(simulation) == {"n0": None, "n1": None, "n2": None}


# -- nodes that are gone -------------------------------------------------------------


@every_seed
def test_a_dead_node_that_looks_alive_is_no_member_beside_its_replacement(
    seed: int,
) -> None:
    """Same host, address and slot; its record stays until its lease is over."""
    trouble = [Stimulus(6.0, "power-off", "n1"), Stimulus(6.2, "start", "n1")]
    simulation = play(seed, starts("n0", "n1") + trouble, max_nodes=3, slots=True)

    assert sizes(simulation) == [(1, 2), (2, 2)]
    assert places(simulation, "n0") == [(1, 0), (2, 0)]
    assert places(simulation, "n1") == [(1, 1), (2, 1)]


@every_seed
@pytest.mark.parametrize("lost", ["kill", "power-off"])
def test_a_job_goes_on_with_the_replacement_of_a_lost_node(
    seed: int, lost: str
) -> None:
    """Though it knows that nobody else will come."""
    simulation = play(
        seed, [*starts("n0", "n1", "n2"), Stimulus(6.0, lost, "n1")], population=3
    )

    assert sizes(simulation) == [(1, 2), (2, 2)]
    assert places(simulation, "n2") == [(2, 1)]
    assert errors(simulation) == {"n0": None, "n2": None}


@every_seed
def test_a_node_that_comes_back_replaces_itself(seed: int) -> None:
    trouble = [Stimulus(6.0, "join-again", "n1", 10.0)]
    simulation = play(seed, starts("n0", "n1") + trouble, population=2)

    assert places(simulation, "n1") == [(1, 1), (2, 1)]
    assert errors(simulation) == {"n0": None, "n1": None}


@every_seed
@pytest.mark.parametrize("lost", ["kill", "power-off"])
def test_what_a_lost_node_has_done_stays_done(seed: int, lost: str) -> None:
    trouble = [Stimulus(6.0, "finish", "n1"), Stimulus(8.0, lost, "n1")]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble)

    assert sizes(simulation) == [(1, 2)]
    assert errors(simulation) == {"n0": None, "n2": None}


@every_seed
def test_what_a_lost_coordinator_has_done_stays_done(seed: int) -> None:
    trouble = [Stimulus(6.0, "finish", "n0"), Stimulus(8.0, "kill", "n0")]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble)

    assert sizes(simulation) == [(1, 2)]


@every_seed
def test_whoever_counts_twice_is_one_member(seed: int) -> None:
    """It gives its lease up before the store does, and is back meanwhile."""
    trouble = [Stimulus(6.0, "silence", "n1", 2.6), Stimulus(12.0, "deafen", "n1", 2.6)]
    simulation = play(
        seed, starts("n0", "n1") + trouble, max_nodes=3, shutdown_timeout=0.1
    )

    assert {size for _, size in sizes(simulation)} <= {1, 2}
    assert sizes(simulation)[-1][1] == 2
    assert errors(simulation) == {"n0": None, "n1": None}


@every_seed
@pytest.mark.parametrize("moment", ["sealed", "published"])
def test_nobody_waits_for_a_meeting_point_whose_node_is_dead(
    seed: int, moment: str
) -> None:
    """The node of rank 0 dies between the seal and the start of the others."""
    nodes = starts("n0", "n1", "n2")
    trouble = [Stimulus(0.0, "kill", "n0", upon=moment)]
    simulation = play(seed, [*trouble, *nodes], min_nodes=2, max_nodes=3)

    assert sizes(simulation)[-1] == (2, 2)
    assert told_at(simulation, "store: sealed 2") < 10
    assert errors(simulation) == {"n1": None, "n2": None}


# -- who decides ---------------------------------------------------------------------


def check_one_voice(simulation: Simulation) -> None:
    """One generation after the other, each sealed once, by one coordinator."""
    jobs = simulation.laws.jobs
    sealed = {
        (job.generation, job.token) for job in jobs if job.phase is JobPhase.SEALED
    }
    generations = [job.generation for job in jobs]

    assert len(sealed) == len({generation for generation, _ in sealed})
    assert generations == sorted(generations)
    assert [job.token for job in jobs] == sorted(job.token for job in jobs)


@some_seeds
@pytest.mark.parametrize("moment", ["forming", "assigned", "sealed", "failed"])
@pytest.mark.parametrize("absence", ["pause", "silence", "deafen"])
def test_a_coordinator_that_comes_back_late_decides_nothing(
    seed: int, moment: str, absence: str
) -> None:
    trouble = [
        Stimulus(5.0, absence, COORDINATOR, 12.0, upon=moment),
        Stimulus(6.0, "exit", "n2", 1),
    ]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble, max_nodes=3)

    check_one_voice(simulation)
    assert simulation.laws.coordinator != "n0"
    assert job_of(simulation).restarts <= 1
    assert errors(simulation) | {"n0": None} == dict.fromkeys(("n0", "n1", "n2"))


@every_seed
def test_a_node_that_was_away_while_it_joined_is_back_like_any_other(seed: int) -> None:
    trouble = [
        Stimulus(5.0, "silence", "n1", 12.0, upon="forming"),
        Stimulus(6.0, "exit", "n0", 1),
    ]
    simulation = play(seed, starts("n0", "n1") + trouble, min_nodes=1)

    assert errors(simulation) == {"n0": None, "n1": None}


@some_seeds
@pytest.mark.parametrize("moment", ["forming", "assigned", "sealed", "failed"])
def test_a_coordinators_death_leaves_nothing_half_decided(
    seed: int, moment: str
) -> None:
    trouble = [
        Stimulus(5.0, "kill", COORDINATOR, upon=moment),
        Stimulus(6.0, "exit", "n2", 1),
    ]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble, max_nodes=3)

    check_one_voice(simulation)
    assert sizes(simulation)[-1][1] == 2
    # Who died before it could decide was lost when the worker failed: that is free.
    story = simulation.laws.story
    counted = any("store: forming" in line and "failed:" in line for line in story)
    assert counted or moment == "failed"
    assert job_of(simulation).restarts == counted
    assert errors(simulation) == {"n1": None, "n2": None}


@every_seed
@pytest.mark.parametrize("budget", [0, 1])
def test_a_failure_that_the_loss_of_a_node_explains_costs_nothing(
    seed: int, budget: int
) -> None:
    """The others' workers see that loss long before the store does."""
    trouble = [
        Stimulus(5.0, "kill", "n2"),
        Stimulus(5.01, "exit", "n0", 1),
        Stimulus(5.02, "exit", "n1", 1),
    ]
    simulation = play(
        seed,
        starts("n0", "n1", "n2") + trouble,
        max_nodes=3,
        max_restarts=budget,
        slowest=0.001,
    )

    assert job_of(simulation).restarts == 0
    assert errors(simulation) == {"n0": None, "n1": None}


@every_seed
def test_a_failure_that_no_loss_explains_ends_a_job_without_a_budget(seed: int) -> None:
    trouble = [Stimulus(5.0, "exit", "n0", 1), Stimulus(8.0, "kill", "n2")]
    simulation = play(
        seed, starts("n0", "n1", "n2") + trouble, max_nodes=3, max_restarts=0
    )

    assert {type(error) for error in errors(simulation).values()} == {ChildFailedError}


@every_seed
def test_who_hears_only_while_it_joins_again_that_the_job_is_over_failed_at_nothing(
    seed: int,
) -> None:
    """Its workers stop at once, and the store takes its time."""
    trouble = [Stimulus(9.0, "exit", "n0", 1)]
    simulation = play(seed, starts("n0", "n1") + trouble, max_restarts=0, slowest=0.3)

    assert {type(error) for error in errors(simulation).values()} == {ChildFailedError}
    assert not any("rendezvous.failed" in line for line in simulation.laws.story)


@every_seed
def test_what_a_node_says_of_an_older_generation_counts_for_none(seed: int) -> None:
    """Its workers fail while it stands still and the others go on without it."""
    trouble = [Stimulus(6.0, "pause", "n2", 12.0), Stimulus(8.0, "exit", "n2", 1)]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble, max_nodes=3)

    assert sizes(simulation)[:2] == [(1, 3), (2, 2)]
    assert sizes(simulation)[-1][1] == 3
    assert job_of(simulation).restarts == 0
    assert errors(simulation) == {"n0": None, "n1": None, "n2": None}


# -- failures ------------------------------------------------------------------------


@every_seed
@pytest.mark.parametrize("fault", [RuntimeError("boom"), MemoryError()])
def test_an_unexpected_error_of_one_agent_leaves_the_others_alone(
    seed: int, fault: Exception
) -> None:
    nodes = starts("n0", "n1", "n2")
    simulation = world(seed, [*nodes, Stimulus(6.0, "exit", "n2", 1)], max_nodes=3)
    habits = simulation.nodes["n1"].habits
    simulation.later(5.0, lambda: setattr(habits, "fault", fault))
    run(simulation)

    assert sizes(simulation)[-1][1] == 2
    assert job_of(simulation).restarts == 1
    assert errors(simulation) == {"n0": None, "n1": fault, "n2": None}


@every_seed
def test_a_replaced_node_gets_no_fresh_budget(seed: int) -> None:
    trouble = [
        Stimulus(6.0, "exit", "n1", 1),
        Stimulus(10.0, "join-again", "n1", 0.5),
        Stimulus(16.0, "exit", "n1", 1),
    ]
    simulation = play(seed, starts("n0", "n1") + trouble, max_restarts=1)
    job = job_of(simulation)

    assert job.outcome is not None
    assert job.outcome.state is OutcomeState.FAILED
    assert job.restarts == 1
    assert "all 1 restarts are spent" in job.reason
    assert {type(error) for error in errors(simulation).values()} == {ChildFailedError}
    counts = [m.restart_count for m in simulation.nodes["n1"].memberships]
    assert counts == [0, 1, 1]


@every_seed
def test_nodes_that_fail_together_cost_one_restart(seed: int) -> None:
    simulation = play(
        seed,
        [*starts("n0", "n1", "n2"), Stimulus(6.0, "collapse")],
        max_nodes=3,
        max_restarts=1,
    )

    assert sizes(simulation) == [(1, 3), (2, 3)]
    assert job_of(simulation).restarts == 1


# -- goodbyes ------------------------------------------------------------------------


@some_seeds
@pytest.mark.parametrize("who", ["n1", COORDINATOR, WHOSE])
@pytest.mark.parametrize(
    "moment", ["failed", "forming", "ready", "assigned", "sealed", "published"]
)
def test_a_goodbye_neither_ends_nor_holds_up_the_others(
    seed: int, who: str, moment: str
) -> None:
    trouble = [
        Stimulus(5.0, "term", who, upon=moment),
        Stimulus(6.0, "exit", "n2", 1),
    ]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble, max_nodes=3)
    found = errors(simulation)
    left = [name for name, error in found.items() if error is not None]

    assert [type(found[name]) for name in left] == [Preempted]
    assert len(found) == 3
    assert sizes(simulation)[-1][1] == 2
    assert told_at(simulation, f"{left[0]}: rendezvous.left") < 10
    assert job_of(simulation).reason == "all workers succeeded"


@every_seed
@pytest.mark.parametrize(("early", "late"), [("n0", "n1"), ("n1", "n0")])
def test_who_is_done_early_waits_for_the_slowest(
    seed: int, early: str, late: str
) -> None:
    """Whoever decides and has rank 0, or not. The simulation's store is no node's."""
    trouble = [Stimulus(6.0, "finish", early), Stimulus(300.0, "finish", late)]
    simulation = play(seed, starts("n0", "n1") + trouble)

    assert sizes(simulation) == [(1, 2)]
    assert told_at(simulation, "store: closed") > 300
    assert told_at(simulation, f"{early}: rendezvous.left") > 300
    assert errors(simulation) == {"n0": None, "n1": None}


@every_seed
def test_a_user_can_end_a_job_in_which_nothing_else_happens(seed: int) -> None:
    trouble = [Stimulus(6.0, "close", COORDINATOR)]
    play(seed, [*starts("n0"), *trouble], min_nodes=1)


# -- notices -------------------------------------------------------------------------


def told(simulation: Simulation) -> list[str]:
    """Return whose workers were told of a notice, once for each time."""
    lines = [line.split() for line in simulation.laws.story]
    return sorted(words[1][:-1] for words in lines if "notice.delivered" in words)


@every_seed
def test_a_notice_reaches_the_workers_of_all_and_stops_nobody(seed: int) -> None:
    """Whoever it was that was told; a spare has no workers to tell."""
    trouble = [Stimulus(6.0, "notice", "n1")]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble)

    assert told(simulation) == ["n0", "n1"]
    assert sizes(simulation) == [(1, 2)]
    assert job_of(simulation).reason == "all workers succeeded"


@every_seed
def test_all_nodes_that_are_told_at_once_make_one_notice(seed: int) -> None:
    """A scheduler tells every node; each worker hears of it once."""
    names = ("n0", "n1", "n2")
    trouble = [
        Stimulus(6.0 + 0.003 * n, "notice", name) for n, name in enumerate(names)
    ]
    simulation = play(seed, starts(*names) + trouble, max_nodes=3)

    assert told(simulation) == ["n0", "n1", "n2"]


@every_seed
def test_a_later_notice_is_another_one(seed: int) -> None:
    trouble = [Stimulus(6.0, "notice", "n1"), Stimulus(30.0, "notice", "n0")]
    simulation = play(seed, starts("n0", "n1") + trouble)

    assert told(simulation) == ["n0", "n0", "n1", "n1"]


@some_seeds
@pytest.mark.parametrize("trouble", ["kill", "power-off", "term"])
def test_a_notice_is_heard_when_its_node_is_gone_at_once(
    seed: int, trouble: str
) -> None:
    """As soon as the store has it."""
    stimuli = [
        *starts("n0", "n1", "n2"),
        Stimulus(6.0, "notice", "n1"),
        Stimulus(6.05, trouble, "n1"),
    ]
    simulation = play(seed, stimuli, max_nodes=3)

    assert {"n0", "n2"} <= set(told(simulation))


@every_seed
def test_who_is_told_while_it_waits_tells_its_first_workers(seed: int) -> None:
    trouble = [Stimulus(2.0, "start", "n0"), Stimulus(3.0, "notice", "n0")]
    simulation = play(seed, [*trouble, Stimulus(5.0, "start", "n1")])

    assert told(simulation) == ["n0", "n1"]


@every_seed
def test_a_notice_reaches_nobody_of_a_later_generation(seed: int) -> None:
    trouble = [Stimulus(6.0, "notice", "n0"), Stimulus(9.0, "start", "n2")]
    simulation = play(seed, starts("n0", "n1") + trouble, max_nodes=3)

    assert sizes(simulation) == [(1, 2), (2, 3)]
    assert told(simulation) == ["n0", "n1"]


@every_seed
def test_a_notice_survives_an_outage_of_the_store(seed: int) -> None:
    trouble = [
        Stimulus(6.0, "store-pause", "", 1.0),
        Stimulus(6.5, "notice", "n1"),
    ]
    simulation = play(seed, starts("n0", "n1") + trouble)

    assert told(simulation) == ["n0", "n1"]


@every_seed
def test_own_workers_are_told_at_once_when_the_store_does_not_answer(seed: int) -> None:
    """And those of the others when it does again; nobody twice."""
    trouble = [
        Stimulus(6.0, "store-pause", "", 5.0),
        Stimulus(6.5, "notice", "n1"),
    ]
    simulation = play(seed, starts("n0", "n1") + trouble, keep_alive_interval=5.0)

    assert told(simulation) == ["n0", "n1"]
    assert told_at(simulation, "n1: notice.delivered") < 9
    assert told_at(simulation, "n0: notice.delivered") > 11


@every_seed
def test_workers_that_save_and_end_after_a_notice_end_the_job(seed: int) -> None:
    """Whatever fails because of that, and however many restarts are left."""
    trouble = [
        Stimulus(6.0, "notice", "n2"),
        Stimulus(8.0, "save-and-end", "n1"),
        Stimulus(8.001, "exit", "n0", 1),
        Stimulus(8.3, "exit", "n2", 1),
    ]
    simulation = play(seed, starts("n0", "n1", "n2") + trouble, max_nodes=3)

    assert {type(error) for error in errors(simulation).values()} == {Preempted}
    assert sizes(simulation) == [(1, 3)]
    outcome = job_of(simulation).outcome
    assert outcome is not None
    assert outcome.state is OutcomeState.PREEMPTED


@every_seed
def test_without_a_notice_the_same_end_is_a_failure(seed: int) -> None:
    trouble = [Stimulus(8.0, "save-and-end", "n1")]
    simulation = play(seed, starts("n0", "n1") + trouble, max_restarts=0)

    (error,) = {type(error) for error in errors(simulation).values()}
    assert error is ChildFailedError
