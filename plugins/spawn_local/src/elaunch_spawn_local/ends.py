"""How a worker ended: from its wait status and what it left to what is told."""

import os
import signal

import attrs

from elaunch.api import Ending, WorkerExit
from elaunch_spawn_local.error_file import Told, read_error_file
from elaunch_spawn_local.function_call import Value, read_value
from elaunch_spawn_local.oom import OutOfMemory
from elaunch_spawn_local.worker import Worker


@attrs.frozen(kw_only=True)
class Seen:
    """What the group saw of an end.

    Attributes:
        time: Unix time in seconds at which it was seen.
        uptime: Seconds for which it had run then.
        stderr_tail: The last lines that the worker wrote to stderr.
        error_file: Where its error file is kept; empty for nowhere.
        log_paths: Files with its output.
        killed: Whether it was this agent that sent SIGKILL.
        why: What became of the fork server, if the workers ended with it; wins over
            the worker's files.
        undying: What holds a process that SIGKILL does not end; empty for an end.
    """

    time: float
    uptime: float
    stderr_tail: tuple[str, ...]
    error_file: str = ""
    log_paths: tuple[str, ...] = ()
    killed: bool = False
    why: str = ""
    undying: str = ""


def end_of(worker: Worker, seen: Seen, memory: OutOfMemory) -> WorkerExit:
    """Return how a worker ended; reads its files, so it blocks."""
    exitcode = os.waitstatus_to_exitcode(worker.status)
    told, returned = _left_by(worker, exitcode)
    ending, remark = _classified(worker, seen, memory)
    if returned.error:
        ending = Ending.NO_VALUE
    # Between its error and its end a worker may have tidied up for long.
    when = told.time if 0 < told.time < seen.time else seen.time
    return WorkerExit(
        ranks=worker.spec.ranks,
        pid=worker.pid,
        exitcode=exitcode,
        timestamp=when,
        uptime=max(0.0, seen.uptime - (seen.time - when)),
        ending=ending,
        remark=remark,
        value=returned.value,
        message=seen.why or returned.error or told.message,
        location=told.location,
        traceback=told.traceback,
        stderr_tail=seen.stderr_tail,
        error_file=seen.error_file,
        log_paths=seen.log_paths,
        failed=exitcode != 0 or returned.error != "",
    )


def _classified(worker: Worker, seen: Seen, memory: OutOfMemory) -> tuple[Ending, str]:
    status = worker.status
    if seen.why:
        return Ending.PARENT_LOST, ""
    if seen.undying:
        return Ending.UNKILLABLE, seen.undying
    if os.WIFSIGNALED(status):
        foreign = os.WTERMSIG(status) == signal.SIGKILL and not seen.killed
        if foreign and (remark := memory.killed()):
            return Ending.OUT_OF_MEMORY, remark
        ending = Ending.CORE_DUMP if os.WCOREDUMP(status) else Ending.SIGNAL
    else:
        ending = Ending.EXIT
    beside = status != 0 and not seen.killed
    return ending, memory.beside() if beside else ""


def _left_by(worker: Worker, exitcode: int) -> tuple[Told, Value]:
    if exitcode != 0:
        return read_error_file(worker.error_file), Value()
    return Told(), read_value(worker.result) if worker.result else Value()
