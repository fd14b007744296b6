"""What a failed job leaves behind as JSON: its own file, and an outer launcher's.

`docs/failure-report.md` tells the fields. Whatever goes wrong here is logged and hides
no failure.
"""

import json
import logging
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from elaunch.encodable import all_encodable
from elaunch.errors import ChildFailedError, ElaunchError, HandedBack, SignalException
from elaunch.failures import ProcessFailure


logger = logging.getLogger(__name__)

SCHEMA = 1
"""Version of the file; it grows when a field changes its meaning."""

NAME = "failure.json"

OUTER_ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""Variable by which a launcher around this one names the file that it reads."""


def file_beside_logs(log_dir: str, run_id: str) -> str:
    """Return where the file goes if nobody says, and logs are kept."""
    return str(Path(log_dir) / run_id / NAME)


def temporary_file() -> str:
    """Return where the file goes if nobody says: a new directory, not made yet."""
    directory = f"elaunch-failure-{os.urandom(8).hex()}"
    return str(Path(tempfile.gettempdir()) / directory / NAME)


def write_failure(
    error: ChildFailedError, run_id: str, wanted: str, otherwise: str
) -> str:
    """Write the file and return its path, or empty if it can't be written; blocks.

    Args:
        error: What the job failed with.
        run_id: Id of the job.
        wanted: Path to write to.
        otherwise: Path for when that can't be written.
    """
    text = json.dumps(all_encodable(document(error, run_id)), indent=2) + "\n"
    for path in dict.fromkeys((wanted, otherwise)):
        try:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(Path(path), text)
        except (OSError, ValueError) as reason:
            logger.warning("can't write the failure report to %r: %s", path, reason)
        else:
            return path
    return ""


def document(error: ChildFailedError, run_id: str) -> dict[str, Any]:
    """Return what the file says."""
    rank, first = error.get_first_failure()
    others = sorted(rank_ for rank_ in error.failures if rank_ != rank)
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "name": error.name,
        "host": socket.gethostname(),
        "timestamp": time.time(),
        "status": error.status,
        "handed_back": isinstance(error, HandedBack),
        "root_cause": _facts(first),
        "also_failed": [_facts(error.failures[rank_]) for rank_ in others],
        "stacks": list(error.stacks),
    }


def tell_outer_launcher(error: BaseException, environment: Mapping[str, str]) -> None:
    """Leave the error where a launcher around this one looks for it; blocks.

    Args:
        error: What this launch ended with.
        environment: The launcher's own.
    """
    path = environment.get(OUTER_ERROR_FILE)
    if not path or not _is_failure(error):
        return
    try:
        _write(Path(path), json.dumps(all_encodable({"message": _message(error)})))
    except (OSError, ValueError) as reason:
        logger.warning(
            "can't tell the launcher around this one of the failure: "
            "can't write %r, which %s names: %s",
            path,
            OUTER_ERROR_FILE,
            reason,
        )


def _is_failure(error: BaseException) -> bool:
    """Whether this is no good end, and not what somebody asked for."""
    if isinstance(error, ElaunchError):
        return error.status != 0 and not isinstance(error, SignalException)
    return isinstance(error, Exception)


def _message(error: BaseException) -> dict[str, Any]:
    """Return the error in torchelastic's form."""
    if not isinstance(error, ChildFailedError):
        text, stack, when = f"{type(error).__name__}: {error}", "", time.time()
        status = error.status if isinstance(error, ElaunchError) else 1
    else:
        _, first = error.get_first_failure()
        text, stack, when = first.message, first.traceback, first.timestamp
        status = first.exitcode
    extra = {
        "py_callstack": stack or text,
        "timestamp": str(int(when)),
        "unix_time": when,
    }
    return {"message": text, "extraInfo": extra, "errorCode": status}


def _facts(failure: ProcessFailure) -> dict[str, Any]:
    facts = attrs.asdict(failure, value_serializer=lambda _, __, value: _plain(value))
    return {
        **facts,
        "signal": failure.signal_name(),
        "status": failure.status,
        "time": failure.time(),
    }


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _write(target: Path, text: str) -> None:
    """Put a file in place as a whole; never in the place of anything but a file.

    Raises:
        OSError: If it can't be written.
        ValueError: If the path is none.
    """
    if target.exists() and not target.is_file():
        raise OSError(f"{str(target)!r} is not a regular file")
    draft = target.with_name(f"{target.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
