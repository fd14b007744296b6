"""The output of one group of workers, from the descriptors they get to its end."""

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import attrs

from elaunch.api import (
    Feed,
    GroupLogs,
    LogLayout,
    OutputBlock,
    OutputSettings,
    SpawnError,
    WorkerSpec,
)
from elaunch_spawn_local.output import terminal
from elaunch_spawn_local.output.console import STDERR, STDOUT
from elaunch_spawn_local.output.pump import Pump, Source
from elaunch_spawn_local.output.streams import Fds, Streams, told
from elaunch_spawn_local.stdio import Stdio


if TYPE_CHECKING:  # most jobs need none, and it costs a start some milliseconds
    from elaunch_spawn_local.output.scribes import Scribes


logger = logging.getLogger(__name__)


class NewOutput(Protocol):
    """Builds the output of a group."""

    def __call__(
        self, on_end: Callable[[int], None], on_done: Callable[[], None], /
    ) -> "Output":
        """Build it; see `Output` for whom it tells."""


@attrs.define(eq=False, repr=False)
class Output:
    """The output of the workers of one node in one generation.

    `prepare` first, then `open` for each worker, then `begin`; `close` in any case.

    Args:
        settings: What becomes of output.
        layout: Chooses the files.
        feed: Told of everything as it comes, if anybody listens by now.
        on_end: Called in a thread with a local rank when all output of that worker has
            been carried.
        on_done: Called in a thread when that is true of all workers.
    """

    _settings: OutputSettings
    _layout: LogLayout
    _feed: Feed[OutputBlock]
    _on_end: Callable[[int], None]
    _on_done: Callable[[], None]
    _pump: Pump = attrs.field(init=False)
    _scribes: "Scribes | None" = attrs.field(default=None, init=False)
    _logs: GroupLogs = attrs.field(factory=lambda: GroupLogs(workers={}), init=False)
    _streams: Streams = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pump = Pump(self._on_end, self._on_done)
        settings = self._settings
        if self._feed:
            from elaunch_spawn_local.output.tap import Taps

            self._pump.taps = Taps(self._feed)
        if settings.timestamps or settings.max_bytes:
            from elaunch_spawn_local.output.scribe_process import Shape
            from elaunch_spawn_local.output.scribes import Scribes

            shape = Shape(
                timestamps=settings.timestamps,
                max_bytes=settings.max_bytes,
                backups=settings.backups,
            )
            self._scribes = Scribes(shape)
        self._streams = Streams(settings, self._scribes, self._pump.taps)

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
        self._streams.alone = len(workers) == 1 and not workers[0].label
        wanted = (
            (STDOUT, logs.filtered_stdout, self._settings.duplicate_stdout_filters),
            (STDERR, logs.filtered_stderr, self._settings.duplicate_stderr_filters),
        )
        if not any(path and needles for _, path, needles in wanted):
            return
        from elaunch_spawn_local.output.filters import LineFilter

        for fd, path, needles in wanted:
            if path and needles:
                with told(path):
                    self._streams.filters[fd] = LineFilter.of(path, needles)

    def open(self, spec: WorkerSpec) -> Stdio:
        """Return descriptors for a worker; call once for each, before `begin`.

        Raises:
            SpawnError: If a file can't be opened.
            OSError: If the system gives no descriptors.
        """
        rank = spec.ranks.local_rank
        fds, sources = Fds(), list[Source]()
        try:
            if self._settings.routes(spec.ranks).stdout.terminal:
                own = [fds.keep(os.dup(fd)) for fd in (0, STDOUT, STDERR)]
                stdio = Stdio(own[0], own[1], own[2], terminal=True)
            else:
                stdin = fds.keep(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
                logs = self._logs.workers[rank]
                stdout, stderr = self._streams.open(spec, logs, fds, sources)
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
        if self._streams.terminals:
            # Only the main thread can; in another the size stays as it was.
            with contextlib.suppress(ValueError, RuntimeError):
                loop = asyncio.get_running_loop()
                loop.add_signal_handler(signal.SIGWINCH, self._resize)
        self._pump.start(scribes)

    @property
    def begun(self) -> bool:
        """Whether `begin` succeeded."""
        return self._pump.started

    @property
    def taken(self) -> int:
        """How many bytes the consoles have taken by now."""
        return sum(console.taken for console in self._streams.consoles.values())

    def give_up(self) -> None:
        """Let go of what a console that blocks has not taken."""
        if self._pump.taps:
            self._pump.taps.close()

    def worker_ended(self, rank: int) -> None:
        """Give the output of a worker a moment to end by itself."""
        self._pump.worker_ended(rank)

    def stderr_tail(self, rank: int) -> tuple[str, ...]:
        """Return the last lines that a worker wrote to stderr; blocks.

        Of a worker whose stdout and stderr are one terminal, they are of both.
        """
        tail = self._streams.tails.get(rank)
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
        if self._streams.terminals:
            with contextlib.suppress(ValueError, RuntimeError):
                asyncio.get_running_loop().remove_signal_handler(signal.SIGWINCH)
        self._streams.terminals.clear()
        self._pump.close()
        if self._scribes:
            self._scribes.close()
        for kept in self._streams.filters.values():
            kept.close()
        self._streams.filters.clear()

    def _resize(self) -> None:
        for source, target in self._streams.terminals:
            terminal.copy_size(source, target)
