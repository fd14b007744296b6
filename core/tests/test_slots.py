"""Which group rank the flag, the environment and schedulers give a node."""

from collections.abc import Mapping

import pytest

from elaunch.api import Detected, Suggestion
from elaunch.errors import UsageError
from elaunch.slots import Slot, explicit_slot, scheduled_slot


@pytest.mark.parametrize(
    ("environment", "given"),
    [
        ({}, None),
        ({"ELAUNCH_NODE_RANK": "3"}, Slot(3, "ELAUNCH_NODE_RANK")),
        ({"PET_NODE_RANK": "0"}, Slot(0, "PET_NODE_RANK")),
        (
            {"PET_NODE_RANK": "1", "ELAUNCH_NODE_RANK": "2"},
            Slot(2, "ELAUNCH_NODE_RANK"),
        ),
    ],
)
def test_the_first_variable_that_counts_gives_the_rank(
    environment: Mapping[str, str], given: Slot | None
) -> None:
    assert explicit_slot(environment, None, 4) == given


def test_a_scheduler_gives_the_rank_that_it_says() -> None:
    found = Detected(
        scheduler="Slurm", values={"node_rank": Suggestion("3", "SLURM_NODEID")}
    )

    assert scheduled_slot(found, 4) == Slot(3, "Slurm: SLURM_NODEID")


@pytest.mark.parametrize("value", ["4", "-1", "x", "", "9" * 5000])
def test_an_index_of_a_scheduler_that_is_no_rank_is_ignored(value: str) -> None:
    found = Detected(scheduler="x", values={"node_rank": Suggestion(value, "rule")})

    assert scheduled_slot(found, 4) is None


@pytest.mark.parametrize("found", [None, Detected(scheduler="x")])
def test_a_scheduler_may_give_none(found: Detected | None) -> None:
    assert scheduled_slot(found, 4) is None


@pytest.mark.parametrize(
    "value", ["4", "-1", "+1", "1.0", "x", "", " 1", "²", "9" * 10]
)
@pytest.mark.parametrize("name", ["ELAUNCH_NODE_RANK", "PET_NODE_RANK"])
def test_an_explicit_variable_that_is_no_rank_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        explicit_slot({name: value}, None, 4)

    assert str(caught.value) == (
        f"{name} must be a number from 0 to 3, not {value!r}; correct it, or unset it"
    )


def test_a_job_of_one_node_has_no_use_for_a_rank() -> None:
    """It may be nested in a worker of a larger job, whose variables it inherits."""
    assert explicit_slot({"ELAUNCH_NODE_RANK": "1"}, None, 1) is None
    assert explicit_slot({"PET_NODE_RANK": "x"}, None, 1) is None


def test_the_flag_wins_over_all() -> None:
    assert explicit_slot({"ELAUNCH_NODE_RANK": "x"}, 0, 4) == Slot(0, "--node-rank")
