"""Who gets which CPUs: pure, and never nothing."""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import attrs

from elaunch.api import NumaBinding
from elaunch_spawn_local.cpus.topology import Cpu, Topology


Cpus = frozenset[int]
T = TypeVar("T")


@attrs.frozen
class Plan:
    """Who gets which CPUs.

    Attributes:
        cpus: Those of each worker, by local rank; never empty.
        notes: What had to be done otherwise than asked, and why.
    """

    cpus: tuple[Cpus, ...]
    notes: tuple[str, ...] = ()

    @property
    def threads(self) -> tuple[int, ...]:
        """How many threads fit each worker: its CPUs, of shared ones its part."""
        users = Counter(number for cpus in self.cpus for number in cpus)
        whole = math.lcm(*users.values())
        return tuple(
            max(1, sum(whole // users[number] for number in cpus) // whole)
            for cpus in self.cpus
        )


def plan(
    mode: NumaBinding, topology: Topology, workers: int, homes: Sequence[int] = ()
) -> Plan:
    """Share out CPUs among the workers of a node.

    Args:
        mode: How.
        topology: The CPUs that may be used.
        workers: Number of workers.
        homes: The NUMA node of each worker's device, by local rank. Without it the
            workers are spread evenly, neighbours together.
    """
    notes = [] if topology.known else [_UNKNOWN]
    match mode:
        case NumaBinding.CORES:
            made = _shared_out(topology.cpus, workers, "")
        case NumaBinding.SOCKET if not homes:
            sockets = _grouped(topology.cpus, lambda cpu: (cpu.socket,))
            made = Plan(tuple(_numbers(s) for s in _spread(sockets, workers)))
        case _:
            homes, note = _homes(topology, workers, homes)
            notes += [note] if note else []
            made = _near(mode, topology, homes)
    return Plan(made.cpus, (*notes, *made.notes))


_UNKNOWN = (
    "the system does not tell which CPUs belong together, so each counts as a core of "
    "one and the same NUMA node"
)


def _near(mode: NumaBinding, topology: Topology, homes: Sequence[int]) -> Plan:
    """Give each worker CPUs of its home, as the mode says."""
    found: dict[int, Cpus] = {}
    notes: list[str] = []
    for home in sorted(set(homes)):
        members = [rank for rank, node in enumerate(homes) if node == home]
        there = [cpu for cpu in topology.cpus if cpu.node == home]
        part = _part(mode, topology, there, len(members))
        found.update(zip(members, part.cpus, strict=True))
        notes += part.notes
    return Plan(tuple(found[rank] for rank in range(len(homes))), tuple(notes))


def _part(
    mode: NumaBinding, topology: Topology, there: Sequence[Cpu], workers: int
) -> Plan:
    """Give the workers of one NUMA node their CPUs."""
    node = there[0].node
    if mode is NumaBinding.EXCLUSIVE:
        return _shared_out(there, workers, f"NUMA node {node}: ")
    if mode is NumaBinding.CORE_COMPLEX:
        if any(cpu.cache is None for cpu in there):
            note = (
                f"the system does not tell which CPUs of NUMA node {node} share a "
                f"cache: its workers get all of them"
            )
            return Plan((_numbers(there),) * workers, (note,))
        caches = _grouped(there, lambda cpu: (_known(cpu.cache),))
        largest = sorted(caches, key=lambda cpus: (-len(cpus), cpus[0].number))
        return Plan(tuple(_numbers(largest[i % len(largest)]) for i in range(workers)))
    if mode is NumaBinding.SOCKET:
        sockets = {cpu.socket for cpu in there}
        there = [cpu for cpu in topology.cpus if cpu.socket in sockets]
    return Plan((_numbers(there),) * workers)


def _homes(
    topology: Topology, workers: int, wanted: Sequence[int]
) -> tuple[Sequence[int], str]:
    """Return a NUMA node with CPUs for each worker, and what had to be changed."""
    places = _grouped(topology.cpus, _place)
    nodes = list(dict.fromkeys(cpus[0].node for cpus in places))
    evenly = _spread(nodes, workers)
    if not wanted:
        return evenly, ""
    homes = [w if w in nodes else e for w, e in zip(wanted, evenly, strict=True)]
    bare = ", ".join(str(node) for node in sorted(set(wanted) - set(nodes)))
    return homes, bare and (
        f"no CPU of NUMA node {bare} may be used: workers whose devices are there get "
        f"CPUs of other nodes"
    )


def _place(cpu: Cpu) -> tuple[int, int]:
    return (cpu.socket, cpu.node)


def _shared_out(cpus: Sequence[Cpu], workers: int, where: str) -> Plan:
    """Share out whole cores, neighbours to one worker; the first get what is over."""
    cores = [
        _numbers(core)
        for core in _grouped(
            cpus, lambda cpu: (*_place(cpu), _known(cpu.cache), cpu.core)
        )
    ]
    if len(cores) >= workers:
        return Plan(_slices(cores, workers))
    cores_are = "1 core is" if len(cores) == 1 else f"{len(cores)} cores are"
    few = f"{where}{cores_are} too few for {workers} workers"
    if len(cpus) >= workers:
        singles = [frozenset({number}) for core in cores for number in sorted(core)]
        return Plan(_slices(singles, workers), (f"{few}: they get parts of cores",))
    return Plan((_numbers(cpus),) * workers, (f"{few}: they share all of them",))


def _slices(units: Sequence[Cpus], workers: int) -> tuple[Cpus, ...]:
    share, over = divmod(len(units), workers)
    starts = [rank * share + min(rank, over) for rank in range(workers + 1)]
    return tuple(
        frozenset().union(*units[first:last])
        for first, last in itertools.pairwise(starts)
    )


def _spread(places: Sequence[T], workers: int) -> list[T]:
    return [places[rank * len(places) // workers] for rank in range(workers)]


def _grouped(
    cpus: Sequence[Cpu], key: Callable[[Cpu], tuple[int, ...]]
) -> list[list[Cpu]]:
    """Return the CPUs in groups of one key, groups and CPUs in order."""
    groups: defaultdict[tuple[int, ...], list[Cpu]] = defaultdict(list)
    for cpu in cpus:
        groups[key(cpu)].append(cpu)
    return [groups[name] for name in sorted(groups)]


def _numbers(cpus: Iterable[Cpu]) -> Cpus:
    return frozenset(cpu.number for cpu in cpus)


def _known(cache: int | None) -> int:
    return -1 if cache is None else cache
