"""The pump: one thread that carries a group's output to the console.

It is a thread because a console may block for as long as its reader likes, and the
agent's loop must not. It is one for the whole group because then a blocked console is
felt by the workers as a full pipe, and by nobody else.
"""

import contextlib
import logging
import os
import select
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import attrs

from elaunch_spawn_local.output.sources import File, Pipe, Written


if TYPE_CHECKING:  # few jobs have any of them
    from elaunch_spawn_local.output.scribes import Scribes
    from elaunch_spawn_local.output.tap import Taps
    from elaunch_spawn_local.output.watch import Watch


logger = logging.getLogger(__name__)

LINGER = 0.2
"""Seconds for which a pipe is read on after its worker's end.

Its end is normally there at once. It isn't where a process that the worker started in
another session still holds the pipe.
"""

GATHER = 0.003
"""Seconds for which output is let gather after some was carried.

A worker that prints line by line would wake us for each of them. Whoever writes much
fills a pipe sooner, and waits for nothing.
"""

_MUCH = 16 * 1024
_AT_ONCE = 16
"""Chunks that are read of one file before the others have their turn."""

Source = Pipe | File | Written


@attrs.define(eq=False, repr=False)
class Pump:
    """Carries the output of workers until all of it has ended.

    Args:
        on_end: Called in the pump's thread with a local rank when that worker's output
            has been read to its end.
        on_done: Called in the pump's thread when that is true of all workers.

    Attributes:
        taps: Told when workers have written nothing; `None` if nobody wants to know.
    """

    _on_end: Callable[[int], None]
    _on_done: Callable[[], None]
    taps: "Taps | None" = attrs.field(default=None, init=False)
    _sources: dict[int, set[Source]] = attrs.field(factory=dict, init=False)
    _scribes: "Scribes | None" = attrs.field(default=None, init=False)
    _watch: "Watch | None" = attrs.field(default=None, init=False)
    _ended: deque[int] = attrs.field(factory=deque, init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _wake: tuple[int, int] = attrs.field(factory=os.pipe, init=False)
    _woken: select.poll = attrs.field(factory=select.poll, init=False)
    _selector: selectors.BaseSelector = attrs.field(
        factory=selectors.DefaultSelector, init=False
    )
    _closed: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        for end in self._wake:
            os.set_blocking(end, False)
        self._woken.register(self._wake[0], select.POLLIN)
        # A daemon: it may hang in a write to a console that nobody reads.
        self._thread = threading.Thread(
            target=self._run, name="elaunch-pump", daemon=True
        )

    def add(self, rank: int, sources: Iterable[Source]) -> None:
        """Take over the output of a worker; call before `start`."""
        self._sources.setdefault(rank, set()).update(sources)

    def start(self, scribes: "Scribes | None") -> None:
        """Start to carry.

        Args:
            scribes: Who writes files for workers; the pump owns it.

        Raises:
            OSError: If the system gives no descriptors.
            RuntimeError: If it gives no thread.
        """
        self._scribes = scribes
        for source in self._all():
            if isinstance(source, Pipe):
                self._selector.register(source.fd, selectors.EVENT_READ, source)
        self._selector.register(self._wake[0], selectors.EVENT_READ)
        if scribes:
            self._selector.register(scribes.told, selectors.EVENT_READ, scribes)
        directories = {s.directory for s in self._all() if isinstance(s, File)}
        if directories:
            from elaunch_spawn_local.output.watch import new_watch

            self._watch = watch = new_watch(directories)
            if watch.fd is not None:
                self._selector.register(watch.fd, selectors.EVENT_READ, watch)
        self._thread.start()

    @property
    def started(self) -> bool:
        """Whether `start` succeeded."""
        return self._thread.ident is not None

    def worker_ended(self, rank: int) -> None:
        """Give the output of a worker `LINGER` seconds to end by itself."""
        if self._closed:
            return
        self._ended.append(rank)
        with contextlib.suppress(BlockingIOError):  # full: it will wake up anyway
            os.write(self._wake[1], b"\0")

    def close(self) -> None:
        """Release pipes; call after ``on_done``, or unstarted. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        if self.started:
            self._thread.join()
        for source in self._all():
            source.close()
        if self._watch:
            self._watch.close()
        if self._scribes:
            self._scribes.close()
        self._selector.close()
        for end in self._wake:
            os.close(end)

    def _all(self) -> Iterator[Source]:
        for sources in self._sources.values():
            yield from sources

    # -- in the thread ------------------------------------------------------------

    def _run(self) -> None:
        try:
            # What was written before the watch began is not told.
            unread = {s for s in self._all() if isinstance(s, File)}
            while self._sources:
                unread = self._round(unread)
        except Exception:
            logger.exception("the output of workers is no longer carried")
        self._on_done()

    def _round(self, unread: set[File]) -> set[File]:
        """Carry what is there; return the files that may have more."""
        carried = most = 0
        for key, _ in self._selector.select(0 if unread else self._patience()):
            if key.data is None:
                self._note_ends()
            elif isinstance(key.data, Pipe):
                size = key.data.read()
                if size is None:
                    self._end(key.data)
                else:
                    carried, most = carried + size, max(most, size)
            elif self._scribes and key.data is self._scribes:
                self._hear(self._scribes)
            else:
                unread |= self._news()
        if self._watch and self._watch.blind:
            unread |= self._news()
        unread = {file for file in unread if self._read(file)}
        self._end_overdue()
        if carried and most < _MUCH and not unread:
            self._woken.poll(GATHER * 1000)
        return unread

    def _patience(self) -> float | None:
        moments = [s.deadline for s in self._all() if s.deadline is not None]
        moments += [s.stream.due for s in self._all() if s.stream and s.stream.due]
        if self.taps:
            moments.append(self.taps.due)
        now = time.monotonic()
        if self._watch and self._watch.blind:
            from elaunch_spawn_local.output.watch import POLL_INTERVAL

            moments.append(now + POLL_INTERVAL)
        return max(0.0, min(moments) - now) if moments else None

    def _news(self) -> set[File]:
        """Return the files that may have grown."""
        files = {source for source in self._all() if isinstance(source, File)}
        directories = self._watch.news() if self._watch else None
        if directories is None:
            return files
        return {file for file in files if file.directory in directories}

    def _read(self, file: File) -> bool:
        """Carry some of a file; return whether there may be more."""
        if file not in self._sources.get(file.rank, ()):
            return False
        try:
            return all(file.read() for _ in range(_AT_ONCE))
        except OSError as error:
            logger.warning("can't show %s: %s", file.follower.path, error)
            self._end(file)
            return False

    def _hear(self, scribes: "Scribes") -> None:
        """Listen to the scribe."""
        told = scribes.told
        ended = scribes.hear()
        if ended is None:
            self._selector.unregister(told)
            if scribes.succeed():
                self._selector.register(scribes.told, selectors.EVENT_READ, scribes)
                return
        for source in tuple(self._all()):
            if isinstance(source, Pipe) or source.number is None:
                continue
            if ended is None or source.number in ended:
                source.read_rest()
                self._end(source)

    def _note_ends(self) -> None:
        os.read(self._wake[0], 4096)
        while self._ended:
            rank = self._ended.popleft()
            for source in tuple(self._sources.get(rank, ())):
                if isinstance(source, File) and source.number is None:
                    source.read_rest()  # its writer is gone: that is all
                    self._end(source)
                else:
                    source.deadline = time.monotonic() + LINGER
            self._end_of(rank)

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for source in tuple(self._all()):
            if source.stream:
                source.stream.tick(now)
            if source.deadline is not None and source.deadline <= now:
                source.read_rest()
                self._end(source)
        if self.taps:
            self.taps.look(now, self._tapped())

    def _tapped(self) -> Iterator[int]:
        for rank, sources in self._sources.items():
            if any(source.stream and source.stream.tap for source in sources):
                yield rank

    def _end(self, source: Source) -> None:
        if isinstance(source, Pipe):
            self._selector.unregister(source.fd)
        source.close()
        if source.stream:
            source.stream.finish()
        self._sources[source.rank].discard(source)
        self._end_of(source.rank)

    def _end_of(self, rank: int) -> None:
        """Tell that a worker's output has ended, if it has."""
        if rank in self._sources and not self._sources[rank]:
            del self._sources[rank]
            self._on_end(rank)
