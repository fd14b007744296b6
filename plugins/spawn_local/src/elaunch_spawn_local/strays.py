"""Processes that workers started and that no parent leads to.

The fork server knows every process below it. Where it is gone, or the system does not
give it the orphans (only Linux does), their environment tells whose they are. psutil
tells processes apart that had the same id one after the other; it is imported where it
is used, because most jobs end without a need for it.
"""

import os
import select
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from psutil import Process


_PROC = Path("/proc")
_HAS_PROC = (_PROC / "self" / "environ").exists()


def marked(mark: bytes, besides: Collection[int]) -> set["Process"]:
    """Return all processes that were started with ``mark`` in their environment.

    Args:
        mark: Beginning of a ``NAME=value`` that only the workers got.
        besides: Process ids to leave out.
    """
    pids = [
        pid
        for pid in _all_pids()
        if pid not in besides and _has_mark(_environment(pid), mark)
    ]
    return alive(_identified(pids))


def alive(processes: Collection["Process"]) -> set["Process"]:
    """Return those that still run; a zombie doesn't, it only waits to be reaped."""
    found: set[Process] = set()
    if not processes:
        return found
    import psutil

    for process in processes:
        try:
            # A zombie may have lost its first thread alone.
            dead = process.status() == psutil.STATUS_ZOMBIE
            if process.is_running() and not (dead and process.num_threads() <= 1):
                found.add(process)
        except psutil.NoSuchProcess:
            continue
        except psutil.AccessDenied:  # it runs as somebody else, but it runs
            found.add(process)
    return found


def kill(processes: Collection["Process"]) -> None:
    """Send SIGKILL to each that is still the process it was."""
    if not processes:
        return
    import psutil

    for process in processes:
        try:
            process.kill()
        except psutil.Error:  # gone, or another user's: `wait_gone` tells
            continue


def wait_gone(processes: Collection["Process"], timeout: float) -> set["Process"]:
    """Block until all have ended, at most ``timeout`` seconds; return the others."""
    deadline = time.monotonic() + timeout
    waiting = alive(processes)
    for process in waiting:
        _wait(process, deadline)
    return alive(waiting)


def _wait(process: "Process", deadline: float) -> None:
    try:
        fd = os.pidfd_open(process.pid) if sys.platform == "linux" else None
    except OSError:
        fd = None
    if fd is None:
        # No event tells of the end of somebody else's child here.
        while alive([process]) and time.monotonic() < deadline:
            time.sleep(0.01)
        return
    try:
        if process.is_running():  # else the descriptor is of a successor in its id
            poll = select.poll()
            poll.register(fd, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    finally:
        os.close(fd)


def _identified(pids: Collection[int]) -> set["Process"]:
    found: set[Process] = set()
    if not pids:
        return found
    import psutil

    for pid in pids:
        try:
            found.add(psutil.Process(pid))
        except psutil.Error:
            continue
    return found


def _all_pids() -> list[int]:
    if _HAS_PROC:
        return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
    import psutil

    return psutil.pids()


def _environment(pid: int) -> bytes:
    """Return ``NAME=value`` of a process, each ended by a null byte; b"" if hidden."""
    if _HAS_PROC:
        try:
            return (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            return b""
    import psutil

    try:
        variables = psutil.Process(pid).environ()
    except (psutil.Error, OSError):
        return b""
    return b"".join(os.fsencode(f"{k}={v}") + b"\0" for k, v in variables.items())


def _has_mark(environment: bytes, mark: bytes) -> bool:
    return environment.startswith(mark) or b"\0" + mark in environment
