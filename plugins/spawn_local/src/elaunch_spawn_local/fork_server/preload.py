"""Modules imported once, for all workers; and what of that does not survive a fork."""

from __future__ import annotations

import gc
import importlib
import os
import sys

from elaunch_spawn_local.fork_server.descendants import descendants


TYPE_CHECKING = False  # see `frames`
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


SINGLE = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "BLIS_NUM_THREADS",
)
"""Variables that size thread pools, some of which start at import."""

OWN = (
    "runpy",
    "elaunch_spawn_local.forked",
    "elaunch_spawn_local.function_worker",
    "elaunch_spawn_local.stack_signal",
)
"""What every Python worker needs of ours."""

_DEVICES = ("/dev/nvidia", "/dev/kfd", "/dev/davinci", "/dev/dri/render", "/dev/accel")


def environment(agent: dict[str, str]) -> dict[str, str]:
    """Return the environment in which to import: all thread pools of size one."""
    return {**agent, **dict.fromkeys(SINGLE, "1")}


def prepare(modules: list[str], path: list[str], *, anyway: bool) -> dict[str, Any]:
    """Import modules and return the server's first word: how that went.

    Args:
        modules: What to import.
        path: Where to look for it first.
        anyway: Whether what does not survive a fork is no obstacle.
    """
    sys.path[:0] = path
    for name in (*OWN, *modules):
        try:
            importlib.import_module(name)
        except BaseException as error:  # noqa: BLE001 - even one that wants to exit
            reason = f"{type(error).__name__}: {error}"
            return {"told": "unloaded", "module": name, "reason": reason}
    if sys.path[: len(path)] == path:
        del sys.path[: len(path)]
    found = obstacles()
    if found and not anyway:
        return {"told": "obstructed", "found": found, "by": modules}
    gc.collect()
    gc.freeze()  # what all workers share is not to be written to by a collection
    return {"told": "ready", "found": found}


def obstacles() -> list[str]:
    """Return what a forked child could not go on with, or would not own."""
    return [
        *(f"thread {name!r}" for name in _threads()),
        *(f"process {pid}" for pid in sorted(descendants(set()))),
        *(f"open device {path!r}" for path in sorted(set(_open_devices()))),
    ]


def _threads() -> list[str]:
    """Return the names of all threads but this one: Python's own where it has one."""
    import threading

    known = {thread.native_id: thread.name for thread in threading.enumerate()}
    if sys.platform != "linux":
        return [name for id_, name in known.items() if id_ != threading.get_native_id()]
    names = []
    for thread in os.listdir("/proc/self/task"):
        if int(thread) != os.getpid():
            with open(f"/proc/self/task/{thread}/comm") as file:
                names.append(known.get(int(thread)) or file.read().strip())
    return names


def _open_devices() -> Iterator[str]:
    if sys.platform != "linux":
        return
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
        except OSError:
            continue
        if path.startswith(_DEVICES):
            yield path
