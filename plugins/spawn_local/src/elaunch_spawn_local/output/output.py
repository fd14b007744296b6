"""The output of one group of workers, from the descriptors they get to its end."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs

from elaunch.api import (
    Destination,
    GroupLogs,
    LogLayout,
    OutputSettings,
    SpawnError,
    WorkerSpec,
)
from elaunch_spawn_local.output import terminal
from elaunch_spawn_local.output.console import STDERR, STDOUT, Console
from elaunch_spawn_local.output.pump import Pump, Source
from elaunch_spawn_local.output.sources import File, Pipe, Written
from elaunch_spawn_local.output.stream import STAMP_LENGTH, Stream
from elaunch_spawn_local.output.tail import Tail, tail_of_file
from elaunch_spawn_local.stdio import Stdio


# Most jobs need neither, and each costs a start some milliseconds.
if TYPE_CHECKING:
    from elaunch_spawn_local.output.filters import LineFilter
    from elaunch_spawn_local.output.scribes import Scribes


logger = logging.getLogger(__name__)

_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class NewOutput(Protocol):
    """Builds the output of a group."""

    def __call__(
        self, on_end: Callable[[int], None], on_done: Callable[[], None], /
    ) -> "Output":
        """Build it; see `Output` for whom it tells."""


@attrs.define(eq=False)
class _Fds:
    """Descriptors that are ours until a `Stdio` is made of them."""

    opened: list[int] = attrs.field(factory=list)

    def keep(self, fd: int) -> int:
        self.opened.append(fd)
        return fd

    def drop(self) -> None:
        for fd in self.opened:
            os.close(fd)


@attrs.define(eq=False)
class Output:
    """The output of the workers of one node in one generation.

    `prepare` first, then `open` for each worker, then `begin`; `close` in any case.

    Args:
        settings: What becomes of output.
        layout: Chooses the files.
        on_end: Called in a thread with a local rank when all output of that worker has
            been carried.
        on_done: Called in a thread when that is true of all workers.
    """

    _settings: OutputSettings
    _layout: LogLayout
    _on_end: Callable[[int], None]
    _on_done: Callable[[], None]
    _pump: Pump = attrs.field(init=False)
    _scribes: "Scribes | None" = attrs.field(default=None, init=False)
    _logs: GroupLogs = attrs.field(factory=lambda: GroupLogs(workers={}), init=False)
    _filters: "dict[int, LineFilter]" = attrs.field(factory=dict, init=False)
    _tails: dict[int, Callable[[], tuple[str, ...]]] = attrs.field(
        factory=dict, init=False
    )
    _consoles: Mapping[int, Console] = attrs.field(init=False)
    _terminals: list[tuple[int, int]] = attrs.field(factory=list, init=False)
    _alone: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._pump = Pump(self._on_end, self._on_done)
        self._consoles = {fd: Console(fd) for fd in (STDOUT, STDERR)}
        settings = self._settings
        if settings.timestamps or settings.max_bytes:
            from elaunch_spawn_local.output.scribe_process import Shape
            from elaunch_spawn_local.output.scribes import Scribes

            shape = Shape(
                timestamps=settings.timestamps,
                max_bytes=settings.max_bytes,
                backups=settings.backups,
            )
            self._scribes = Scribes(shape)

    def prepare(self, workers: Sequence[WorkerSpec]) -> None:
        """Choose the files of all workers; blocks.

        Raises:
            SpawnError: If there can be none.
        """
        size = int(workers[0].names.get("world_size", "0"))
        for name, last in self._settings.last_ranks().items():
            if 0 < size <= last:
                logger.warning(
                    "--%s names rank %d, and the last of this job is %d now",
                    *(name.replace("_", "-"), last, size - 1),
                )
        routes = {s.ranks.local_rank: self._settings.routes(s.ranks) for s in workers}
        self._logs = logs = self._layout.place(workers, routes)
        self._alone = len(workers) == 1 and not workers[0].label
        wanted = (
            (STDOUT, logs.filtered_stdout, self._settings.duplicate_stdout_filters),
            (STDERR, logs.filtered_stderr, self._settings.duplicate_stderr_filters),
        )
        if not any(path and needles for _, path, needles in wanted):
            return
        from elaunch_spawn_local.output.filters import LineFilter

        self._filters = filters = {}
        for fd, path, needles in wanted:
            if path and needles:
                with _told(path):
                    filters[fd] = LineFilter.of(path, needles)

    def open(self, spec: WorkerSpec) -> Stdio:
        """Return descriptors for a worker; call once for each, before `begin`.

        Raises:
            SpawnError: If a file can't be opened.
            OSError: If the system gives no descriptors.
        """
        rank = spec.ranks.local_rank
        fds, sources = _Fds(), list[Source]()
        try:
            if self._settings.routes(spec.ranks).stdout.terminal:
                own = [fds.keep(os.dup(fd)) for fd in (0, STDOUT, STDERR)]
                stdio = Stdio(own[0], own[1], own[2], terminal=True)
            else:
                stdin = fds.keep(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
                stdout, stderr = self._streams(spec, fds, sources)
                stdio = Stdio(stdin, stdout, stderr)
        except BaseException:
            fds.drop()
            for source in sources:
                source.close()
            raise
        self._pump.add(rank, sources)
        return stdio

    def begin(self) -> None:
        """Start to carry output, now that all workers have theirs.

        Raises:
            SpawnError: If what writes the logs can't be started.
            OSError: If the system gives no descriptors.
            RuntimeError: If it gives no thread.
        """
        scribes = self._scribes if self._scribes and self._scribes.wanted else None
        if scribes:
            try:
                scribes.start()
            except OSError as error:
                raise SpawnError(
                    f"can't start what writes the logs: {error}; allow more processes "
                    f"and open files with 'ulimit -u' and 'ulimit -n'"
                ) from error
        self._pump.start(scribes)
        if self._terminals:
            # Only the main thread can; in another the size stays as it was.
            with contextlib.suppress(ValueError, RuntimeError):
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGWINCH, self._resize)

    @property
    def begun(self) -> bool:
        """Whether `begin` succeeded."""
        return self._pump.started

    @property
    def taken(self) -> int:
        """How many bytes the consoles have taken by now."""
        return sum(console.taken for console in self._consoles.values())

    def worker_ended(self, rank: int) -> None:
        """Give the output of a worker a moment to end by itself."""
        self._pump.worker_ended(rank)

    def stderr_tail(self, rank: int) -> tuple[str, ...]:
        """Return the last lines that a worker wrote to stderr; blocks.

        Of a worker whose stdout and stderr are one terminal, they are of both.
        """
        tail = self._tails.get(rank)
        return tail() if tail else ()

    def log_paths(self, rank: int) -> tuple[str, ...]:
        """Return the files with a worker's output, each once."""
        logs = self._logs.workers.get(rank)
        paths = (logs.stdout.path, logs.stderr.path) if logs else ()
        return tuple(dict.fromkeys(filter(None, paths)))

    def keep_error_file(self, rank: int, path: Path) -> str:
        """Copy a worker's error file to where the layout wants it; return where."""
        logs = self._logs.workers.get(rank)
        if not logs or not logs.error_file or not path.exists():
            return ""
        try:
            shutil.copyfile(path, logs.error_file)
        except OSError as error:
            logger.warning("can't keep %s: %s", logs.error_file, error)
            return ""
        return logs.error_file

    def close(self) -> None:
        """Release all; call after ``on_done``, or before `begin`. Twice is fine."""
        if self._terminals and self.begun:
            with contextlib.suppress(ValueError, RuntimeError):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
        self._terminals.clear()
        self._pump.close()
        if self._scribes:
            self._scribes.close()
        for kept in self._filters.values():
            kept.close()
        self._filters = {}

    def _resize(self) -> None:
        for source, target in self._terminals:
            terminal.copy_size(source, target)

    # -- what each stream is ------------------------------------------------------

    def _streams(
        self, spec: WorkerSpec, fds: _Fds, sources: list[Source]
    ) -> tuple[int, int]:
        """Open a worker's stdout and stderr, and what reads them."""
        logs = self._logs.workers[spec.ranks.local_rank]
        shown = [
            fd
            for fd, target in ((STDOUT, logs.stdout), (STDERR, logs.stderr))
            if self._is_terminal(fd, target)
        ]
        if len(shown) > 1 and terminal.same_file(STDOUT, STDERR):
            # One for both: what is written to a terminal is read in that order.
            both = self._terminal(spec, STDERR, fds, sources)
            return both, both
        stdout, stderr = (
            self._terminal(spec, fd, fds, sources)
            if fd in shown
            else self._stream(spec, fd, target, fds, sources)
            for fd, target in ((STDOUT, logs.stdout), (STDERR, logs.stderr))
        )
        return stdout, stderr

    def _is_terminal(self, fd: int, target: Destination) -> bool:
        alone = self._alone and not self._settings.timestamps
        return alone and target.console and not target.path and terminal.is_terminal(fd)

    def _terminal(
        self, spec: WorkerSpec, fd: int, fds: _Fds, sources: list[Source]
    ) -> int:
        ours, theirs = terminal.open_terminal(like=fd)
        fds.keep(theirs)
        stream = Stream(
            console=self._consoles[fd],
            filter=self._filters.get(fd),
            tail=self._tail(spec.ranks.local_rank, fd),
            raw=True,
        )
        sources.append(Pipe(spec.ranks.local_rank, stream, ours))
        self._terminals.append((fd, ours))
        return theirs

    def _is_raw(self, fd: int, kept: "LineFilter | None") -> bool:
        """Whether bytes are passed on as they are, for a program to read them.

        On stderr they share the console with what the agent says: there lines are
        kept whole.
        """
        mixed = fd == STDERR or terminal.same_file(STDOUT, STDERR)
        return self._alone and not (mixed or kept or self._settings.timestamps)

    def _stream(
        self,
        spec: WorkerSpec,
        fd: int,
        target: Destination,
        fds: _Fds,
        sources: list[Source],
    ) -> int:
        if target.path:
            return self._file(spec, fd, target, fds, sources)
        kept = self._filters.get(fd)
        if not target.console and not kept and fd == STDOUT:
            return fds.keep(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
        rank = spec.ranks.local_rank
        ours, theirs = os.pipe()
        fds.keep(theirs)
        stream = Stream(
            console=self._consoles[fd] if target.console else None,
            label=_encoded(spec.label),
            timestamps=self._settings.timestamps,
            filter=kept,
            tail=self._tail(rank, fd),
            raw=self._is_raw(fd, kept),
        )
        sources.append(Pipe(rank, stream, ours))
        return theirs

    def _file(
        self,
        spec: WorkerSpec,
        fd: int,
        target: Destination,
        fds: _Fds,
        sources: list[Source],
    ) -> int:
        rank, path = spec.ranks.local_rank, target.path
        number: int | None = None
        with _told(path):
            file = os.open(path, _APPEND, 0o666)
            start = os.fstat(file).st_size
            if self._scribes and path != os.devnull:
                os.close(file)  # it can be written; the scribe will
                number, file = self._scribes.add(path)
        fds.keep(file)
        kept, settings = self._filters.get(fd), self._settings
        tail: Tail | None = None
        if number is not None and settings.max_bytes and not settings.backups:
            # What is full is removed.
            tail = self._tail(rank, fd, STAMP_LENGTH if settings.timestamps else 0)
        elif fd == STDERR:
            self._tails[rank] = lambda: self._tail_of(path, start)
        if path != os.devnull and (target.console or kept or tail):
            from elaunch_spawn_local.output.follow import Follower

            stream = Stream(
                console=self._consoles[fd] if target.console else None,
                label=_encoded(spec.label),
                filter=kept,
                tail=tail,
                raw=self._is_raw(fd, kept),
            )
            follower = Follower(
                path,
                start,
                rotates=bool(settings.max_bytes),
                shown=target.console or kept is not None,
            )
            sources.append(File(rank, stream, follower, number))
            with _told(path):
                follower.open()
        elif number is not None:
            sources.append(Written(rank, number))
        return file

    def _tail(self, rank: int, fd: int, stamp: int = 0) -> Tail | None:
        if fd != STDERR:
            return None
        tail = Tail(stamp)
        self._tails[rank] = tail.lines
        return tail

    def _tail_of(self, path: str, start: int) -> tuple[str, ...]:
        backups = self._settings.backups if self._settings.max_bytes else 0
        stamp = STAMP_LENGTH if self._settings.timestamps else 0
        return tail_of_file(path, start, backups=backups, stamp=stamp)


@contextlib.contextmanager
def _told(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpawnError(
            f"can't write the log file {path!r}: {error.strerror}; name a directory "
            f"that you may write to, with room, with --log-dir"
        ) from error


def _encoded(label: str) -> bytes:
    return label.encode(errors="surrogateescape")
