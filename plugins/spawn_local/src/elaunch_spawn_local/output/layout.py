"""The log layout `default`: ``RUN/GENERATION/RANK/{stdout,stderr}.log``."""

import contextlib
import logging
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from elaunch.api import (
    Destination,
    GroupLogs,
    LogLayoutParameters,
    Route,
    SpawnError,
    WorkerLogs,
    WorkerRoutes,
    WorkerSpec,
)


logger = logging.getLogger(__name__)

LATEST = "latest"
"""Name of the link to the generation that was started last."""

_GENERATION = re.compile(r"\d+(\.\d+)?")


@attrs.define(eq=False)
class DefaultLayout:
    """Files by run, generation and global rank; see `elaunch.api.LogLayout`.

    Ranks are global and belong to one agent each, so agents can share a directory. What
    is there already is left alone: where a run with the same id comes to the same
    generation once more its files lie in ``GENERATION.1``, and so on.
    """

    _parameters: LogLayoutParameters
    _root: Path | None = attrs.field(default=None, init=False)

    def place(
        self, workers: Sequence[WorkerSpec], routes: Mapping[int, WorkerRoutes]
    ) -> GroupLogs:
        """Choose the files of one group and make their directories; blocks.

        Raises:
            SpawnError: If the directories can't be made.
        """
        output = self._parameters.output
        filters = (output.duplicate_stdout_filters, output.duplicate_stderr_filters)
        streams = [s for r in routes.values() for s in (r.stdout, r.stderr)]
        if not any(filters) and not any(stream.file for stream in streams):
            return GroupLogs(
                workers={
                    rank: WorkerLogs(
                        stdout=Destination(console=r.stdout.console),
                        stderr=Destination(console=r.stderr.console),
                    )
                    for rank, r in routes.items()
                }
            )
        try:
            generation = self._generation(workers)
        except OSError as error:
            raise SpawnError(
                f"can't keep logs: {error}; name a directory that you may write to "
                f"with --log-dir"
            ) from error
        own = {s.ranks.local_rank: generation / str(s.ranks.rank) for s in workers}
        first = own[min(own)]
        return GroupLogs(
            workers={
                rank: WorkerLogs(
                    stdout=_destination(route.stdout, own[rank] / "stdout.log"),
                    stderr=_destination(route.stderr, own[rank] / "stderr.log"),
                )
                for rank, route in routes.items()
            },
            filtered_stdout=str(first / "filtered_stdout.log") if filters[0] else "",
            filtered_stderr=str(first / "filtered_stderr.log") if filters[1] else "",
        )

    def _generation(self, workers: Sequence[WorkerSpec]) -> Path:
        """Make a directory for each worker; return that of the generation."""
        run = self._run()
        number = workers[0].names.get("generation", "0")
        ranks = [str(spec.ranks.rank) for spec in workers]
        for name in _names(number):
            if _claim(run / name, ranks):
                break
        _link(run / LATEST, name)
        keep = self._parameters.output.retention
        if keep:
            _forget(run, keep, name)
        return run / name

    def _run(self) -> Path:
        """Return the directory of the run, in the one for logs or a temporary one."""
        if self._root is None:
            given = self._parameters.output.log_dir
            if given:
                self._root = Path(given).absolute()
            else:
                self._root = Path(tempfile.mkdtemp(prefix="elaunch-logs-"))
                logger.warning("workers' output is kept in %s", self._root)
        name = self._parameters.run_id
        # A name that would lead elsewhere is made one that doesn't.
        run = self._root / (f"{name}-" if name in (".", "..") else name)
        run.mkdir(parents=True, exist_ok=True)
        return run


def _destination(route: Route, path: Path) -> Destination:
    return Destination(path=str(path) if route.file else "", console=route.console)


def _names(number: str) -> Iterator[str]:
    yield number
    again = 0
    while True:
        again += 1
        yield f"{number}.{again}"


def _claim(generation: Path, ranks: Sequence[str]) -> bool:
    """Make the ranks' directories, or none of them if one is there already."""
    generation.mkdir(exist_ok=True)
    made: list[Path] = []
    for rank in ranks:
        try:
            (generation / rank).mkdir()
        except FileExistsError:
            for path in made:
                path.rmdir()
            return False
        made.append(generation / rank)
    return True


def _link(link: Path, target: str) -> None:
    """Let a link lead elsewhere, in one step, whoever else does it."""
    new = link.with_name(f".{LATEST}-{secrets.token_hex(8)}")
    try:
        new.symlink_to(target)
        new.replace(link)
    except OSError as error:  # a file system without links; nothing depends on it
        logger.info("no link %s: %s", link, error)


def _forget(run: Path, keep: int, current: str) -> None:
    """Remove all generations of a run but the last ones and the current one."""
    aged: list[tuple[int, str]] = []
    for entry in os.scandir(run):
        # Another agent may remove the same at the same time.
        with contextlib.suppress(FileNotFoundError):
            if _GENERATION.fullmatch(entry.name) and entry.is_dir(
                follow_symlinks=False
            ):
                aged.append((entry.stat().st_mtime_ns, entry.name))
    others = [name for _, name in sorted(aged) if name != current]
    for name in others[: max(0, len(others) - (keep - 1))]:
        shutil.rmtree(run / name, ignore_errors=True)
