"""Which group rank the flag, the environment and schedulers give a node."""

from collections.abc import Mapping

import pytest

from elaunch.errors import UsageError
from elaunch.slots import Slot, given_slot


STEP = {"SLURM_PROCID": "2", "SLURM_NODEID": "1"}
ONE_PER_NODE = {**STEP, "SLURM_NTASKS": "4", "SLURM_NNODES": "4"}
INDEX = {"JOB_COMPLETION_INDEX": "3"}


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
        ({**ONE_PER_NODE, "PET_NODE_RANK": "0"}, Slot(0, "PET_NODE_RANK")),
        (ONE_PER_NODE, Slot(1, "SLURM_NODEID")),
        (
            {**STEP, "SLURM_NTASKS": "4", "SLURM_JOB_NUM_NODES": "4"},
            Slot(1, "SLURM_NODEID"),
        ),
        ({**STEP, "SLURM_NTASKS_PER_NODE": "1"}, Slot(1, "SLURM_NODEID")),
        (
            {"SLURM_PROCID": "2", "SLURM_NTASKS_PER_NODE": "1"},
            Slot(2, "SLURM_PROCID"),
        ),
        (INDEX, Slot(3, "JOB_COMPLETION_INDEX")),
        ({**ONE_PER_NODE, **INDEX}, Slot(1, "SLURM_NODEID")),
    ],
)
def test_the_first_variable_that_counts_gives_the_rank(
    environment: Mapping[str, str], given: Slot | None
) -> None:
    assert given_slot(environment, None, 4) == given


@pytest.mark.parametrize(
    "environment",
    [
        STEP,
        {**STEP, "SLURM_NTASKS": "8", "SLURM_NNODES": "4"},
        {**STEP, "SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "4"},
        {**STEP, "SLURM_NTASKS_PER_NODE": "2"},
        {"SLURM_NODEID": "1", "SLURM_NTASKS": "4", "SLURM_NNODES": "4"},
        {"SLURM_NODEID": "1", "SLURM_NTASKS_PER_NODE": "1"},
    ],
)
def test_slurm_gives_none_outside_a_step_of_one_task_per_node(
    environment: Mapping[str, str],
) -> None:
    assert given_slot(environment, None, 4) is None


@pytest.mark.parametrize("value", ["4", "-1", "x", "", "9" * 5000])
@pytest.mark.parametrize("name", ["SLURM_NODEID", "JOB_COMPLETION_INDEX"])
def test_an_index_of_a_scheduler_that_is_no_rank_is_ignored(
    name: str, value: str
) -> None:
    environment = {**ONE_PER_NODE, "SLURM_PROCID": "7", name: value}
    if name != "SLURM_NODEID":
        del environment["SLURM_NODEID"]

    assert given_slot(environment, None, 4) is None


@pytest.mark.parametrize("environment", [ONE_PER_NODE, INDEX, {**ONE_PER_NODE, **STEP}])
def test_a_job_of_one_node_hears_no_scheduler(environment: Mapping[str, str]) -> None:
    zero = {**environment, "SLURM_NODEID": "0", "JOB_COMPLETION_INDEX": "0"}

    assert given_slot(environment, None, 1) is None
    assert given_slot(zero, None, 1) is None


@pytest.mark.parametrize(
    "value", ["4", "-1", "+1", "1.0", "x", "", " 1", "²", "9" * 10]
)
@pytest.mark.parametrize("name", ["ELAUNCH_NODE_RANK", "PET_NODE_RANK"])
def test_an_explicit_variable_that_is_no_rank_is_refused(name: str, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        given_slot({name: value}, None, 4)

    assert str(caught.value) == (
        f"{name} must be a number from 0 to 3, not {value!r}; correct it, or unset it"
    )


def test_a_job_of_one_node_has_no_use_for_a_rank() -> None:
    """It may be nested in a worker of a larger job, whose variables it inherits."""
    assert given_slot({"ELAUNCH_NODE_RANK": "1"}, None, 1) is None
    assert given_slot({"PET_NODE_RANK": "x"}, None, 1) is None


def test_the_flag_wins_over_all() -> None:
    environment = {**ONE_PER_NODE, **INDEX, "ELAUNCH_NODE_RANK": "x"}

    assert given_slot(environment, 0, 4) == Slot(0, "--node-rank")
