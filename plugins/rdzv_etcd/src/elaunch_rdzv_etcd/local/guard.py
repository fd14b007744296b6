"""Servers die with their owner, also with one that is killed.

A shell waits for the end of a pipe whose other end this process holds. The kernel
closes that however this process ends, and the shell then kills its own process group,
which the servers are in. ``PR_SET_PDEATHSIG`` would not do: it fires when the *thread*
ends that started the child, and a server may well be started by a thread that is done
then. A group can't be mistaken for a stranger's, as a process id could.

A copy of this process (`os.fork` without exec) holds the pipe, too: servers then live
until it has ended as well.
"""

import contextlib
import subprocess
from pathlib import Path
from typing import IO, cast


# HUP: what a group gets that loses its parent while one of it is stopped. The servers
# may still write while their directory is removed, so that it may take a second look.
_SCRIPT = """
trap '' HUP INT TERM
read -r _ || rm -rf -- "$@" || rm -rf -- "$@"
kill -9 0
"""


class Guard:
    """A process group that is killed when this process ends, and before, at `close`.

    Args:
        remove: Directories to remove if it is the end of this process that ends it.
    """

    def __init__(self, *remove: Path) -> None:
        self._shell = subprocess.Popen(  # noqa: S603 - a script of our own
            ["/bin/sh", "-c", _SCRIPT, "sh", *remove],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
        )

    @property
    def group(self) -> int:
        """Id of the process group for children that are to die with this process."""
        return self._shell.pid

    def close(self) -> None:
        """Kill whatever is in the group."""
        pipe = cast("IO[bytes]", self._shell.stdin)
        with contextlib.suppress(BrokenPipeError):  # somebody killed it
            pipe.write(b"\n")
            pipe.flush()
        with contextlib.suppress(BrokenPipeError):
            pipe.close()
        self._shell.wait()
