"""The log layout `default`: ``RUN/GENERATION/RANK/{stdout,stderr}.log``."""

import contextlib
import logging
import os
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
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
from elaunch_spawn_local.output.generations import claim, forget


logger = logging.getLogger(__name__)

LATEST = "latest"
"""Name of the links to the generation and the run that were started last."""


@attrs.define(eq=False, repr=False)
class DefaultLayout:
    """Files by run, generation and global rank; see `elaunch.api.LogLayout`.

    Ranks are global and belong to one agent each, so agents can share a directory. What
    is there already is left alone: where a run with the same id comes to the same
    generation once more its files lie in ``GENERATION.1``, and so on
    (`elaunch_spawn_local.output.generations`).
    """

    _parameters: LogLayoutParameters
    _root: Path | None = attrs.field(default=None, init=False)
    _told: bool = attrs.field(default=False, init=False)
    _release: Callable[[], object] = attrs.field(default=int, init=False)

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
        wanted = any(filters) or any(stream.file for stream in streams)
        if output.discards_files or not wanted:
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
        claimed = claim(
            run,
            workers[0].names.get("generation", "0"),
            [str(spec.ranks.rank) for spec in workers],
            _launch_of(workers[0]),
        )
        # The files of the group before have been closed.
        self._release()
        self._release = weakref.finalize(self, os.close, claimed.lock)
        _link(run / LATEST, claimed.path.name)
        keep = self._parameters.output.retention
        if keep:
            forget(run, keep, claimed.path.name)
        return claimed.path

    def _run(self) -> Path:
        """Return the directory of the run, in the one for logs or a temporary one."""
        if self._root is None:
            given = self._parameters.output.log_dir
            if given:
                self._root = Path(given).absolute()
            else:
                self._root = Path(tempfile.mkdtemp(prefix="elaunch-logs-"))
        name = self._parameters.run_id
        # A name that would lead elsewhere is made one that doesn't.
        run = self._root / (f"{name}-" if name in (".", "..", LATEST) else name)
        run.mkdir(parents=True, exist_ok=True)
        if not self._told:
            self._told = True
            logger.warning("workers' output is kept in %s", run)
            _link(self._root / LATEST, run.name)
        return run


def _launch_of(spec: WorkerSpec) -> str:
    """Return what the members of a generation have in common, and no others.

    They meet at one port, which the next launch of the job hardly ever gets again.
    """
    names = ("MASTER_ADDR", "MASTER_PORT")
    return " ".join(spec.environment.get(name, "") for name in names)


def _destination(route: Route, path: Path) -> Destination:
    return Destination(path=str(path) if route.file else "", console=route.console)


def _link(link: Path, target: str) -> None:
    """Let a link lead elsewhere, in one step, whoever else does it."""
    new = link.with_name(f".{LATEST}-{os.urandom(8).hex()}")
    try:
        new.symlink_to(target)
        new.replace(link)
    except OSError as error:  # a file system without links; nothing depends on it
        logger.info("no link %s: %s", link, error)
        with contextlib.suppress(OSError):
            new.unlink()
