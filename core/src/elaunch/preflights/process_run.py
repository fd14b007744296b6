"""One run of a command that leaves nothing behind, whatever ends it or the agent.

The command is in a process group with a shell that waits for the end of a pipe. The
kernel closes that when this process ends, however it does, and the shell then kills the
group. It also keeps the group's id from becoming that of strangers.
"""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, cast

import attrs


_GUARD = "trap '' HUP INT TERM; read -r _; kill -9 0"

KEPT = 8192
"""Bytes of the output that are kept: the last."""


@attrs.frozen
class Ended:
    """How a command has ended.

    Attributes:
        exitcode: Its exit code; below 0 the signal that ended it.
        output: The end of what it wrote.
    """

    exitcode: int
    output: str


@attrs.define(eq=False)
class ProcessRun:
    """One run of a command.

    Attributes:
        words: The command.
        environment: What it gets.
    """

    words: Sequence[str]
    environment: Mapping[str, str]
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _guard: "subprocess.Popen[bytes] | None" = attrs.field(default=None, init=False)
    _process: "subprocess.Popen[bytes] | None" = attrs.field(default=None, init=False)
    _killed: threading.Event = attrs.field(factory=threading.Event, init=False)
    _wake: socket.socket = attrs.field(init=False)
    _woken: socket.socket = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._wake, self._woken = socket.socketpair()

    @property
    def pid(self) -> int:
        """Process id of the command; 0 if it has not started."""
        return self._process.pid if self._process else 0

    def to_end(self) -> Ended:
        """Run it, and kill what it leaves behind; blocks.

        It has not ended while something that it has started holds its output open; once
        it is killed that does not count, since what left its group is out of reach.

        Raises:
            OSError: If it can't be started.
        """
        try:
            process = self._start()
            with cast("IO[bytes]", process.stdout) as stream:
                output = self._read(stream)
            return Ended(process.wait(), output.decode(errors="replace"))
        finally:
            self._end()

    def kill(self) -> None:
        """Kill it with its group, wherever it stands. Twice is fine."""
        with self._lock:
            self._killed.set()
            self._kill_group()
            self._wake.close()

    def _read(self, stream: IO[bytes]) -> bytes:
        """Return the end of what is written, until that is over or it is killed."""
        output = b""
        with selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            selector.register(self._woken, selectors.EVENT_READ)
            while self._woken not in {key.fileobj for key, _ in selector.select()}:
                block = os.read(stream.fileno(), 1 << 16)
                if not block:
                    break
                output = (output + block)[-KEPT:]
        return output

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._killed.is_set():
                raise ProcessLookupError("it was killed before it began")
            self._guard = subprocess.Popen(  # noqa: S603 - a script of our own
                ["/bin/sh", "-c", _GUARD],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
            group = self._guard.pid
        # Not under the lock: what is on a file system that hangs may start late.
        self._process = subprocess.Popen(  # noqa: S603 - what the user asks for
            self.words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment,
            process_group=group,
        )
        with self._lock:
            if self._killed.is_set():  # meanwhile: before it was in the group
                self._kill_group()
        return self._process

    def _end(self) -> None:
        with self._lock:
            self._kill_group()
            guard, self._guard = self._guard, None
        if self._process:
            self._process.wait()
        if guard:
            cast("IO[bytes]", guard.stdin).close()
            guard.wait()
        self._wake.close()
        self._woken.close()

    def _kill_group(self) -> None:
        if self._guard:
            # It is there, as a zombie at least, until it is waited for.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._guard.pid, signal.SIGKILL)
