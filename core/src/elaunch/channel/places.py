"""Directories for sockets: for this user alone, and none of an agent that was killed.

An agent holds a lock on its directory while it lives. Whoever makes one removes those
of this user that nobody holds.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import attrs


PREFIX = "elaunch-channel-"

MAX_PATH = 79
"""Bytes of the path of a socket: 103 are possible, and listeners add to it."""

OTHERS = ("/tmp", "/dev/shm", "/var/tmp")  # noqa: S108 - mkdtemp makes a directory there
"""Where one is made if the usual place has too long a name."""

SETTLED = 60.0
"""Seconds after which a directory has its lock, if its agent lives."""


@attrs.frozen(eq=False, repr=False)
class Place:
    """A directory that is made, with its lock.

    Attributes:
        path: Where it is.
        lock: Descriptor that holds the lock.
    """

    path: str
    lock: int

    def remove(self) -> None:
        """Remove it, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock)


def make(sockets: int) -> Place:
    """Make a directory in which so many sockets can have names.

    Raises:
        OSError: If there is no place for one.
    """
    for parent in (tempfile.gettempdir(), *OTHERS):
        # As much as `mkdtemp` adds, and a socket.
        longest = Path(parent) / f"{PREFIX}12345678" / str(sockets)
        if len(os.fsencode(longest)) <= MAX_PATH:
            with contextlib.suppress(OSError):
                path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
                return Place(path, _held(path))
    raise OSError("no directory for temporary files is there, or its path is too long")


def sweep(parent: str) -> None:
    """Remove the directories of agents of this user that are gone."""
    for path in _settled(parent):
        with contextlib.suppress(OSError):
            Place(path, _held(path)).remove()


def _settled(parent: str) -> Iterator[str]:
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(PREFIX):
                continue
            with contextlib.suppress(OSError):
                there = entry.stat(follow_symlinks=False)
                ours = there.st_uid == os.getuid() and entry.is_dir()
                if ours and time.time() - there.st_mtime > SETTLED:
                    yield entry.path


def _held(path: str) -> int:
    """Lock a directory.

    Raises:
        OSError: If it is locked, or can't be.
    """
    lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock
