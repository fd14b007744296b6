"""Who gets which CPUs."""

import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies
from machines import EPYC, HOLES, POWER, RYZEN, SHAPES, XEON, Shape

from elaunch.api import NumaBinding
from elaunch_spawn_local.cpus.plan import Plan, plan
from elaunch_spawn_local.cpus.topology import Cpu, Topology, read_topology


NODE, SOCKET, EXCLUSIVE, COMPLEX, CORES = (
    NumaBinding.NODE,
    NumaBinding.SOCKET,
    NumaBinding.EXCLUSIVE,
    NumaBinding.CORE_COMPLEX,
    NumaBinding.CORES,
)


@cache
def whole(shape: Shape) -> Topology:
    with tempfile.TemporaryDirectory() as root:
        return read_topology(shape.write(Path(root)), shape.cpus)


def topology(shape: Shape, allowed: frozenset[int] | None = None) -> Topology:
    every = whole(shape).cpus
    return Topology(tuple(c for c in every if allowed is None or c.number in allowed))


def planned(
    mode: NumaBinding, shape: Shape, workers: int, homes: Sequence[int] = ()
) -> list[set[int]]:
    made = plan(mode, topology(shape), workers, homes)
    assert made.notes == ()
    return [set(cpus) for cpus in made.cpus]


def cores(shape: Shape, *numbers: int) -> set[int]:
    return {cpu for number in numbers for cpu in shape.core(number)}


# -- node and socket ------------------------------------------------------------------


def test_a_worker_gets_the_node_of_its_device() -> None:
    assert planned(NODE, EPYC, 3, (7, 0, 7)) == [
        EPYC.cpus_of(7),
        EPYC.cpus_of(0),
        EPYC.cpus_of(7),
    ]


def test_without_devices_workers_are_spread_over_the_nodes() -> None:
    nodes = [EPYC.cpus_of(node) for node in range(8)]

    assert planned(NODE, EPYC, 8) == nodes
    assert planned(NODE, EPYC, 2) == [nodes[0], nodes[4]]
    assert planned(NODE, EPYC, 16) == [n for node in nodes for n in (node, node)]


def test_nodes_may_have_any_numbers() -> None:
    assert planned(NODE, POWER, 2) == [POWER.cpus_of(0), POWER.cpus_of(1)]
    assert planned(NODE, POWER, 1, (8,)) == [POWER.cpus_of(1)]


def test_a_worker_gets_the_socket_of_its_device() -> None:
    second = {cpu for node in range(4, 8) for cpu in EPYC.cpus_of(node)}

    assert planned(SOCKET, EPYC, 2, (5, 1)) == [second, set(EPYC.cpus) - second]


def test_without_devices_workers_are_spread_over_the_sockets() -> None:
    even = {cpu for cpu in XEON.cpus if cpu % 2 == 0}
    odd = set(XEON.cpus) - even

    assert planned(SOCKET, XEON, 4) == [even, even, odd, odd]


# -- exclusive ------------------------------------------------------------------------


def test_workers_of_a_node_share_out_its_cores() -> None:
    assert planned(EXCLUSIVE, EPYC, 4, (3, 0, 3, 3)) == [
        cores(EPYC, 24, 25, 26),
        EPYC.cpus_of(0),
        cores(EPYC, 27, 28, 29),
        cores(EPYC, 30, 31),
    ]


def test_exclusive_without_devices_uses_all_nodes() -> None:
    assert planned(EXCLUSIVE, XEON, 4) == [
        cores(XEON, 0, 2, 4),
        cores(XEON, 6, 8, 10),
        cores(XEON, 1, 3, 5),
        cores(XEON, 7, 9, 11),
    ]


def test_of_a_core_all_cpus_that_are_on_go_to_one_worker() -> None:
    assert planned(EXCLUSIVE, HOLES, 4) == [{1, 7, 2, 8}, {6}, {4, 10}, {5, 11}]


# -- core-complex ---------------------------------------------------------------------


def test_each_worker_of_a_node_gets_another_cache() -> None:
    assert planned(COMPLEX, RYZEN, 5) == [
        cores(RYZEN, *range(4)),
        cores(RYZEN, *range(4, 8)),
        cores(RYZEN, *range(8, 12)),
        cores(RYZEN, *range(12, 16)),
        cores(RYZEN, *range(4)),
    ]


def test_the_cache_is_one_of_the_devices_node() -> None:
    assert planned(COMPLEX, EPYC, 3, (2, 1, 2)) == [
        cores(EPYC, *range(16, 20)),
        cores(EPYC, *range(8, 12)),
        cores(EPYC, *range(20, 24)),
    ]


def test_caches_with_more_cpus_that_may_be_used_come_first() -> None:
    allowed = frozenset({0, 4, 5, 20, 8, 9})

    made = plan(COMPLEX, topology(RYZEN, allowed), 3)

    assert made == Plan((frozenset({4, 5, 20}), frozenset({8, 9}), frozenset({0})))


def test_where_caches_are_unknown_workers_get_their_node() -> None:
    unknown = Topology(
        tuple(Cpu(number=n, core=n, socket=0, node=n, cache=None) for n in range(2))
    )

    made = plan(COMPLEX, unknown, 2)

    assert [*made.cpus] == [{0}, {1}]
    assert "does not tell which CPUs of NUMA node 0 share a cache" in made.notes[0]


# -- cores ----------------------------------------------------------------------------


