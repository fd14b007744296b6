"""Logs specs: torchelastic's way to choose the files of workers' output."""

import abc
import itertools
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from elaunch.output import Std


StdOrMap = Std | Mapping[int, Std]


def to_map(val_or_map: StdOrMap, local_world_size: int) -> dict[int, Std]:
    """Return streams by local rank, from the same for all or those of some ranks.

    Args:
        val_or_map: Streams; ranks that are missing have none.
        local_world_size: Workers of this node.
    """
    if isinstance(val_or_map, Mapping):
        return {
            rank: Std(int(val_or_map.get(rank, 0))) for rank in range(local_world_size)
        }
    return dict.fromkeys(range(local_world_size), Std(int(val_or_map)))


@attrs.define
class LogsDest:
    """Where the streams of one start of the workers go, by local rank.

    Attributes:
        stdouts: File of each stdout; empty for the console.
        stderrs: File of each stderr, likewise.
        tee_stdouts: The files that are also shown on the console.
        tee_stderrs: Likewise.
        error_files: Where each worker may leave its error.
        filtered_stdout: File for the lines that filters choose; empty for none.
        filtered_stderr: Likewise.
    """

    stdouts: dict[int, str] = attrs.field(factory=dict)
    stderrs: dict[int, str] = attrs.field(factory=dict)
    tee_stdouts: dict[int, str] = attrs.field(factory=dict)
    tee_stderrs: dict[int, str] = attrs.field(factory=dict)
    error_files: dict[int, str] = attrs.field(factory=dict)
    filtered_stdout: str = ""
    filtered_stderr: str = ""


class LogsSpecs(abc.ABC):
    """Chooses files, at each start of the workers.

    Args:
        log_dir: Directory for the files.
        redirects: Streams that go to files and not to the console, for all workers or
            by local rank.
        tee: Streams that go to both, likewise.
        local_ranks_filter: Local ranks that the console shows; `None` for all.
    """

    def __init__(
        self,
        log_dir: str | None = None,
        redirects: StdOrMap = Std.NONE,
        tee: StdOrMap = Std.NONE,
        local_ranks_filter: set[int] | None = None,
    ) -> None:
        self._root_log_dir = log_dir
        self._redirects = redirects
        self._tee = tee
        self._local_ranks_filter = local_ranks_filter

    @abc.abstractmethod
    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Choose files for one start, and make their directories.

        Args:
            envs: Environment of each worker, by local rank.
        """

    @property
    @abc.abstractmethod
    def root_log_dir(self) -> str:
        """Directory of all files."""


class DefaultLogsSpecs(LogsSpecs):
    """Torchelastic's files: ``<log_dir>/<run id>_*/attempt_<restarts>/<local rank>/``.

    In them are ``stdout.log``, ``stderr.log`` and ``error.json``; beside them
    ``filtered_stdout.log`` and ``filtered_stderr.log``. A start that costs no restart,
    since nodes came or went, has a directory ``attempt_<restarts>.<n>``, and removes
    nothing. With ``/dev/null`` as directory nothing is kept.

    Raises:
        NotADirectoryError: If ``log_dir`` is a file.
    """

    def __init__(
        self,
        log_dir: str | None = None,
        redirects: StdOrMap = Std.NONE,
        tee: StdOrMap = Std.NONE,
        local_ranks_filter: set[int] | None = None,
    ) -> None:
        root = log_dir or tempfile.mkdtemp(prefix="torchelastic_")
        if root != os.devnull:
            if Path(root).is_file():
                raise NotADirectoryError(f"log_dir {root!r} is a file")
            Path(root).mkdir(parents=True, exist_ok=True)
        super().__init__(root, redirects, tee, local_ranks_filter)
        self._run_dir: Path | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DefaultLogsSpecs):
            return NotImplemented
        return self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash(self._root_log_dir)

    def __repr__(self) -> str:
        log_dir, redirects, tee, ranks = self._settings()
        return (
            f"DefaultLogsSpecs(log_dir={log_dir!r}, redirects={redirects!r}, "
            f"tee={tee!r}, local_ranks_filter={ranks!r})"
        )

    def _settings(self) -> tuple[Any, ...]:
        return (
            self._root_log_dir,
            self._redirects,
            self._tee,
            self._local_ranks_filter,
        )

    @property
    def root_log_dir(self) -> str:
        """Directory of all files."""
        return str(self._root_log_dir)

    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        """Choose files for one start, and make their directories."""
        redirects, tee = (to_map(s, len(envs)) for s in (self._redirects, self._tee))
        if self._root_log_dir == os.devnull:
            none = dict.fromkeys(envs, "")
            return LogsDest(stdouts=none, stderrs=dict(none), error_files=dict(none))
        folder = self._new_attempt(envs)
        chosen = LogsDest(
            filtered_stdout=str(folder / "filtered_stdout.log"),
            filtered_stderr=str(folder / "filtered_stderr.log"),
        )
        streams = (
            (Std.OUT, "stdout.log", chosen.stdouts, chosen.tee_stdouts),
            (Std.ERR, "stderr.log", chosen.stderrs, chosen.tee_stderrs),
        )
        for rank in envs:
            own = folder / str(rank)
            own.mkdir()
            chosen.error_files[rank] = str(own / "error.json")
            shown = not self._local_ranks_filter or rank in self._local_ranks_filter
            for stream, name, files, teed in streams:
                kept = bool((redirects[rank] | tee[rank]) & stream)
                hidden = "" if shown else os.devnull
                files[rank] = str(own / name) if kept else hidden
                if shown and tee[rank] & stream:
                    teed[rank] = files[rank]
        return chosen

    def _new_attempt(self, envs: Mapping[int, Mapping[str, str]]) -> Path:
        first = envs.get(0, {})
        if self._run_dir is None:
            prefix = f"{first.get('TORCHELASTIC_RUN_ID', 'none')}_"
            self._run_dir = Path(tempfile.mkdtemp(prefix=prefix, dir=self.root_log_dir))
        name = f"attempt_{first.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        names = itertools.chain((name,), (f"{name}.{n}" for n in itertools.count(1)))
        folder = next(f for f in map(self._run_dir.joinpath, names) if not f.exists())
        folder.mkdir()
        return folder
