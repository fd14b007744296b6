"""Commands of elaunch as processes of their own that need not import it first."""

import atexit
import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import attrs
import zygote


FRESH = bool(os.environ.get("FRESH_AGENTS"))
"""Whether each shall be an interpreter of its own, as it is for users."""

AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_")
"""What variables begin with that count when an interpreter starts."""


class Fork:
    """A process that a zygote forked; as much of a `subprocess.Popen` as tests use."""

    def __init__(self, told: socket.socket, stdout: IO[str] | None = None) -> None:
        self.returncode: int | None = None
        self.stdout = stdout
        self._told = told
        number, (self._process,), _, _ = socket.recv_fds(told, 16, 1)
        # The zygote may live where processes have other numbers.
        facts = Path(f"/proc/self/fdinfo/{self._process}").read_text()
        here = re.search(r"^Pid:\t(\d+)$", facts, re.MULTILINE)  # if it lives
        self.pid = int(here[1] if here else number)

    def poll(self) -> int | None:
        """Return its exit status, `None` if it has not ended."""
        if self.returncode is None and self._has_ended(0):
            with self._told:
                self.returncode = int(self._told.recv(16))
            os.close(self._process)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit status.

        Raises:
            TimeoutExpired: If it does not end in time.
        """
        if self.returncode is None:
            self._has_ended(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("elaunch", timeout or 0)
        return status

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, signum)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)

    def _has_ended(self, timeout: float | None) -> bool:
        return bool(select.select([self._told], [], [], timeout)[0])


@attrs.define
class Zygote:
    """A process that forks what is asked for.

    Attributes:
        prefix: What was put before its command.
    """

    prefix: tuple[str, ...] = ()
    _env: dict[str, str] = attrs.field(init=False, factory=lambda: {**os.environ})
    _own: socket.socket = attrs.field(init=False)
    _process: "subprocess.Popen[bytes]" = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*self.prefix, sys.executable, zygote.__file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def suits(self, env: Mapping[str, str]) -> bool:
        """Whether it makes no difference when the interpreter was started."""
        names = {name for name in (*env, *self._env) if name.startswith(AT_START)}
        return all(env.get(name) == self._env.get(name) for name in names)

    def start(
        self, words: Sequence[str], cwd: Path, env: Mapping[str, str], *streams: int
    ) -> socket.socket:
        """Start a command; return where its process and its exit status are told."""
        request = {"words": [*words], "cwd": str(cwd), "env": dict(env)}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            message = json.dumps(request).encode()
            socket.send_fds(self._own, [message], [*streams, theirs.fileno()])
        return ours

    def close(self) -> None:
        """Let it end; what it forked goes on."""
        self._own.close()
        self._process.wait()


_zygotes: dict[tuple[str, ...], Zygote] = {}


@contextlib.contextmanager
def behind(prefix: tuple[str, ...]) -> Iterator[None]:
    """Have commands behind this prefix forked, too."""
    zygote = _zygotes[prefix] = Zygote(prefix)
    yield
    del _zygotes[prefix]
    zygote.close()


def _zygote_for(prefix: Sequence[str], env: Mapping[str, str]) -> Zygote | None:
    if FRESH or not hasattr(os, "pidfd_open"):
        return None
    if not prefix and () not in _zygotes:
        _zygotes[()] = Zygote()
        atexit.register(_zygotes[()].close)
    found = _zygotes.get(tuple(prefix))
    return found if found and found.suits(env) else None


def start(
    words: Sequence[str], cwd: Path, env: Mapping[str, str], prefix: Sequence[str] = ()
) -> "Fork | subprocess.Popen[str]":
    """Start a command whose standard output and error are one stream."""
    zygote = _zygote_for(prefix, env)
    if not zygote:
        return subprocess.Popen(
            [*prefix, sys.executable, "-m", "elaunch", *words],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    reading, writing = os.pipe()
    with Path(os.devnull).open() as null, os.fdopen(writing, "w") as output:
        streams = (null.fileno(), output.fileno(), output.fileno())
        told = zygote.start(words, cwd, env, *streams)
    return Fork(told, os.fdopen(reading))


def run(
    words: Sequence[str],
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 120,
    stdin: str = "",
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    cwd, env = cwd or Path.cwd(), os.environ if env is None else env
    zygote = _zygote_for((), env)
    if not zygote:
        return subprocess.run(
            [sys.executable, "-m", "elaunch", *words],
            cwd=cwd,
            env=env,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as stdout,
        tempfile.TemporaryFile("w+") as stderr,
    ):
        given.write(stdin)
        given.seek(0)
        streams = (given.fileno(), stdout.fileno(), stderr.fileno())
        fork = Fork(zygote.start(words, cwd, env, *streams))
        try:
            status = fork.wait(timeout)
        finally:
            fork.kill()
        for output in (stdout, stderr):
            output.seek(0)
        return subprocess.CompletedProcess(
            [*words], status, stdout.read(), stderr.read()
        )
