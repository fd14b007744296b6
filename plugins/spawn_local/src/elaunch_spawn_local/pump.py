"""The pump: one thread that carries a group's output to the console.

It is a thread because a console may block for as long as its reader likes, and the
agent's loop must not. It is one for the whole group because then a blocked console is
felt by the workers as a full pipe, and by nobody else.
"""

import contextlib
import io
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable

import attrs

from elaunch_spawn_local.console import STDERR, STDOUT, Console
from elaunch_spawn_local.lines import LineCutter


LINGER = 1.0
"""Seconds for which a pipe is read on after its worker's end.

Its end is normally there at once. It isn't where a process that the worker started in
another session still holds the pipe.
"""

TAIL_LINES = 100
TAIL_LINE_LENGTH = 4 * 1024

_CHUNK = 64 * 1024
_LEFTOVER = 1024 * 1024  # a pipe holds no more, unless root says so


@attrs.define(eq=False)
class _Channel:
    """One pipe of one worker."""

    rank: int
    source: io.FileIO
    console: Console
    label: bytes
    tail: deque[bytes]
    cutter: LineCutter = attrs.field(factory=LineCutter)
    deadline: float | None = None

    def take(self, data: bytes) -> None:
        self._put(self.cutter.feed(data))

    def finish(self) -> None:
        self._put(self.cutter.finish())

    def _put(self, lines: list[bytes]) -> None:
        # The tail first: it must be there even while the console blocks.
        self.tail.extend(map(_shown, lines[-TAIL_LINES:]))
        self.console.write(lines, self.label)


@attrs.define(eq=False)
class Pump:
    """Carries the output of workers, line by line, until every pipe has ended.

    Args:
        on_end: Called in the pump's thread with a local rank when both pipes of that
            worker have been read to their end.
        on_done: Called in the pump's thread when the last pipe has ended.
    """

    _on_end: Callable[[int], None]
    _on_done: Callable[[], None]
    _out: Console = attrs.field(factory=lambda: Console(STDOUT), init=False)
    _err: Console = attrs.field(factory=lambda: Console(STDERR), init=False)
    _tails: dict[int, deque[bytes]] = attrs.field(factory=dict, init=False)
    _channels: set[_Channel] = attrs.field(factory=set, init=False)
    _ended: deque[int] = attrs.field(factory=deque, init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _wake: tuple[int, int] = attrs.field(factory=os.pipe, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        for end in self._wake:
            os.set_blocking(end, False)
        # A daemon: it may hang in a write to a console that nobody reads.
        self._thread = threading.Thread(
            target=self._run, name="elaunch-pump", daemon=True
        )

    def add(self, rank: int, stdout: io.FileIO, stderr: io.FileIO, label: str) -> None:
        """Take over both pipes of a worker; call before `start`."""
        prefix = label.encode(errors="surrogateescape")
        tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        unseen: deque[bytes] = deque(maxlen=0)
        self._tails[rank] = tail
        for source, console, kept in (
            (stdout, self._out, unseen),
            (stderr, self._err, tail),
        ):
            os.set_blocking(source.fileno(), False)
            self._channels.add(_Channel(rank, source, console, prefix, kept))

    def start(self) -> None:
        """Start to carry.

        Raises:
            RuntimeError: If the system gives no thread.
        """
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether `start` succeeded."""
        return self._thread.ident is not None

    def worker_ended(self, rank: int) -> None:
        """Give the pipes of a worker `LINGER` seconds to end by themselves."""
        if self._closed:
            return
        self._ended.append(rank)
        with contextlib.suppress(BlockingIOError):  # full: it will wake up anyway
            os.write(self._wake[1], b"\0")

    def stderr_tail(self, rank: int) -> tuple[str, ...]:
        """Return the last lines that a worker wrote to stderr."""
        lines = tuple(self._tails[rank])
        return tuple(line.decode(errors="replace") for line in lines)

    def close(self) -> None:
        """Release pipes; call after ``on_done``, or unstarted. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self.started:
            self._thread.join()
        for channel in self._channels:
            channel.source.close()
        for end in self._wake:
            os.close(end)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake[0], selectors.EVENT_READ)
            for channel in self._channels:
                selector.register(channel.source, selectors.EVENT_READ, channel)
            while self._channels:
                for key, _ in selector.select(self._patience()):
                    if key.data is None:
                        self._set_deadlines()
                    elif not self._read(key.data, _CHUNK):
                        self._end(selector, key.data)
                self._end_overdue(selector)
        self._on_done()

    def _patience(self) -> float | None:
        deadlines = [c.deadline for c in self._channels if c.deadline is not None]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _set_deadlines(self) -> None:
        os.read(self._wake[0], _CHUNK)
        while self._ended:
            rank = self._ended.popleft()
            for channel in self._channels:
                if channel.rank == rank:
                    channel.deadline = time.monotonic() + LINGER

    def _end_overdue(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for channel in tuple(self._channels):
            if channel.deadline is not None and channel.deadline <= now:
                self._read(channel, _LEFTOVER)
                self._end(selector, channel)

    @staticmethod
    def _read(channel: _Channel, size: int) -> bool:
        """Carry what is there; return False at the end of the pipe."""
        data = channel.source.read(size)
        if data:
            channel.take(data)
        return data != b""  # None: nothing there now

    def _end(self, selector: selectors.BaseSelector, channel: _Channel) -> None:
        selector.unregister(channel.source)
        channel.source.close()
        channel.finish()
        self._channels.discard(channel)
        if all(other.rank != channel.rank for other in self._channels):
            self._on_end(channel.rank)


def _shown(line: bytes) -> bytes:
    """Return what a terminal shows in the end of a line with carriage returns."""
    return line.rstrip(b"\r").rpartition(b"\r")[2][:TAIL_LINE_LENGTH]
