"""A real agent as a real process, with its output as it comes."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import forks
import psutil


DEADLINE = 120.0
"""Seconds that anything in these tests may take; far beyond what it takes."""


class Agent:
    """One agent process, with its output as it comes."""

    def __init__(
        self,
        arguments: list[str],
        cwd: Path,
        env: dict[str, str],
        prefix: Sequence[str] = (),
    ) -> None:
        self.process = forks.start(["run", *arguments], cwd, env, prefix)
        self.lines: list[str] = []
        self._came = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.seen_pids: set[int] = set()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def workers(self) -> list[psutil.Process]:
        """Return what its fork server has started; remember all for a final sweep."""
        try:
            servers = psutil.Process(self.pid).children()
            found = [p for server in servers for p in server.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []
        self.seen_pids.update(process.pid for process in (*servers, *found))
        return found

    def wait_for(self, pattern: str, count: int = 1) -> list[re.Match[str]]:
        """Wait until so many lines match; return the matches."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + DEADLINE
        with self._came:
            while True:
                found = [m for line in self.lines if (m := wanted.search(line))]
                if len(found) >= count:
                    return found
                left = deadline - time.monotonic()
                if self._ended or not self._came.wait(timeout=max(left, 0)):
                    raise AssertionError(
                        f"{len(found)} of {count} lines match {pattern!r}:\n"
                        f"{self.output}"
                    )

    def wait(self) -> int:
        """Wait for the end of the process and of its output."""
        try:
            status = self.process.wait(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the agent does not end:\n{self.output}") from None
        self._reader.join(timeout=DEADLINE)
        return status

    def send(self, signum: int) -> None:
        self.workers()
        self.process.send_signal(signum)

    def power_off(self) -> None:
        """Kill agent and workers as the loss of a node does: all, without goodbye."""
        workers = self.workers()
        self.process.kill()
        for process in workers:
            # The kernel may have been faster: it kills them with their agent.
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(timeout=DEADLINE)

    def close(self) -> None:
        """End whatever is left of it."""
        if self.process.poll() is None:
            self.workers()
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(timeout=DEADLINE)
        for pid in self.seen_pids:
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        self._reader.join(timeout=DEADLINE)
        if self.process.stdout:
            self.process.stdout.close()

    def _read(self) -> None:
        stream = self.process.stdout
        if stream is None:
            return
        for line in stream:
            with self._came:
                self.lines.append(line.rstrip("\n"))
                self._came.notify_all()
        with self._came:
            self._ended = True
            self._came.notify_all()


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that init has not reaped yet does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


Script = Callable[[str], str]
"""Writes a worker script; returns its path."""

Launch = Callable[..., Agent]
