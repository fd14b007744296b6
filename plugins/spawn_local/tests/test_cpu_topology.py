"""What is read of a machine, on trees of files as real machines have them."""

from pathlib import Path

import pytest
from machines import EPYC, HOLES, POWER, RYZEN, SHAPES, XEON, Shape, write

from elaunch_spawn_local.cpus.topology import (
    Cpu,
    Topology,
    listed,
    parse_list,
    read_topology,
)


def read(root: Path, shape: Shape) -> dict[int, Cpu]:
    topology = read_topology(shape.write(root), shape.cpus)
    assert topology.known
    return {cpu.number: cpu for cpu in topology.cpus}


def test_two_sockets_of_four_nodes(tmp_path: Path) -> None:
    cpus = read(tmp_path, EPYC)

    assert len(cpus) == 128
    assert cpus[0] == Cpu(number=0, core=0, socket=0, node=0, cache=0)
    assert cpus[64] == Cpu(number=64, core=0, socket=0, node=0, cache=0)
    assert cpus[127] == Cpu(number=127, core=63, socket=1, node=7, cache=60)


def test_one_node_of_several_caches(tmp_path: Path) -> None:
    cpus = read(tmp_path, RYZEN)

    assert {cpu.node for cpu in cpus.values()} == {0}
    assert [cpus[n].cache for n in (0, 3, 4, 15, 16, 31)] == [0, 0, 4, 12, 0, 12]


def test_nodes_of_even_and_odd_cpus(tmp_path: Path) -> None:
    cpus = read(tmp_path, XEON)

    assert [cpus[n].node for n in range(4)] == [0, 1, 0, 1]
    assert cpus[13] == Cpu(number=13, core=1, socket=1, node=1, cache=1)


def test_holes_in_the_numbers_of_nodes_and_cores(tmp_path: Path) -> None:
    cpus = read(tmp_path, POWER)

    assert {cpu.node for cpu in cpus.values()} == {0, 8}
    assert {cpu.core for cpu in cpus.values()} == {0, 4, 8, 12, 16, 20}


def test_a_core_is_named_by_the_first_cpu_that_is_on(tmp_path: Path) -> None:
    cpus = read(tmp_path, HOLES)

    assert cpus.keys() == set(range(12)) - {0, 3, 9}
    assert cpus[6].core == 6
    assert (cpus[1].core, cpus[7].core) == (1, 1)


def test_only_what_is_allowed_and_on_counts(tmp_path: Path) -> None:
    root = HOLES.write(tmp_path)

    found = read_topology(root, frozenset({2, 3, 4}))

    assert [cpu.number for cpu in found.cpus] == [2, 4]


def test_where_all_that_is_allowed_seems_off_it_counts_all_the_same(
    tmp_path: Path,
) -> None:
    found = read_topology(HOLES.write(tmp_path), frozenset({3}))

    assert [cpu.number for cpu in found.cpus] == [3]


def test_without_sys_each_cpu_is_a_core_of_one_node(tmp_path: Path) -> None:
    assert read_topology(tmp_path, frozenset({2, 5})) == Topology(
        (
            Cpu(number=2, core=2, socket=0, node=0, cache=None),
            Cpu(number=5, core=5, socket=0, node=0, cache=None),
        ),
        known=False,
    )


def test_what_is_unknown_or_nonsense_does_not_matter(tmp_path: Path) -> None:
    shape = Shape(cores=1)
    here = shape.write(tmp_path) / "sys/devices/system/cpu/cpu0"
    write(here / "topology/physical_package_id", "-1")
    write(here / "topology/thread_siblings_list", "none")
    write(here / "cache/index2/level", "high")
    write(here / "cache/index2/shared_cpu_list", "")

    assert read_topology(tmp_path, shape.cpus).cpus == (
        Cpu(number=0, core=0, socket=0, node=0, cache=0),
    )


@pytest.mark.parametrize("name", SHAPES)
def test_a_node_without_cpus_is_no_place(name: str, tmp_path: Path) -> None:
    """Memory of its own can be a node, as on GH200 or with CXL."""
    shape = SHAPES[name]
    before = read_topology(shape.write(tmp_path), shape.cpus)
    write(tmp_path / "sys/devices/system/node/node99/cpulist", "")

    assert read_topology(tmp_path, shape.cpus) == before


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("", set()), ("\n", set()), ("0-2,8\n", {0, 1, 2, 8}), ("7", {7})],
)
def test_lists_of_the_kernel(text: str, numbers: set[int]) -> None:
    assert parse_list(text) == numbers
    assert listed(frozenset(numbers)) == text.strip()


def test_this_machine_can_be_read() -> None:
    import os

    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system does not tell which CPUs may be used")
    allowed = frozenset(os.sched_getaffinity(0))

    found = read_topology(Path("/"), allowed)

    assert {cpu.number for cpu in found.cpus} == allowed
