"""When a lease is dead, by the reader's own clock alone."""

import pytest

from elaunch.polling.judge import Judge, LeaseState


TTL = 8.0


def look(judge: Judge, now: float, **revisions: int) -> list[str]:
    leases = {name: LeaseState(number, TTL) for name, number in revisions.items()}
    return judge.look(leases, now)


def first_death(
    judge: Judge, begin: float, step: float, *, renewed_at: int = 0
) -> float:
    """Look again and again; return when the lease is dead."""
    for number in range(1000):
        now = begin + number * step
        if look(judge, now, lease=1 + bool(renewed_at and number >= renewed_at)):
            return now - begin
    raise AssertionError("it never dies")


@pytest.mark.parametrize("begin", [0.0, 1e6])
def test_a_lease_that_stands_still_for_its_time_to_live_is_dead(begin: float) -> None:
    assert first_death(Judge(), begin, 0.5) == TTL


def test_a_renewal_begins_its_life_anew() -> None:
    assert first_death(Judge(), 0.0, 0.5, renewed_at=14) == 7.0 + TTL


def test_a_lease_is_first_seen_young_whatever_its_age() -> None:
    judge = Judge()
    look(judge, 100.0, old=7)

    assert look(judge, 100.5, old=7, new=8) == []


def test_one_gap_between_two_looks_counts_for_little() -> None:
    """The store was out, or the reader was paused: its holder was, too."""
    judge = Judge()
    look(judge, 0.0, lease=1)

    assert look(judge, 1e6, lease=1) == []
    assert 1e6 + first_death(judge, 1e6, 0.5) == 1e6 + TTL - TTL / 8


def test_looks_that_are_rare_kill_late() -> None:
    assert first_death(Judge(), 0.0, 5.0) == 8 * 5.0


def test_who_forgives_begins_anew() -> None:
    judge = Judge()
    for number in range(15):
        assert look(judge, number * 0.5, lease=1) == []
    judge.forgive()

    assert first_death(judge, 7.5, 0.5) == TTL


def test_leases_are_judged_one_by_one_by_their_own_time_to_live() -> None:
    judge = Judge()
    leases = {"short": LeaseState(1, 1.0), "long": LeaseState(2, 60.0)}
    dead = [judge.look(leases, number / 8) for number in range(9)]

    assert dead == [[]] * 8 + [["short"]]


def test_a_lease_that_is_out_of_sight_is_forgotten() -> None:
    judge = Judge()
    for number in range(15):
        look(judge, number * 0.5, lease=1)
    look(judge, 7.5)

    assert look(judge, 8.0, lease=1) == []
