"""Values about workers: what to start, where each one stands, how it ended."""

import signal
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from elaunch.failures import (
    STDERR_TAIL_LINES,
    Ending,
    ProcessFailure,
    ending_of,
    signal_name,
)
from elaunch.templates import render
from elaunch.text import without_colours


if TYPE_CHECKING:  # needed only where a worker failed
    from elaunch.explanations import Explanation


@attrs.frozen
class CommandEntry:
    """Workers that run a program.

    Attributes:
        argv: Program and arguments, which may be templates (`elaunch.templates`).
        name: What reports call it, for example the script's file name.
    """

    argv: tuple[str, ...]
    name: str

    def rendered(self, names: Mapping[str, str]) -> "CommandEntry":
        """Return it as the worker runs it that these values of names belong to."""
        return attrs.evolve(self, argv=_all_rendered(self.argv, names))


@attrs.frozen
class FunctionEntry:
    """Workers that call a Python function and hand back what it returns.

    Attributes:
        function: The function; it and its arguments must survive cloudpickle.
        args: Positional arguments, the same for each worker.
        name: What reports call it.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    name: str


_RUN_PATH = (
    "import runpy, sys; del sys.argv[0]; "
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)


@attrs.frozen
class ScriptEntry:
    """Workers that run a Python script or module.

    Attributes:
        target: Path of the script, or name of the module.
        args: Its arguments, which may be templates (`elaunch.templates`).
        name: What reports call it.
        module: Whether the target is a module, as for ``python -m``.
        run_path: Whether a script is run by `runpy.run_path`.
    """

    target: str
    args: tuple[str, ...]
    name: str
    module: bool = False
    run_path: bool = False

    def command(self) -> tuple[str, ...]:
        """Return the command that runs it in an interpreter of its own."""
        target: tuple[str, ...] = (self.target,)
        if self.module:
            target = ("-m", self.target)
        elif self.run_path:
            target = ("-c", _RUN_PATH, self.target)
        return (sys.executable, "-u", *target, *self.args)

    def rendered(self, names: Mapping[str, str]) -> "ScriptEntry":
        """Return it as the worker runs it that these values of names belong to."""
        return attrs.evolve(self, args=_all_rendered(self.args, names))


def _all_rendered(
    templates: tuple[str, ...], names: Mapping[str, str]
) -> tuple[str, ...]:
    return tuple(render(template, names) for template in templates)


WorkerEntry = CommandEntry | ScriptEntry | FunctionEntry
"""What workers run."""


@attrs.frozen(kw_only=True)
class WorkerRanks:
    """Where one worker stands in its generation.

    Attributes:
        local_rank: Among the workers of its node, from 0.
        rank: Among all workers, from 0 (global rank).
        role_rank: Among all workers of its role, from 0.
    """

    local_rank: int
    rank: int
    role_rank: int


@attrs.frozen(kw_only=True)
class WorkerSpec:
    """One worker to start.

    Attributes:
        ranks: Where it stands.
        environment: Variables to add to what `inherited_environment` leaves of the
            agent's own environment.
        role: Role of its node.
        label: Prefix of its output lines on the console; empty for none.
        names: Value of each name that a template can use (`elaunch.templates`).
        guessed: Those variables of ``environment`` that nobody asked for. A spawner
            that knows better, since it binds the worker to some CPUs, changes them.
    """

    ranks: WorkerRanks
    environment: Mapping[str, str]
    role: str
    label: str = ""
    names: Mapping[str, str] = attrs.field(factory=dict)
    guessed: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class WorkerExit:
    """How one worker ended.

    Attributes:
        ranks: Where it stood.
        pid: Its process id.
        exitcode: Exit status; ``-n`` for death by signal ``n``.
        timestamp: Unix time in seconds at which it failed, or the exit was seen.
        ending: How it came to its end.
        remark: What is known about that end beyond it, in one line, for example whose
            limit of memory was reached; or empty.
        value: What its function returned; `None` for commands.
        message: The error of a worker that failed, in one line; empty if nothing
            but the exit code is known.
        location: ``file:line`` of that error, or empty.
        traceback: Formatted traceback of that error, or empty.
        stderr_tail: The last lines it wrote to stderr.
        error_file: Where the error file that it wrote is kept; empty for nowhere.
        log_paths: Files with its output.
        uptime: Seconds for which it ran until ``timestamp``; `None` if nobody knows.
        failed: Whether this end is a failure. An exit code other than 0 always is;
            exit code 0 is one where a function gave no value.
    """

    ranks: WorkerRanks
    pid: int
    exitcode: int
    timestamp: float
    ending: Ending = attrs.field()
    remark: str = ""
    value: Any = None
    message: str = ""
    location: str = ""
    traceback: str = ""
    stderr_tail: tuple[str, ...] = ()
    error_file: str = ""
    log_paths: tuple[str, ...] = ()
    uptime: float | None = None
    failed: bool = attrs.field()

    @ending.default
    def _ending_by_code(self) -> Ending:
        return ending_of(self.exitcode)

    @failed.default
    def _failed_by_code(self) -> bool:
        return self.exitcode != 0


def tells_error(ended: WorkerExit) -> bool:
    """Whether the worker itself left an error, in a file or on stderr."""
    from elaunch.explanations import explain

    return bool(ended.message or explain(ended.stderr_tail).message)


_LAST_LINE_LIMIT = 300
"""Characters of the last stderr line that become part of a message."""

_FROM_OUTSIDE = (-signal.SIGKILL, -signal.SIGTERM)
"""Ends that no error on stderr brings about by itself."""


def by_its_error(ended: WorkerExit) -> WorkerExit:
    """Return how a worker would have ended that was stopped after its own error.

    Between its error and its end it may tidy up for long. What ended it is the error,
    and Python's exit code for that is 1.
    """
    if not ended.message or ended.exitcode not in _FROM_OUTSIDE:
        return ended
    return attrs.evolve(ended, exitcode=1, ending=Ending.EXIT)


def failure_of(ended: WorkerExit, *, role: str, host: str) -> ProcessFailure:
    """Turn a bad end into the failure that is reported to the job.

    Facts that the worker itself left (an error file, a function's exception) win over
    what its last stderr lines show; with neither, the signal or exit code is the
    message, the latter with the last line of stderr. Where somebody else ended the
    worker, that is the message, and an error that it wrote before stands behind it.
    """
    from elaunch.explanations import without_launcher_frames

    told = _told(ended)
    lines = without_launcher_frames(ended.stderr_tail)
    traceback = without_launcher_frames(told.traceback.splitlines())
    return ProcessFailure(
        rank=ended.ranks.rank,
        local_rank=ended.ranks.local_rank,
        role=role,
        host=host,
        pid=ended.pid,
        exitcode=ended.exitcode,
        timestamp=ended.timestamp,
        ending=ended.ending,
        message=told.message,
        location=told.location,
        context=told.context,
        traceback="\n".join(traceback),
        stderr_tail=lines[-STDERR_TAIL_LINES:],
        error_file=ended.error_file,
        log_paths=ended.log_paths,
        uptime=ended.uptime,
        exception=told.exception,
    )


def _told(ended: WorkerExit) -> "Explanation":
    from elaunch.explanations import (
        Explanation,
        class_in,
        described,
        explain,
        without_launcher_frames,
    )

    lines = ended.traceback.splitlines() or ended.stderr_tail
    seen = explain(without_launcher_frames(lines))
    if ended.message:
        seen = attrs.evolve(
            seen,
            message=ended.message,
            # The worker's own word has the class without its module.
            exception=seen.exception or class_in(ended.message),
            location=ended.location or seen.location,
            traceback=ended.traceback or seen.traceback,
        )
    bare = _bare_message(ended)
    if ended.ending is Ending.PARENT_LOST:
        return attrs.evolve(seen, context=seen.context or ended.remark)
    if ended.exitcode in _FROM_OUTSIDE and seen.message:
        before = described(seen.message, seen.location)
        return Explanation(bare, context=f"its last error was {before}")
    if not seen.message:
        line = _last_line(ended) if ended.exitcode > 0 else ""
        if line:
            bare, context = f"{_end(ended)}: {line}", seen.context or ended.remark
            return attrs.evolve(seen, message=bare, context=context)
        return attrs.evolve(seen, message=bare)
    return attrs.evolve(seen, context=seen.context or ended.remark)


def _bare_message(ended: WorkerExit) -> str:
    end = _end(ended)
    return f"{end}: {ended.remark}" if ended.remark else end


def _end(ended: WorkerExit) -> str:
    if ended.exitcode < 0:
        return f"killed by {signal_name(-ended.exitcode)}"
    return f"ended with exit code {ended.exitcode}"


def _last_line(ended: WorkerExit) -> str:
    """Return the last line of stderr that is not blank: often it says what is wrong."""
    lines = (without_colours(line).strip() for line in reversed(ended.stderr_tail))
    return next(filter(None, lines), "")[:_LAST_LINE_LIMIT]
