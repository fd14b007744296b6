"""Starting a fork server, in each of its kinds."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from elaunch_spawn_local.fork_server import preload


NAME = "elaunch-fork-server"
"""Last argument of a server's command line, for who looks at a list of processes."""

END_LIMIT = 12.0
"""Seconds that a server gets to end what is left and itself."""

_LAST_STREAM = 2

_ROOT = str(Path(__file__).parents[2])
_ENTER = (
    "import sys; sys.path.append({root!r}); "
    "from elaunch_spawn_local.fork_server.main import {function}; {function}"
)


@attrs.frozen(eq=False, repr=False)
class Launched:
    """A fork server's process.

    Attributes:
        pid: Its process id.
        socket: This side's end of the connection.
        speaks_first: Whether it says how its imports went before it is asked.
        wait: Waits for its end; given seconds, raises `TimeoutError` after them.
    """

    pid: int
    socket: socket.socket
    speaks_first: bool
    _wait: Callable[[float], object]

    def hang_up(self) -> None:
        """End the connection, whoever else has a copy of this side. Twice is fine."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def end(self, *, at_once: bool) -> None:
        """Wait until it has ended, kill it if it doesn't; blocks. Twice is fine.

        Args:
            at_once: Whether to kill it without waiting, as nothing is below it yet.
        """
        self.hang_up()
        try:
            self._wait(0.0 if at_once and self.speaks_first else END_LIMIT)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                self._wait(END_LIMIT)


def launch_bare(environment: Mapping[str, str]) -> Launched:
    """Start one that knows the standard library only, for programs.

    Args:
        environment: In which environment; workers have their own.

    Raises:
        OSError: If it can't be started.
    """
    # Isolated: neither variables nor packages of the user can change what it is.
    flags = ("-I", "-S")
    return _run(flags, "main", (), environment, speaks_first=False)


def launch_warm(
    modules: Sequence[str],
    environment: Mapping[str, str],
    path: Sequence[str],
    *,
    anyway: bool,
) -> Launched:
    """Start one that imports modules, for Python workers.

    Args:
        modules: What to import.
        environment: In which environment.
        path: Where to look before the interpreter's own ``sys.path``.
        anyway: Whether it goes on if they left what does not survive a fork.

    Raises:
        OSError: If it can't be started.
    """
    extra = json.dumps({"modules": list(modules), "path": list(path), "anyway": anyway})
    variables = preload.environment(dict(environment))
    return _run(("-u", "-P"), "main_with", (extra,), variables, speaks_first=True)


def launch_fork(become: Callable[[socket.socket, int], None]) -> Launched:
    """Fork one from this process as it is now.

    Args:
        become: Called in it with its end of the connection and this process's id;
            must not return.

    Raises:
        OSError: If it can't be forked.
    """
    ours, theirs = _connection()
    agent = os.getpid()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()  # else each copy would write what is buffered
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            os.setpgid(0, 0)
            become(theirs, agent)
        finally:
            os._exit(70)  # never back into the frames of the program that launched
    theirs.close()
    return Launched(pid, ours, False, lambda limit: _wait_for(pid, limit))  # noqa: FBT003 - named by the field


def _connection() -> tuple[socket.socket, socket.socket]:
    """Return both ends of a connection, neither in the place of a standard stream."""
    ours, theirs = socket.socketpair()
    return _moved_up(ours), _moved_up(theirs)


def _moved_up(end: socket.socket) -> socket.socket:
    if end.fileno() > _LAST_STREAM:
        return end
    with end:  # one of this process's own streams is closed
        number = fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, _LAST_STREAM + 1)
    return socket.socket(fileno=number)


def _run(
    flags: Sequence[str],
    function: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    speaks_first: bool,
) -> Launched:
    ours, theirs = _connection()
    numbers = f"{theirs.fileno()}, {os.getpid()}"
    code = _ENTER.format(root=_ROOT, function=function) + f"({numbers}, *sys.argv[2:])"
    with theirs:
        try:
            process = subprocess.Popen(  # noqa: S603 - our own code
                [sys.executable, *flags, "-c", code, NAME, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=2,  # what an import prints is no worker's output
                env=environment,
                pass_fds=(theirs.fileno(),),
                # Of its own group, so that Ctrl-C is the agent's, but in the session
                # of the terminal, which a worker may get.
                process_group=0,
            )
        except OSError:
            ours.close()
            raise

    def wait(limit: float) -> None:
        try:
            process.wait(_rest_of(limit, process))
        except subprocess.TimeoutExpired as error:
            raise TimeoutError from error

    return Launched(process.pid, ours, speaks_first, wait)


def _rest_of(limit: float, process: subprocess.Popen[bytes]) -> float:
    """Wait for an end where the system can tell of it; return what time is left.

    `subprocess` only looks again and again, and ever more seldom.
    """
    if process.poll() is not None:
        return limit
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return limit
    try:
        end = select.poll()
        end.register(descriptor, select.POLLIN)
        end.poll(limit * 1000)
    finally:
        os.close(descriptor)
    return 0


def _wait_for(pid: int, limit: float) -> None:
    """Wait for a child that `subprocess` does not know.

    Raises:
        TimeoutError: If it has not ended after so many seconds.
    """
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        try:
            psutil.Process(pid).wait(limit)
        except psutil.TimeoutExpired as error:
            raise TimeoutError from error
