"""What a failed worker leaves behind, as one value, and how it reads on a screen.

A failure travels: from the spawner that saw the exit, through the rendezvous to every
node of the job, into the report that the user reads. It is plain data, so that the
same facts stand in all three places.
"""

import datetime as dt
import enum
import signal
from collections.abc import Sequence
from typing import Any

import attrs

from elaunch.text import printable


STDERR_TAIL_LINES = 20
"""How many last stderr lines of a failed worker are kept and shown."""

STACK_FILES = 8
"""How many files with stacks a failure names: what travels stays small."""


_KEPT = 1000
"""Characters of a text that a history keeps."""


class Ending(enum.StrEnum):
    """How a worker came to its end."""

    EXIT = "exit"
    """It ended by itself."""
    SIGNAL = "signal"
    """A signal ended it."""
    CORE_DUMP = "core-dump"
    """A signal ended it, and the kernel wrote its memory to a file."""
    OUT_OF_MEMORY = "out-of-memory"
    """The kernel killed it because there was no memory left."""
    UNKILLABLE = "unkillable"
    """It did not end: the kernel holds it, and not even SIGKILL reaches it."""
    PARENT_LOST = "parent-lost"
    """The process that had started it, and all others of its node, ended before it."""
    NO_VALUE = "no-value"
    """It ended with exit code 0, but its function gave no value."""
    UNHEALTHY = "unhealthy"
    """It was alive; a monitor found that it can't go on."""


class Request(enum.StrEnum):
    """What a worker, or a monitor, asks for beyond a restart."""

    NO_RESTART = "no-restart"
    """No restart can help."""
    EXCLUDE_NODE = "exclude-node"
    """The node of the worker is to be left out."""


_REMARKS = {
    Ending.CORE_DUMP: "core dumped",
    Ending.OUT_OF_MEMORY: "out of memory",
    Ending.UNKILLABLE: "still there",
    Ending.PARENT_LOST: "parent lost",
    Ending.NO_VALUE: "no value",
}
"""What the headline of a failure adds to exit code or signal."""


