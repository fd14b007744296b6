"""One child process: how it is born, and signals to its process group."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO, cast

import attrs


_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@attrs.define(eq=False)
class Child:
    """A process that leads a session and process group of its own.

    Attributes:
        popen: The process; only whoever learns of its end may wait for it.
    """

    popen: "subprocess.Popen[bytes]"

    @property
    def pid(self) -> int:
        """Process id, which is its group's id too."""
        return self.popen.pid

    @property
    def stdout(self) -> IO[bytes]:
        """The reading end of its stdout."""
        return cast("IO[bytes]", self.popen.stdout)

    @property
    def stderr(self) -> IO[bytes]:
        """The reading end of its stderr."""
        return cast("IO[bytes]", self.popen.stderr)

    def signal_group(self, signum: int) -> None:
        """Signal it and whatever is in its process group, unless it was reaped."""
        if self.popen.returncode is not None:
            return  # by now its id may belong to somebody else
        # PermissionError: what macOS says of a group in which all are dead.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)


def launch(argv: Sequence[str], environment: Mapping[str, str]) -> Child:
    """Start a program as the leader of a new session, with pipes for its output.

    Where the system can do it, the kernel kills the child when the calling *thread*
    ends, so call it from one that lives as long as the agent.

    Raises:
        OSError: If the program can't be started.
        ValueError: If there is no program, or an argument or variable contains a null
            byte.
        subprocess.SubprocessError: If the child could not be prepared.
    """
    if not argv:
        raise ValueError("the command is empty")
    popen = subprocess.Popen(  # noqa: S603 - to run what the user names is the purpose
        argv,
        bufsize=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        start_new_session=True,
        preexec_fn=_die_with_agent(),  # noqa: PLW1509 - two system calls, no lock
    )
    return Child(popen)


def _die_with_agent() -> Callable[[], None] | None:
    """Return what a child does before exec so as not to outlive a killed agent."""
    if sys.platform != "linux":
        return None
    import ctypes

    # All is looked up here, before the fork: afterwards nothing may take a lock.
    try:
        prctl = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return None
    agent, getppid, leave = os.getpid(), os.getppid, os._exit
    request = (_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)

    def prepare() -> None:
        prctl(*request)
        if getppid() != agent:  # it died before the request was made
            leave(128 + signal.SIGKILL)

    return prepare
