"""The processes below this one, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


TYPE_CHECKING = False  # see `frames`
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


HAS_PROC = sys.platform == "linux" and os.path.exists("/proc/self/stat")


def descendants(known: set[int]) -> set[int]:
    """Return the ids of all living processes below this one; zombies don't live.

    Args:
        known: Children that were not reaped; all there is where the system has no
            ``/proc``.
    """
    if not HAS_PROC:
        return set(known)
    # The first way is quick, but may miss some while others come and go.
    found = _below(children) or _below(_children_by_search)
    return {pid for pid in found if _lives(pid)}


def _below(children: Callable[[int], Iterable[int]]) -> set[int]:
    found: set[int] = set()
    level = {os.getpid()}
    while level:
        level = {child for pid in level for child in children(pid)} - found
        found |= level
    return found


def kill(pid: int) -> bool:
    """Send SIGKILL to a descendant; return whether it got it.

    Never to a process that came to its id meanwhile: a descriptor of the process is
    opened first, and then it is looked whether that is still one below this one.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return _kill_child(pid)
    try:
        if not _is_below(pid):
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _kill_child(pid: int) -> bool:
    """Kill a child of this process: it keeps its id until it is reaped."""
    with contextlib.suppress(OSError):
        if not HAS_PROC or _parent(pid) == os.getpid():
            os.kill(pid, signal.SIGKILL)
            return True
    return False


def _is_below(pid: int) -> bool:
    me = os.getpid()
    while pid > 1:
        pid = _parent(pid)
        if pid == me:
            return True
    return False


def children(pid: int) -> Iterator[int]:
    """Yield the children of a process, also those that it did not wait for yet."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                yield from map(int, file.read().split())
        except OSError:  # it is gone, or the kernel was built without that file
            continue


def _children_by_search(parent: int) -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and _parent(int(name)) == parent:
            yield int(name)


def _parent(pid: int) -> int:
    return int(_stat(pid)[1])


def _lives(pid: int) -> bool:
    state = _stat(pid)[0]
    if state != b"Z":
        return state not in (b"X", b"x")
    # Its first thread has ended; others may go on.
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except OSError:
        return False


def _stat(pid: int) -> tuple[bytes, bytes]:
    """Return state and parent's id of a process; X and 0 of one that is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # pid (name, which may contain anything) state parent ...
            state, parent = file.read().rpartition(b")")[2].split(None, 2)[:2]
    except (OSError, ValueError):
        return b"X", b"0"
    return state, parent
