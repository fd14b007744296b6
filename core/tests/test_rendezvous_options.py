"""What the options of a rendezvous add to a job's settings, and what they refuse."""

import pytest

from elaunch.api import JobSettings, RendezvousOptions, UsageError


def complete(least: int, most: int, **options: int) -> JobSettings:
    settings = JobSettings(min_nodes=least, max_nodes=most)
    return RendezvousOptions(**options).complete(settings)


def test_they_are_part_of_what_must_be_the_same() -> None:
    settings = complete(2, 4, node_unit=2, population=5)

    assert (settings.node_unit, settings.population) == (2, 5)


@pytest.mark.parametrize(
    ("nodes", "unit", "sizes"),
    [
        ((2, 5), 2, [0, 0, 2, 2, 4, 4, 4]),
        ((1, 3), 1, [0, 1, 2, 3, 3, 3, 3]),
        ((3, 4), 2, [0, 0, 0, 0, 4, 4, 4]),
    ],
)
def test_a_generation_takes_as_many_as_fit(
    nodes: tuple[int, int], unit: int, sizes: list[int]
) -> None:
    settings = complete(*nodes, node_unit=unit)

    assert [settings.fitting(count) for count in range(7)] == sizes


@pytest.mark.parametrize(
    ("nodes", "options", "message"),
    [
        ((3, 3), {"node_unit": 2}, "can't have 3 nodes in units of 2"),
        ((5, 7), {"node_unit": 4}, "can't have any of 5 to 7 nodes in units of 4"),
        ((2, 4), {"population": 1}, "population 1 is less than the 2 nodes that"),
    ],
)
def test_what_could_never_form_is_refused(
    nodes: tuple[int, int], options: dict[str, int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        complete(*nodes, **options)
