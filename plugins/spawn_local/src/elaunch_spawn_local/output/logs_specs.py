"""The log layout `logs-specs`: plugins that were written for torchelastic.

Such a plugin is an entry point of the group ``torchrun.logs_specs``: a class that is
called with ``log_dir``, ``redirects``, ``tee`` and ``local_ranks_filter``, and whose
``reify(envs)`` returns where each stream goes. None of torch is needed for it.
"""

import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs

from elaunch.api import (
    Destination,
    GroupLogs,
    LogLayoutParameters,
    OutputSettings,
    PluginError,
    RankSet,
    SpawnError,
    Std,
    WorkerLogs,
    WorkerRoutes,
    WorkerSpec,
)


GROUP = "torchrun.logs_specs"

_TORCHS_STD = "torch.distributed.elastic.multiprocessing.api"


class _LogsSpecs(Protocol):
    """What torchelastic calls ``LogsSpecs``."""

    def reify(self, envs: Mapping[int, Mapping[str, str]]) -> Any:
        """Return a ``LogsDest``."""


@attrs.define(eq=False)
class LogsSpecsLayout:
    """Asks a plugin for torchelastic; see `elaunch.api.LogLayout`."""

    name: str
    _specs: _LogsSpecs

    def place(
        self,
        workers: Sequence[WorkerSpec],
        routes: Mapping[int, WorkerRoutes],  # noqa: ARG002 - the plugin knows flags
    ) -> GroupLogs:
        """Return what the plugin chooses.

        Raises:
            SpawnError: If it raises, or returns something else than it should.
        """
        envs = {spec.ranks.local_rank: dict(spec.environment) for spec in workers}
        try:
            chosen = self._specs.reify(envs)
            return GroupLogs(
                workers={rank: _logs(chosen, rank) for rank in envs},
                filtered_stdout=_absolute(getattr(chosen, "filtered_stdout", "")),
                filtered_stderr=_absolute(getattr(chosen, "filtered_stderr", "")),
            )
        except Exception as error:
            raise SpawnError(
                f"logs specs {self.name!r} failed to choose files: "
                f"{type(error).__name__}: {error}"
            ) from error


def create(name: str, parameters: LogLayoutParameters) -> LogsSpecsLayout:
    """Return the layout of the object that was given, or of a plugin's.

    Raises:
        PluginError: If there is none of this name, or it raises.
    """
    if parameters.specs is not None:
        return LogsSpecsLayout(type(parameters.specs).__name__, parameters.specs)
    points = {p.name: p for p in importlib.metadata.entry_points(group=GROUP)}
    if name not in points:
        known = ", ".join(repr(known) for known in sorted(points)) or "none"
        raise PluginError(
            f"no logs specs are named {name!r}; installed in the entry-point group "
            f"{GROUP!r}: {known}"
        )
    point = points[name]
    output = parameters.output
    try:
        made = point.load()(
            log_dir=output.log_dir or None,
            redirects=_theirs(_redirects(output)),
            tee=_theirs(Std.NONE if output.debug_rank is not None else output.tee),
            local_ranks_filter=_numbers(output.local_ranks_filter),
        )
    except Exception as error:
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else "?"
        raise PluginError(
            f"logs specs {name!r} of {origin} failed: {type(error).__name__}: {error}"
        ) from error
    return LogsSpecsLayout(name, made)


def _redirects(output: OutputSettings) -> "Std | Mapping[int, Std] | None":
    return Std.ALL if output.debug_rank is not None else output.redirects


def _theirs(streams: "Std | Mapping[int, Std] | None") -> Any:
    """Return streams as torch has them, which a plugin that uses torch wants."""
    module = sys.modules.get(_TORCHS_STD)
    std = getattr(module, "Std", Std)
    if streams is None:
        return std(0)
    if isinstance(streams, Mapping):
        return {rank: std(int(value)) for rank, value in streams.items()}
    return std(int(streams))


def _numbers(ranks: RankSet | None) -> set[int] | None:
    return None if ranks is None else {n for part in ranks.ranges for n in part}


def _logs(chosen: Any, rank: int) -> WorkerLogs:
    return WorkerLogs(
        stdout=_destination(chosen.stdouts, chosen.tee_stdouts, rank),
        stderr=_destination(chosen.stderrs, chosen.tee_stderrs, rank),
        error_file=_absolute(chosen.error_files.get(rank, "")),
    )


def _destination(
    paths: Mapping[int, str], teed: Mapping[int, str], rank: int
) -> Destination:
    """Return where a stream goes; a path that is empty means the console."""
    path = paths.get(rank, "")
    return Destination(path=_absolute(path), console=not path or rank in teed)


def _absolute(path: str) -> str:
    return str(Path(path).absolute()) if path else ""
