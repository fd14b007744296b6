"""Who was killed because there was no memory left, told by the kernel's counters.

The kernel kills with SIGKILL and tells nobody why. It counts, though: for each control
group the processes of it that it killed for memory, and all of them together. A
SIGKILL that nobody here sent, while one of these numbers grew, is such a kill.
"""

import re
import threading
from pathlib import Path

import attrs


_PROC = Path("/proc")
_NO_LIMIT = 1 << 60  # what v1 shows for none is a number near 2**63
_ESCAPED = re.compile(r"\\(\d{3})")


@attrs.frozen
class MemoryGroup:
    """A control group that counts and limits memory.

    Attributes:
        directory: Where the kernel shows it.
        top: Where the hierarchy is mounted; its groups above are hidden from us.
        unified: Whether it is of version 2.
    """

    directory: Path
    top: Path
    unified: bool

    def kills(self) -> int:
        """Return how many of its processes were killed for memory; 0 if unknown."""
        name = "memory.events" if self.unified else "memory.oom_control"
        return _counter(self.directory / name, "oom_kill")

    def limit(self) -> tuple[int, Path] | None:
        """Return the smallest limit in bytes here or above, and whose it is."""
        name = "memory.max" if self.unified else "memory.limit_in_bytes"
        limits = []
        for directory in (self.directory, *self.directory.parents):
            value = _read(directory / name).strip()
            if value.isdigit() and int(value) < _NO_LIMIT:
                limits.append((int(value), directory))
            if directory == self.top:
                break
        return min(limits, default=None)


def memory_group(pid: int | str = "self") -> MemoryGroup | None:
    """Return the control group that a process's memory counts for, if one is found."""
    paths = _cgroup_paths(_read(_PROC / str(pid) / "cgroup"))
    for root, mount, controllers in _mounts(_read(_PROC / "self" / "mountinfo")):
        unified = controllers is None
        path = paths.get("" if unified else "memory")
        if path is None or not (unified or "memory" in (controllers or ())):
            continue
        inside = _below(path, root)
        if inside is None:
            continue
        found = MemoryGroup(mount / inside, mount, unified)
        # In a hybrid set-up version 2 is there, too, and has nothing on memory.
        name = "memory.events" if unified else "memory.oom_control"
        if (found.directory / name).exists():
            return found
    return None


@attrs.define(eq=False, repr=False)
class OutOfMemory:
    """Watches the counter for one group of workers, from before it starts.

    Several threads may ask.

    Args:
        group: Control group of the workers; `None` to go by the host's counter, which
            counts everybody's processes.
    """

    _group: MemoryGroup | None
    _known: int = attrs.field(init=False)
    _asking: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._known = self._kills()

    @classmethod
    def here(cls) -> "OutOfMemory":
        """Watch the control group of this process, which its children share."""
        return cls(memory_group())

    def killed(self) -> str:
        """Return why SIGKILL came that nobody here sent, or nothing if not for memory.

        Each kill that was counted explains the end of one worker.
        """
        with self._asking:
            if self._kills() <= self._known:
                return ""
            self._known += 1
        return f"out of memory; {self._whose()}"

    def beside(self) -> str:
        """Return how many others of the group were killed for memory, or nothing."""
        with self._asking:
            more = self._kills() - self._known
            if more <= 0 or self._group is None:
                return ""
            self._known += more
        count = "a process" if more == 1 else f"{more} processes"
        return f"the kernel killed {count} beside it: out of memory; {self._whose()}"

    def _kills(self) -> int:
        if self._group:
            return self._group.kills()
        return _counter(_PROC / "vmstat", "oom_kill")

    def _whose(self) -> str:
        limit = self._group.limit() if self._group else None
        if limit is None:
            return "the host has no more"
        size, directory = limit
        return f"the limit is {size} bytes ({readable(size)}) of {str(directory)!r}"


def readable(size: int) -> str:
    """Return a number of bytes as ``1.5 GiB``."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 - what a KiB is
            return f"{size} bytes" if unit == "bytes" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _counter(path: Path, name: str) -> int:
    for line in _read(path).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _cgroup_paths(text: str) -> dict[str, str]:
    """Return the path by controller from ``/proc/PID/cgroup``; version 2 is ``""``."""
    paths = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            paths[controller] = path
    return paths


def _mounts(text: str) -> list[tuple[str, Path, frozenset[str] | None]]:
    """Return root, place and controllers (none for version 2) of cgroup mounts."""
    mounts: list[tuple[str, Path, frozenset[str] | None]] = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        fields, kind = left.split(), right.split()
        if len(fields) < 5 or len(kind) < 3:  # noqa: PLR2004 - see proc(5)
            continue
        root, place = _unescaped(fields[3]), Path(_unescaped(fields[4]))
        if kind[0] == "cgroup2":
            mounts.append((root, place, None))
        elif kind[0] == "cgroup":
            mounts.append((root, place, frozenset(kind[2].split(","))))
    return mounts


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def _below(path: str, root: str) -> str | None:
    """Return a path relative to what is mounted, or `None` if it lies outside."""
    prefix = root.rstrip("/")
    if path == prefix or path.startswith(prefix + "/"):
        return path[len(prefix) :].lstrip("/")
    return None
