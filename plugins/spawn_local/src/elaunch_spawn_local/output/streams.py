"""The streams of a group's workers: the descriptors they get, and what reads them."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

from elaunch.api import Destination, OutputSettings, SpawnError, WorkerLogs, WorkerSpec
from elaunch_spawn_local.output import terminal
from elaunch_spawn_local.output.console import STDERR, STDOUT, Console
from elaunch_spawn_local.output.pump import Source
from elaunch_spawn_local.output.sources import File, Pipe, Written
from elaunch_spawn_local.output.stream import STAMP_LENGTH, Stream
from elaunch_spawn_local.output.tail import Tail, tail_of_file


# Most jobs need none of them, and each costs a start some milliseconds.
if TYPE_CHECKING:
    from elaunch_spawn_local.output.filters import LineFilter
    from elaunch_spawn_local.output.scribes import Scribes
    from elaunch_spawn_local.output.tap import Tap, Taps


_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


@attrs.define(eq=False, repr=False)
class Fds:
    """Descriptors that are ours until a `Stdio` is made of them."""

    opened: list[int] = attrs.field(factory=list)

    def keep(self, fd: int) -> int:
        """Take one over."""
        self.opened.append(fd)
        return fd

    def drop(self) -> None:
        """Close all."""
        for fd in self.opened:
            os.close(fd)


@attrs.define(eq=False, repr=False)
class Streams:
    """Opens the streams of the workers of one group.

    Args:
        settings: What becomes of output.
        scribes: Who writes files for workers; `None` if they do it themselves.
        taps: Tell what is written; `None` if nobody wants to know.

    Attributes:
        alone: Whether there is one worker, whose lines have no label.
        consoles: The agent's own streams.
        filters: What keeps chosen lines, by stream.
        tails: What returns the last lines of stderr, by local rank.
        terminals: Terminals that have the size of another: that one, and they.
    """

    _settings: OutputSettings
    _scribes: "Scribes | None"
    _taps: "Taps | None"
    alone: bool = attrs.field(default=False, init=False)
    consoles: Mapping[int, Console] = attrs.field(init=False)
    filters: "dict[int, LineFilter]" = attrs.field(factory=dict, init=False)
    tails: dict[int, Callable[[], tuple[str, ...]]] = attrs.field(
        factory=dict, init=False
    )
    terminals: list[tuple[int, int]] = attrs.field(factory=list, init=False)

    def __attrs_post_init__(self) -> None:
        self.consoles = {fd: Console(fd) for fd in (STDOUT, STDERR)}

    def open(
        self, spec: WorkerSpec, logs: WorkerLogs, fds: Fds, sources: list[Source]
    ) -> tuple[int, int]:
        """Open a worker's stdout and stderr, and what reads them.

        Args:
            spec: The worker.
            logs: Where they go.
            fds: Gets the descriptors for the worker.
            sources: Gets what reads them.

        Raises:
            SpawnError: If a file can't be opened.
            OSError: If the system gives no descriptors.
        """
        shown = [
            fd
            for fd, target in ((STDOUT, logs.stdout), (STDERR, logs.stderr))
            if self._is_terminal(fd, target)
        ]
        if len(shown) > 1 and terminal.same_file(STDOUT, STDERR):
            # One for both: what is written to a terminal is read in that order.
            both = self._terminal(spec, STDERR, fds, sources, both=True)
            return both, both
        stdout, stderr = (
            self._terminal(spec, fd, fds, sources)
            if fd in shown
            else self._stream(spec, fd, target, fds, sources)
            for fd, target in ((STDOUT, logs.stdout), (STDERR, logs.stderr))
        )
        return stdout, stderr

    def _is_terminal(self, fd: int, target: Destination) -> bool:
        alone = self.alone and not self._settings.timestamps
        return alone and target.console and not target.path and terminal.is_terminal(fd)

    def _terminal(
        self,
        spec: WorkerSpec,
        fd: int,
        fds: Fds,
        sources: list[Source],
        *,
        both: bool = False,
    ) -> int:
        ours, theirs = terminal.open_terminal(like=fd)
        fds.keep(theirs)
        stream = Stream(
            console=self.consoles[fd],
            filter=self.filters.get(fd),
            tail=self._tail(spec.ranks.local_rank, fd),
            tap=self._tap(spec, STDOUT | STDERR if both else fd),
            raw=True,
        )
        sources.append(Pipe(spec.ranks.local_rank, stream, ours))
        self.terminals.append((fd, ours))
        return theirs

    def _is_raw(self, fd: int, kept: "LineFilter | None") -> bool:
        """Whether bytes are passed on as they are, for a program to read them.

        On stderr they share the console with what the agent says: there lines are
        kept whole.
        """
        mixed = fd == STDERR or terminal.same_file(STDOUT, STDERR)
        return self.alone and not (mixed or kept or self._settings.timestamps)

    def _stream(
        self,
        spec: WorkerSpec,
        fd: int,
        target: Destination,
        fds: Fds,
        sources: list[Source],
    ) -> int:
        if self._taps and target.path == os.devnull:
            target = Destination(console=False)  # read, and seen by nobody else
        if target.path:
            return self._file(spec, fd, target, fds, sources)
        kept = self.filters.get(fd)
        if not target.console and not kept and not self._taps and fd == STDOUT:
            return fds.keep(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        rank = spec.ranks.local_rank
        ours, theirs = os.pipe()
        fds.keep(theirs)
        stream = Stream(
            console=self.consoles[fd] if target.console else None,
            label=_encoded(spec.label),
            timestamps=self._settings.timestamps,
            filter=kept,
            tail=self._tail(rank, fd),
            tap=self._tap(spec, fd),
            raw=self._is_raw(fd, kept),
        )
        sources.append(Pipe(rank, stream, ours))
        return theirs

    def _file(
        self,
        spec: WorkerSpec,
        fd: int,
        target: Destination,
        fds: Fds,
        sources: list[Source],
    ) -> int:
        rank, path = spec.ranks.local_rank, target.path
        number: int | None = None
        with told(path):
            file = os.open(path, _APPEND, 0o666)
            start = os.fstat(file).st_size
            if self._scribes and path != os.devnull:
                os.close(file)  # it can be written; the scribe will
                number, file = self._scribes.add(path)
        fds.keep(file)
        kept, settings = self.filters.get(fd), self._settings
        tail: Tail | None = None
        if number is not None and settings.max_bytes and not settings.backups:
            # What is full is removed.
            tail = self._tail(rank, fd, self._stamp)
        elif fd == STDERR:
            self.tails[rank] = lambda: self._tail_of(path, start)
        followed = target.console or kept or tail or self._taps
        if path != os.devnull and followed:
            from elaunch_spawn_local.output.follow import Follower

            stream = Stream(
                console=self.consoles[fd] if target.console else None,
                label=_encoded(spec.label),
                filter=kept,
                tail=tail,
                tap=self._tap(spec, fd, self._stamp if number is not None else 0),
                raw=self._is_raw(fd, kept),
            )
            follower = Follower(
                path,
                start,
                rotates=bool(settings.max_bytes),
                shown=target.console or kept is not None,
            )
            sources.append(File(rank, stream, follower, number))
            with told(path):
                follower.open()
        elif number is not None:
            sources.append(Written(rank, number))
        return file

    def _tail(self, rank: int, fd: int, stamp: int = 0) -> Tail | None:
        if fd != STDERR:
            return None
        tail = Tail(stamp)
        self.tails[rank] = tail.lines
        return tail

    def _tail_of(self, path: str, start: int) -> tuple[str, ...]:
        backups = self._settings.backups if self._settings.max_bytes else 0
        return tail_of_file(path, start, backups=backups, stamp=self._stamp)

    def _tap(self, spec: WorkerSpec, stream: int, stamp: int = 0) -> "Tap | None":
        rank = spec.ranks.local_rank
        return self._taps.of(rank, stream, stamp) if self._taps else None

    @property
    def _stamp(self) -> int:
        """Length of the time at the beginning of each line of a file."""
        return STAMP_LENGTH if self._settings.timestamps else 0


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Tell what is wrong with a log file, and what to do about it."""
    try:
        yield
    except OSError as error:
        raise SpawnError(
            f"can't write the log file {path!r}: {error.strerror}; name a directory "
            f"that you may write to, with room, with --log-dir"
        ) from error


def _encoded(label: str) -> bytes:
    return label.encode(errors="surrogateescape")
