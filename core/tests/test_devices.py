"""One device for each worker."""

import pytest

from elaunch import UsageError
from elaunch.devices import DEFAULT, TABLE, one_device


CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"
MIG = "MIG-GPU-1a/1/0"


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ({}, {CUDA: "1"}),
        ({CUDA: "2,3"}, {CUDA: "3"}),
        ({CUDA: " 2 , 3 "}, {CUDA: "3"}),
        ({CUDA: f"GPU-1a,{MIG}"}, {CUDA: MIG}),
        ({CUDA: ""}, {CUDA: ""}),
        ({CUDA: "-1"}, {CUDA: "-1"}),
        ({HIP: "4,5,6"}, {HIP: "5"}),
        ({"ZE_AFFINITY_MASK": "0.0,0.1"}, {"ZE_AFFINITY_MASK": "0.1"}),
        ({HIP: "4,5", CUDA: "4,5"}, {HIP: "5", CUDA: "5"}),
        ({ROCR: "4,5"}, {ROCR: "5"}),
    ],
)
def test_the_second_worker_sees_the_second_device(
    given: dict[str, str], seen: dict[str, str]
) -> None:
    assert one_device(given, 1) == seen


@pytest.mark.parametrize("inner", [HIP, CUDA])
def test_a_list_within_another_is_cut_alone(inner: str) -> None:
    """HIP counts within what ROCm shows: of one device left, the second is none."""
    assert one_device({ROCR: "4,5", inner: "0,1"}, 1) == {inner: "1"}


@pytest.mark.parametrize("name", [variable.name for variable in TABLE])
def test_every_known_variable_that_is_set_is_cut(name: str) -> None:
    assert one_device({name: "a,b"}, 1) == {name: "b"}


def test_the_variables_that_the_user_names_are_the_ones() -> None:
    given = {CUDA: "2,3", "MINE": "x,y"}

    assert one_device(given, 1, ["MINE", "OTHER"]) == {"MINE": "y", "OTHER": "1"}


@pytest.mark.parametrize("named", [(), (CUDA,)])
def test_too_few_devices_are_a_usage_error(named: tuple[str, ...]) -> None:
    message = (
        "local rank 2 has no device, since CUDA_VISIBLE_DEVICES is '0,1'; .*start 2"
    )
    with pytest.raises(UsageError, match=message):
        one_device({CUDA: "0,1"}, 2, named)


def test_what_refines_a_variable_is_a_variable() -> None:
    names = {variable.name for variable in TABLE}

    assert DEFAULT in names
    assert {name for v in TABLE for name in v.refined_by} < names
