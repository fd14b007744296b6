"""The check ``memory``: enough of it is available, on the host and in its limits."""

from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil

from elaunch.api import BlockingCall, PreflightContext, PreflightResult
from elaunch.events import Value
from elaunch.preflights.options import MemoryOptions
from elaunch.sizes import readable, size_of
from elaunch.text import printable


NAMED = 3
"""How many processes are named, the largest first."""


@attrs.frozen
class Room:
    """Memory that is left somewhere.

    Attributes:
        available: Bytes.
        where: Whose they are.
    """

    available: int
    where: str


@attrs.define(eq=False)
class Memory:
    """Looks at the memory of this host.

    Attributes:
        options: What is asked of it.
        groups: Where the kernel shows control groups.
        own: File that tells which of them this process is in.
    """

    options: MemoryOptions
    groups: Path = Path("/sys/fs/cgroup")
    own: Path = Path("/proc/self/cgroup")
    _look: BlockingCall[PreflightResult] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._look = BlockingCall(self._looked)

    async def check(self, _: PreflightContext) -> PreflightResult:
        """Look in a thread: there may be many processes."""
        return await self._look()

    def _looked(self) -> PreflightResult:
        host = Room(psutil.virtual_memory().available, "of the host")
        least = min((host, *self._limits()), key=lambda room: room.available)
        wanted = size_of(self.options.available)
        facts: dict[str, Value] = {"available": least.available, "of": least.where}
        if least.available >= wanted:
            return PreflightResult(facts=facts)
        largest = list(_largest())
        facts["largest"] = largest
        return PreflightResult(
            problem=f"{readable(least.available)} of memory {least.where} are "
            f"available, and {readable(wanted)} are asked for; the largest processes: "
            f"{', '.join(largest)}",
            facts=facts,
        )

    def _limits(self) -> Iterator[Room]:
        """Yield what is left in each limited control group from ours to the top."""
        for line in _text(self.own).splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from self._left(
                    self.groups,
                    path,
                    limit="memory.max",
                    used="memory.current",
                    cache="inactive_file",
                )
            elif "memory" in controllers.split(","):
                yield from self._left(
                    self.groups / "memory",
                    path,
                    limit="memory.limit_in_bytes",
                    used="memory.usage_in_bytes",
                    cache="total_inactive_file",
                )

    def _left(
        self, top: Path, path: str, *, limit: str, used: str, cache: str
    ) -> Iterator[Room]:
        own = top / path.strip("/")
        # In a container the path can be that of the host, which is not seen there.
        directory = own if ".." not in own.parts and own.is_dir() else top
        while True:
            most, now = _text(directory / limit).strip(), _text(directory / used)
            if most.isdigit() and now.strip().isdigit():
                # What was only read can be dropped at any time.
                left = int(most) - int(now) + _field(directory / "memory.stat", cache)
                yield Room(max(left, 0), f"of the control group {str(directory)!r}")
            if directory == top:
                return
            directory = directory.parent


def _largest() -> Iterator[str]:
    """Yield the processes that hold most memory, for people."""
    found = []
    for process in psutil.process_iter(["pid", "name", "memory_info"]):
        memory = process.info["memory_info"]
        if memory:
            found.append((memory.rss, process.info["pid"], process.info["name"]))
    for size, pid, name in sorted(found, reverse=True)[:NAMED]:
        yield f"{printable(name)} (pid {pid}, {readable(size)})"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _field(path: Path, name: str) -> int:
    for line in _text(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.isdigit():
            return int(value)
    return 0
