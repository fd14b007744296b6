"""What the system tells of its CPUs: cores, sockets, NUMA nodes and shared caches."""

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

import attrs


CPUS = "sys/devices/system/cpu"
NODES = "sys/devices/system/node"

_DATA_CACHES = ("Unified", "Data")
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


@attrs.frozen(kw_only=True)
class Cpu:
    """One logical CPU.

    Attributes:
        number: Its number.
        core: Number of the first CPU of its physical core, which names the core.
        socket: Number of its socket.
        node: Number of its NUMA node.
        cache: Number of the first CPU that shares its last-level cache, which names
            the cache; `None` where the system does not tell.
    """

    number: int
    core: int
    socket: int
    node: int
    cache: int | None


@attrs.frozen
class Topology:
    """The CPUs that may be used.

    Attributes:
        cpus: Each of them, by number; never empty.
        known: Whether the system tells which of them belong together.
    """

    cpus: tuple[Cpu, ...]
    known: bool = True


def read_topology(root: Path, allowed: frozenset[int]) -> Topology:
    """Read what the system tells of some CPUs; blocks for some milliseconds.

    What it does not tell is taken to be the simplest: a core for each CPU, one socket,
    one node.

    Args:
        root: The root directory.
        allowed: Numbers of the CPUs that may be used.
    """
    online = parse_list(text_of(root / CPUS / "online"))
    numbers = sorted(allowed & online or allowed)
    nodes = _nodes(root)
    known = all((root / CPUS / f"cpu{n}" / "topology").is_dir() for n in numbers)
    return Topology(tuple(_cpu(root, number, nodes) for number in numbers), known)


def parse_list(text: str) -> frozenset[int]:
    """Return the numbers of a list as the kernel writes it: ``0-3,8``."""
    found: set[int] = set()
    for first, last in _RANGE.findall(text):
        found.update(range(int(first), int(last or first) + 1))
    return frozenset(found)


def listed(numbers: frozenset[int]) -> str:
    """Return numbers as the kernel writes a list of them."""
    ordered = sorted(numbers)
    firsts = [n for n in ordered if n - 1 not in numbers]
    lasts = [n for n in ordered if n + 1 not in numbers]
    return ",".join(
        str(first) if first == last else f"{first}-{last}"
        for first, last in zip(firsts, lasts, strict=True)
    )


def text_of(path: Path) -> str:
    """Return what a file says, or nothing where it is absent or can't be read."""
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def number_of(path: Path) -> int:
    """Return the number in a file; 0 where there is none, or -1 for "unknown"."""
    text = text_of(path).strip()
    return int(text) if text.isdecimal() else 0


def _cpu(root: Path, number: int, nodes: Mapping[int, int]) -> Cpu:
    directory = root / CPUS / f"cpu{number}"
    siblings = parse_list(text_of(directory / "topology" / "thread_siblings_list"))
    return Cpu(
        number=number,
        core=min(siblings, default=number),
        socket=number_of(directory / "topology" / "physical_package_id"),
        node=nodes.get(number, 0),
        cache=_last_cache(directory / "cache"),
    )


def _last_cache(directory: Path) -> int | None:
    caches = [
        (number_of(index / "level"), min(shared))
        for index in directory.glob("index*")
        if text_of(index / "type").strip() in _DATA_CACHES
        and (shared := parse_list(text_of(index / "shared_cpu_list")))
    ]
    return max(caches)[1] if caches else None


def _nodes(root: Path) -> dict[int, int]:
    """Return the node of each CPU; nodes of memory alone have none."""
    found = {}
    for directory in (root / NODES).glob("node[0-9]*"):
        node = int(directory.name.removeprefix("node"))
        for number in parse_list(text_of(directory / "cpulist")):
            found[number] = node
    return found