def test_cores_are_shared_out_evenly_and_the_first_get_what_is_over() -> None:
    shape = Shape(cores=5, threads=2)

    assert planned(CORES, shape, 3) == [
        cores(shape, 0, 1),
        cores(shape, 2, 3),
        cores(shape, 4),
    ]


def test_a_share_is_on_one_node_where_it_fits() -> None:
    assert planned(CORES, XEON, 2) == [XEON.cpus_of(0), XEON.cpus_of(1)]


def test_only_cpus_of_the_agent_are_shared_out() -> None:
    allowed = frozenset({2, 66, 3, 40})

    made = plan(CORES, topology(EPYC, allowed), 2)

    assert made == Plan((frozenset({2, 66, 3}), frozenset({40})), ())


def test_where_cores_are_too_few_workers_get_parts_of_them() -> None:
    made = plan(CORES, topology(Shape(cores=2, threads=2)), 3)

    assert made == Plan(
        (frozenset({0, 2}), frozenset({1}), frozenset({3})),
        ("2 cores are too few for 3 workers: they get parts of cores",),
    )


@pytest.mark.parametrize(("mode", "where"), [(CORES, ""), (EXCLUSIVE, "NUMA node 0: ")])
def test_where_cpus_are_too_few_workers_share_them(
    mode: NumaBinding, where: str
) -> None:
    made = plan(mode, topology(Shape(cores=1)), 2)

    note = f"{where}1 core is too few for 2 workers: they share all of them"
    assert made == Plan((frozenset({0}), frozenset({0})), (note,))
    assert made.threads == (1, 1)


# -- what is missing ------------------------------------------------------------------


def test_a_device_on_a_node_without_cpus_costs_nobody_its_cpus() -> None:
    allowed = EPYC.cpus_of(0) | EPYC.cpus_of(5)

    made = plan(EXCLUSIVE, topology(EPYC, allowed), 2, (5, 3))

    assert [*made.cpus] == [cores(EPYC, *range(40, 44)), cores(EPYC, *range(44, 48))]
    assert made.notes[0].startswith("no CPU of NUMA node 3 may be used: ")


def test_an_unknown_machine_is_told() -> None:
    cpus = tuple(Cpu(number=n, core=n, socket=0, node=0, cache=None) for n in range(4))

    made = plan(CORES, Topology(cpus, known=False), 2)

    assert [*made.cpus] == [{0, 1}, {2, 3}]
    assert made.notes[0].startswith("the system does not tell which CPUs belong toget")


# -- threads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "threads"),
    [
        (plan(NODE, topology(EPYC), 4, (0, 0, 0, 1)), (5, 5, 5, 16)),
        (plan(CORES, topology(RYZEN), 4), (8, 8, 8, 8)),
        (plan(COMPLEX, topology(RYZEN), 5), (4, 8, 8, 8, 4)),
    ],
)
def test_threads_fit_the_cpus_of_a_worker(made: Plan, threads: tuple[int, ...]) -> None:
    assert made.threads == threads


# -- properties -----------------------------------------------------------------------


@strategies.composite
def machines(draw: strategies.DrawFn) -> Topology:
    shape = draw(strategies.sampled_from(sorted(SHAPES)))
    every = sorted(SHAPES[shape].cpus)
    return topology(
        SHAPES[shape],
        frozenset(draw(strategies.sets(strategies.sampled_from(every), min_size=1))),
    )


MODES = strategies.sampled_from(NumaBinding)
WORKERS = strategies.integers(min_value=1, max_value=20)
HOMES = strategies.one_of(
    strategies.none(),
    strategies.lists(strategies.integers(0, 9), min_size=20, max_size=20),
)


@settings(max_examples=300)
@given(machines(), MODES, WORKERS, HOMES)
def test_everybody_gets_cpus_that_may_be_used(
    machine: Topology, mode: NumaBinding, workers: int, homes: list[int] | None
) -> None:
    allowed = {cpu.number for cpu in machine.cpus}

    made = plan(mode, machine, workers, homes[:workers] if homes else ())

    assert len(made.cpus) == len(made.threads) == workers
    for cpus in made.cpus:
        assert cpus
        assert cpus <= allowed
    assert min(made.threads) >= 1
    assert sum(count for count in made.threads if count > 1) <= len(allowed)


@settings(max_examples=300)
@given(machines(), strategies.sampled_from([EXCLUSIVE, CORES]), WORKERS, HOMES)
def test_shares_have_nothing_in_common(
    machine: Topology, mode: NumaBinding, workers: int, homes: list[int] | None
) -> None:
    """Not even a core, unless a note tells of it."""
    made = plan(mode, machine, workers, homes[:workers] if homes else ())

    core_of = {cpu.number: cpu.core for cpu in machine.cpus}
    owners = [{core_of[number] for number in cpus} for cpus in made.cpus]
    few = [note for note in made.notes if "too few" in note]
    if not few:
        assert sum(len(own) for own in owners) == len(set().union(*owners))
    elif mode is CORES:
        assert len(set(core_of.values())) < workers
    if mode is CORES:
        assert frozenset().union(*made.cpus) == core_of.keys()


@settings(max_examples=100)
@given(machines(), WORKERS)
def test_shares_of_cores_are_as_even_as_cores_allow(
    machine: Topology, workers: int
) -> None:
    made = plan(CORES, machine, workers)

    core_of = {cpu.number: cpu.core for cpu in machine.cpus}
    sizes = [len({core_of[number] for number in cpus}) for cpus in made.cpus]
    if not made.notes:
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] - sizes[-1] <= 1
