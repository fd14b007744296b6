"""Files that tell of a machine as the kernel does below ``/sys`` and ``/proc``."""

from collections.abc import Collection, Iterable
from pathlib import Path

import attrs


@attrs.frozen(kw_only=True)
class Shape:
    """What a machine is made of.

    Attributes:
        sockets: Number of sockets.
        nodes: NUMA nodes of a socket.
        cores: Cores of a node.
        threads: Logical CPUs of a core.
        cores_of_a_cache: Cores that share a last-level cache.
        dealt: Whether cores are dealt out to the nodes in turn, as some firmware does.
        threads_together: Whether the CPUs of a core have successive numbers.
        node_step: Distance between the numbers of two nodes.
        offline: CPUs that are switched off.
    """

    sockets: int = 1
    nodes: int = 1
    cores: int = 4
    threads: int = 1
    cores_of_a_cache: int = 4
    dealt: bool = False
    threads_together: bool = False
    node_step: int = 1
    offline: Collection[int] = ()

    @property
    def cpus(self) -> frozenset[int]:
        """Numbers of all CPUs that are on."""
        return frozenset(range(self._cores * self.threads)) - set(self.offline)

    @property
    def _cores(self) -> int:
        return self.sockets * self.nodes * self.cores

    def core(self, number: int) -> list[int]:
        """Return the CPUs of a core that are on."""
        if self.threads_together:
            first = number * self.threads
            found = range(first, first + self.threads)
        else:
            found = range(number, self._cores * self.threads, self._cores)
        return [cpu for cpu in found if cpu not in self.offline]

    def cores_of(self, node: int) -> range:
        """Return the numbers of a node's cores; nodes are counted from 0 here."""
        if self.dealt:
            return range(node, self._cores, self.sockets * self.nodes)
        return range(node * self.cores, (node + 1) * self.cores)

    def cpus_of(self, node: int) -> frozenset[int]:
        """Return the CPUs of a node that are on."""
        return frozenset(cpu for core in self.cores_of(node) for cpu in self.core(core))

    def write(self, root: Path) -> Path:
        """Write what the kernel tells of such a machine; return the root directory."""
        cpus = root / "sys/devices/system/cpu"
        write(cpus / "online", listing(self.cpus))
        for node in range(self.sockets * self.nodes):
            name = f"node{node * self.node_step}"
            here = root / "sys/devices/system/node" / name
            write(here / "cpulist", listing(self.cpus_of(node)))
            cores = self.cores_of(node)
            for i in range(0, self.cores, self.cores_of_a_cache):
                sharing = cores[i : i + self.cores_of_a_cache]
                shared = [cpu for core in sharing for cpu in self.core(core)]
                for core in sharing:
                    self._write_core(cpus, core, node // self.nodes, shared)
        return root

    def _write_core(
        self, cpus: Path, core: int, socket: int, shared: Collection[int]
    ) -> None:
        siblings = self.core(core)
        for cpu in siblings:
            here = cpus / f"cpu{cpu}"
            write(here / "topology/thread_siblings_list", listing(siblings))
            write(here / "topology/physical_package_id", str(socket))
            caches = (("1", "Data"), ("1", "Instruction"), ("3", "Unified"))
            for number, (level, kind) in enumerate(caches):
                cache = here / f"cache/index{number}"
                write(cache / "level", level)
                write(cache / "type", kind)
                sharing = shared if level == "3" else siblings
                write(cache / "shared_cpu_list", listing(sharing))


def write_device(
    root: Path, address: str, vendor: str, kind: str, *, node: int, uuid: str = ""
) -> None:
    """Write what the kernel tells of a device, and NVIDIA's driver if it has a UUID."""
    here = root / "sys/bus/pci/devices" / address
    write(here / "vendor", vendor)
    write(here / "class", kind)
    write(here / "numa_node", str(node))
    if uuid:
        about = root / "proc/driver/nvidia/gpus" / address / "information"
        write(about, f"Model: \t\t NVIDIA H100\nIRQ:   \t\t 129\nGPU UUID: \t {uuid}")


def write(path: Path, text: str) -> None:
    """Write a file with a newline at its end, and the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{text}\n")


def listing(numbers: Iterable[int]) -> str:
    """Return numbers as a list that the kernel could write, if not the shortest."""
    return ",".join(str(number) for number in sorted(numbers))


EPYC = Shape(sockets=2, nodes=4, cores=8, threads=2, cores_of_a_cache=4)
"""Two sockets of four NUMA nodes each, with two caches in a node."""

RYZEN = Shape(cores=16, threads=2)
"""One NUMA node with four caches."""

XEON = Shape(sockets=2, cores=6, threads=2, cores_of_a_cache=6, dealt=True)
"""Two nodes whose CPUs have even and odd numbers."""

POWER = Shape(sockets=2, cores=3, threads=4, threads_together=True, node_step=8)
"""Nodes 0 and 8, and four CPUs in a core."""

HOLES = Shape(cores=6, threads=2, cores_of_a_cache=3, offline=(0, 3, 9))
"""A core that is off, and cores of which one CPU is off."""

SHAPES = {"epyc": EPYC, "ryzen": RYZEN, "xeon": XEON, "power": POWER, "holes": HOLES}
