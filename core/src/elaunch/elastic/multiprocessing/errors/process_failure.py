"""A failure that a program makes itself, of what it knows of a process and its file."""

import json
import socket
import time
from pathlib import Path
from typing import Any

import attrs

from elaunch import failures


class _OneOfOurs(type):
    """Makes what agents and groups of processes tell of an instance, too."""

    def __instancecheck__(cls, instance: Any) -> bool:
        known = cls is ProcessFailure and isinstance(instance, failures.ProcessFailure)
        return known or super().__instancecheck__(instance)


class ProcessFailure(failures.ProcessFailure, metaclass=_OneOfOurs):
    """One process that ended badly; see `elaunch.ProcessFailure` for its attributes.

    Args:
        local_rank: Rank among the processes of its group.
        pid: Process id.
        exitcode: Exit status; ``-n`` for death by signal ``n``.
        error_file: Path of its error file, which tells message, traceback and time;
            where there is none, exit code or signal is the message, and it is now.

    Raises:
        OSError: If the file is there and can't be read.
        ValueError: If it has not the form of an error file.
    """

    def __init__(
        self, local_rank: int, pid: int, exitcode: int, error_file: str
    ) -> None:
        from elaunch.workers import WorkerExit, WorkerRanks, failure_of

        written = Path(error_file).is_file()
        ended = WorkerExit(
            ranks=WorkerRanks(local_rank=local_rank, rank=-1, role_rank=-1),
            pid=pid,
            exitcode=exitcode,
            error_file=error_file if written else "",
            **(_told(error_file) if written else {"timestamp": time.time()}),
        )
        failure = failure_of(ended, role="", host=socket.gethostname())
        super().__init__(**attrs.asdict(failure, recurse=False))


def _told(path: str) -> dict[str, Any]:
    """Return message, traceback and time of an error file of either form."""
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        message = told["message"]
        if isinstance(message, str):
            return {"message": message, "timestamp": float(told.get("timestamp", 0))}
        extra = message["extraInfo"]
        return {
            "message": message["message"],
            "traceback": extra["py_callstack"],
            "timestamp": float(extra.get("unix_time") or extra["timestamp"]),
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path!r} has not the form of an error file: "
            f"{type(error).__name__}: {error}"
        ) from error
