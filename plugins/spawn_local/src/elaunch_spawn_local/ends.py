"""How a worker ended: from its wait status and what it left to what is told."""

import os
from collections.abc import Sequence

from elaunch.api import WorkerExit
from elaunch_spawn_local.error_file import Told, read_error_file
from elaunch_spawn_local.function_call import Value, read_value
from elaunch_spawn_local.worker import Worker


def end_of(
    worker: Worker, timestamp: float, stderr_tail: Sequence[str], why: str = ""
) -> WorkerExit:
    """Return how a worker ended; reads its files, so it blocks.

    Args:
        worker: The worker, with its wait status.
        timestamp: Unix time in seconds at which the end was seen.
        stderr_tail: The last lines it wrote to stderr.
        why: What is known of the end from elsewhere; wins over the worker's files.
    """
    exitcode = os.waitstatus_to_exitcode(worker.status)
    told, returned = _left_by(worker, exitcode)
    return WorkerExit(
        ranks=worker.spec.ranks,
        pid=worker.pid,
        exitcode=exitcode,
        timestamp=timestamp,
        value=returned.value,
        message=why or returned.error or told.message,
        location=told.location,
        traceback=told.traceback,
        stderr_tail=tuple(stderr_tail),
        failed=exitcode != 0 or returned.error != "",
    )


def _left_by(worker: Worker, exitcode: int) -> tuple[Told, Value]:
    if exitcode != 0:
        return read_error_file(worker.error_file), Value()
    return Told(), read_value(worker.result) if worker.result else Value()
