"""The log layout port: which file each stream of each worker goes to."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from elaunch.output import OutputSettings, WorkerRoutes
from elaunch.provider import Provider
from elaunch.workers import WorkerSpec


NO_RUN_ID = "none"
"""Id of a job that has none, but an endpoint of its own; torchrun's word."""


@attrs.frozen(kw_only=True)
class Destination:
    """Where one stream goes.

    Attributes:
        path: File it is written to; empty for none. Its directory exists.
        console: Whether it is shown on the console.
    """

    path: str = ""
    console: bool = True


@attrs.frozen(kw_only=True)
class WorkerLogs:
    """Where the streams of one worker go.

    Attributes:
        stdout: Its stdout.
        stderr: Its stderr.
        error_file: Where it may leave its error as JSON; empty for a temporary file.
    """

    stdout: Destination = Destination()
    stderr: Destination = Destination()
    error_file: str = ""


@attrs.frozen(kw_only=True)
class GroupLogs:
    """Where the output of the workers of one node in one generation goes.

    Attributes:
        workers: By local rank.
        filtered_stdout: File for the lines that ``duplicate_stdout_filters`` choose;
            empty for none.
        filtered_stderr: Likewise for stderr.
    """

    workers: Mapping[int, WorkerLogs]
    filtered_stdout: str = ""
    filtered_stderr: str = ""


def run_name(run_id: str, endpoint: str) -> str:
    """Return what the logs of a run are called, where it has no id of its own, too."""
    if run_id != NO_RUN_ID:
        return run_id
    place = re.sub(r"[^\w.]+", "-", endpoint).strip("-")
    return f"{run_id}-{place}" if place else run_id


class LogLayout(Protocol):
    """Chooses files, generation after generation. It opens none of them."""

    def place(
        self, workers: Sequence[WorkerSpec], routes: Mapping[int, WorkerRoutes]
    ) -> GroupLogs:
        """Choose the files of one group and make their directories; may block.

        No file that is there already may be chosen, also where the same generation of
        a run is started once more, and no two agents of a job may choose the same.

        Args:
            workers: The workers that are about to start.
            routes: By local rank, which streams are wanted in files and which on the
                console.

        Raises:
            elaunch.errors.SpawnError: If the directories can't be made.
        """


@attrs.frozen(kw_only=True)
class LogLayoutParameters:
    """What every log layout is built with.

    Attributes:
        run_id: Id of the job; with its endpoint where it has none of its own.
        output: What becomes of workers' output.
        specs: Logs specs of torchelastic, as an object, for the layout that asks them.
    """

    run_id: str
    output: OutputSettings
    specs: Any = None


LogLayoutProvider = Provider[LogLayoutParameters, LogLayout]