@attrs.frozen(kw_only=True)
class ProcessFailure:
    """One worker that ended badly.

    Attributes:
        rank: Global rank, -1 if the worker never got one, or it is about the node.
        local_rank: Rank among the workers of its node, -1 if it is about the node.
        role: Role of its node.
        host: Host name of its node.
        pid: Process id on that host, 0 if no process was started.
        exitcode: Exit status; ``-n`` for death by signal ``n``.
        timestamp: Unix time of the failure in seconds, by the clock of its host.
        ending: How it came to its end.
        message: What went wrong in one line, for example ``ValueError: boom``.
        location: ``file:line`` of the innermost frame of the exception, or empty.
        context: What lies behind the message, for example the first exception of a
            chain, or empty.
        traceback: The formatted Python traceback, or empty.
        stderr_tail: The last lines the worker wrote to stderr.
        error_file: Where the worker's error file is kept on that host; empty for
            nowhere.
        log_paths: Files on that host with the worker's output.
        node: The node it was on, as a job knows its nodes: the host, or the agent where
            several nodes of the job share a host. Empty until the coordinator knows.
        uptime: Seconds for which it had run; `None` if nobody knows.
        exception: Name of the exception's class, or empty.
        monitor: Name of the monitor that found it unhealthy, or empty.
        request: What it, or a monitor, asked for, if anything.
        stacks: Files on that host with the stacks of the node's workers, first its own;
            `STACK_FILES` at most.
    """

    rank: int
    local_rank: int
    role: str
    host: str
    pid: int
    exitcode: int
    timestamp: float
    ending: Ending = Ending.EXIT
    message: str = ""
    location: str = ""
    context: str = ""
    traceback: str = ""
    stderr_tail: tuple[str, ...] = ()
    error_file: str = ""
    log_paths: tuple[str, ...] = ()
    node: str = ""
    uptime: float | None = None
    exception: str = ""
    monitor: str = ""
    request: Request | None = None
    stacks: tuple[str, ...] = ()

    def trimmed(self) -> "ProcessFailure":
        """Return it without what only people read: its size is bounded."""
        return attrs.evolve(
            self,
            message=self.message[:_KEPT],
            location=self.location[:_KEPT],
            context=self.context[:_KEPT],
            traceback="",
            stderr_tail=(),
            error_file="",
            log_paths=(),
            stacks=(),
        )

    @property
    def is_of_node(self) -> bool:
        """Whether it is about the node, and no worker of it in particular."""
        return self.rank < 0 and self.local_rank < 0

    @property
    def who(self) -> str:
        """The worker, by its rank, or the node."""
        return "the node" if self.is_of_node else f"rank {self.rank}"

    @property
    def status(self) -> int:
        """The exit status a shell would show: the exit code, or 128 + signal."""
        return self.exitcode if self.exitcode >= 0 else 128 - self.exitcode

    def signal_name(self) -> str:
        """Return the name of the signal that ended the worker, or ``""``."""
        return signal_name(-self.exitcode) if self.exitcode < 0 else ""

    def end(self) -> str:
        """Return exit code or signal, and what is special about it."""
        if self.ending is Ending.UNHEALTHY:  # it had not ended, and has no exit code
            return self.ending.value
        remark = _REMARKS.get(self.ending)
        how = self.signal_name() or f"exit code {self.exitcode}"
        return f"{how} ({remark})" if remark else how

    def headline(self) -> str:
        """Return who failed and how, in one line."""
        if self.is_of_node:
            return f"the node on host {self.host!r}, role {self.role!r}: {self.end()}"
        return (
            f"rank {self.rank} (local rank {self.local_rank}, role {self.role!r}) "
            f"on host {self.host!r}, pid {self.pid}: {self.end()}"
        )

    def time(self) -> str:
        """Return when it failed, in UTC, to the millisecond."""
        try:
            when = dt.datetime.fromtimestamp(self.timestamp, dt.UTC)
        except (ValueError, OverflowError, OSError):
            return f"{self.timestamp} s"
        return when.isoformat(timespec="milliseconds")

    def timestamp_isoformat(self) -> str:
        """Return when it failed, as torchelastic writes it: in local time."""
        return dt.datetime.fromtimestamp(self.timestamp).isoformat(sep="_")  # noqa: DTZ006 - local time is what is asked for

    @property
    def error_file_data(self) -> dict[str, Any]:
        """The error in the form that torchelastic gives it in an error file."""
        return {
            "message": {
                "message": self.message,
                "extraInfo": {
                    "py_callstack": self.traceback,
                    "timestamp": str(int(self.timestamp)),
                    "unix_time": self.timestamp,
                },
            }
        }

    def render(self) -> str:
        """Return the failure as the block of text that a report shows.

        What the worker wrote can't do anything to the terminal that shows it.
        """
        lines = [self.headline()]
        facts = {
            "time": self.time(),
            "error": self.message,
            "at": self.location,
            "behind it": self.context,
            "error file": self.error_file,
            "output": ", ".join(self.log_paths),
            "stacks": _first_of(self.stacks),
        }
        lines += [f"  {name}: {fact}" for name, fact in facts.items() if fact]
        if self.stderr_tail:
            lines.append(f"  last {_count(len(self.stderr_tail), 'line')} of stderr:")
            lines.extend(f"    {line}" for line in self.stderr_tail)
        elif self.traceback:
            lines.extend(f"    {line}" for line in self.traceback.splitlines())
        return "\n".join(map(printable, lines))


def ending_of(exitcode: int) -> Ending:
    """Return what an exit code alone says about the end."""
    return Ending.EXIT if exitcode >= 0 else Ending.SIGNAL


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9, or ``signal 99`` for a number without a name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def root_cause(failures: Sequence[ProcessFailure]) -> ProcessFailure:
    """Return the first failure by time; on a tie, the one that was reported first.

    Raises:
        ValueError: If there is no failure to choose from.
    """
    return min(failures, key=lambda failure: failure.timestamp)


def summary(failures: Sequence[ProcessFailure]) -> list[str]:
    """Return a line for each host's failures that say the same, in order of ranks."""
    alike: dict[tuple[str, str, str], list[ProcessFailure]] = {}
    for failure in sorted(failures, key=lambda failure: failure.rank):
        key = (failure.host, failure.end(), failure.message)
        alike.setdefault(key, []).append(failure)
    return [printable(_said(same)) for same in alike.values()]


def _said(same: Sequence[ProcessFailure]) -> str:
    first = same[0]
    message = f": {first.message}" if first.message else ""
    if len(same) == 1:
        return first.headline() + message
    ranks = ranges([failure.rank for failure in same])
    return f"ranks {ranks} on host {first.host!r}: {first.end()}{message}"


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers as ``0-2, 5``."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]}-{r[-1]}" if len(r) > 1 else f"{r[0]}" for r in runs)


def _first_of(files: Sequence[str]) -> str:
    """Return one of some files, and how many there are beside it."""
    if len(files) < 2:  # noqa: PLR2004 - one, or none
        return "".join(files)
    return f"{files[0]} and {_count(len(files) - 1, 'file')} beside it"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"
