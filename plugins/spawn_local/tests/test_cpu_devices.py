"""Accelerators, as the kernel tells of them, and whose is whose."""

from pathlib import Path

import pytest
from machines import write_device

from elaunch_spawn_local.cpus.devices import (
    AMD,
    ASCEND,
    NVIDIA,
    Device,
    Devices,
    Homes,
    Maker,
    homes,
    read_devices,
)


CUDA, HIP, ROCR = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"


def devices(*nodes: int, maker: Maker = NVIDIA) -> Devices:
    made = [
        Device(address=f"0000:{i}0:00.0", node=node, uuid=f"GPU-{i}{i}")
        for i, node in enumerate(nodes)
    ]
    return Devices(maker, tuple(made))


def nodes(found: Devices, *environments: dict[str, str]) -> tuple[int, ...]:
    whole = [{"LOCAL_RANK": str(i), **env} for i, env in enumerate(environments)]
    where = homes(found, whole)
    assert where.notes == ()
    return where.nodes


# -- what is there --------------------------------------------------------------------


def test_nvidia_devices_are_found_in_the_order_of_their_addresses(
    tmp_path: Path,
) -> None:
    write_device(tmp_path, "0000:9b:00.0", "0x10de", "0x030200", node=1, uuid="GPU-bb")
    write_device(tmp_path, "0000:1b:00.0", "0x10de", "0x030200", node=0, uuid="GPU-aa")
    write_device(tmp_path, "0000:1b:00.1", "0x10de", "0x040300", node=0)  # its sound
    write_device(tmp_path, "0000:03:00.0", "0x1a03", "0x030000", node=0)  # of the board

    assert read_devices(tmp_path) == Devices(
        NVIDIA,
        (
            Device(address="0000:1b:00.0", node=0, uuid="GPU-aa"),
            Device(address="0000:9b:00.0", node=1, uuid="GPU-bb"),
        ),
    )


def test_of_its_hosts_devices_a_container_has_those_of_its_driver(
    tmp_path: Path,
) -> None:
    write_device(tmp_path, "0000:1b:00.0", "0x10de", "0x030200", node=0)
    write_device(tmp_path, "0000:9b:00.0", "0x10de", "0x030200", node=1, uuid="GPU-bb")
    found = read_devices(tmp_path)

    assert found
    assert [device.uuid for device in found.devices] == ["GPU-bb"]


def test_an_unknown_node_is_node_0(tmp_path: Path) -> None:
    write_device(tmp_path, "0000:01:00.0", "0x10de", "0x030000", node=-1)
    found = read_devices(tmp_path)

    assert found
    assert found.devices == (Device(address="0000:01:00.0", node=0),)


@pytest.mark.parametrize(
    ("maker", "kind"),
    [
        (AMD, "0x038000"),
        (AMD, "0x120000"),
        (AMD, "0x030000"),
        (ASCEND, "0x120000"),
        (NVIDIA, "0x030200"),
    ],
)
def test_makers_and_classes(tmp_path: Path, maker: Maker, kind: str) -> None:
    write_device(tmp_path, "0000:01:00.0", maker.vendor, kind, node=1)
    found = read_devices(tmp_path)

    assert found
    assert found.maker is maker


def test_a_board_of_huawei_has_a_console_that_computes_nothing(tmp_path: Path) -> None:
    write_device(tmp_path, "0000:01:00.0", "0x19e5", "0x030000", node=1)

    assert read_devices(tmp_path) is None


def test_without_sys_there_are_no_devices(tmp_path: Path) -> None:
    assert read_devices(tmp_path) is None
    assert homes(None, [{}]) == Homes()


# -- whose is whose -------------------------------------------------------------------


def test_a_worker_uses_the_device_of_its_local_rank() -> None:
    assert nodes(devices(0, 1, 1, 0), {}, {}, {}) == (0, 1, 1)


def test_of_too_few_devices_workers_share() -> None:
    assert nodes(devices(0, 1), {}, {}, {}) == (0, 1, 0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3,0", (3, 0)),
        (" 3 , 0 ", (3, 0)),
        ("GPU-22,GPU-11", (2, 1)),
        ("GPU-2,GPU-1", (2, 1)),
        ("MIG-GPU-22/1/0,1", (2, 1)),
    ],
)
def test_a_list_of_devices_counts(value: str, expected: tuple[int, ...]) -> None:
    four = devices(0, 1, 2, 3)

    assert nodes(four, {CUDA: value}, {CUDA: value}) == expected


def test_a_virtual_local_rank_counts_in_the_workers_own_list() -> None:
    own = [{"LOCAL_RANK": "0", CUDA: "2"}, {"LOCAL_RANK": "0", CUDA: "3"}]

    assert nodes(devices(0, 1, 2, 3), *own) == (2, 3)


def test_hips_list_counts_within_rocms() -> None:
    found = devices(0, 1, 2, 3, maker=AMD)

    assert nodes(found, {ROCR: "2,3"}) == (2,)
    assert nodes(found, {ROCR: "2,3", HIP: "1"}) == (3,)
    assert nodes(found, {ROCR: "2,3", CUDA: "1"}) == (3,)
    assert nodes(found, {HIP: "1", CUDA: "3"}) == (1,)


def test_lists_of_other_makers_do_not_count() -> None:
    assert nodes(devices(0, 1, maker=ASCEND), {CUDA: "1"}) == (0,)
    assert nodes(devices(0, 1, maker=ASCEND), {"ASCEND_RT_VISIBLE_DEVICES": "1"}) == (
        1,
    )


@pytest.mark.parametrize("value", ["", "-1"])
def test_workers_that_are_to_see_no_device_have_no_home(value: str) -> None:
    assert homes(devices(0, 1), [{"LOCAL_RANK": "0", CUDA: value}]) == Homes()


@pytest.mark.parametrize("value", ["7", "GPU-", "MIG-1a2b", "0,x", "GPU-0,,"])
def test_a_list_that_can_not_be_understood_is_told(value: str) -> None:
    where = homes(devices(0, 1), [{"LOCAL_RANK": "0", CUDA: value}])

    assert where.nodes == ()
    (note,) = where.notes
    assert note.startswith("the device of local rank 0 is none that the system tells")
