"""What a failed worker leaves behind, as one value, and how it reads on a screen.

A failure travels: from the spawner that saw the exit, through the rendezvous to every
node of the job, into the report that the user reads. It is plain data, so that the
same facts stand in all three places.
"""

import datetime as dt
import re
import signal
from collections.abc import Sequence

import attrs


STDERR_TAIL_LINES = 20
"""How many last stderr lines of a failed worker are kept and shown."""

_EXCEPTION = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?$")
_FRAME = re.compile(r'^\s+File "(?P<file>.+)", line (?P<line>\d+)')
_TRACEBACK = "Traceback (most recent call last):"


@attrs.frozen(kw_only=True)
class ProcessFailure:
    """One worker that ended badly.

    Attributes:
        rank: Global rank, -1 if the worker never got one.
        local_rank: Rank among the workers of its node.
        role: Role of its node.
        host: Host name of its node.
        pid: Process id on that host, 0 if no process was started.
        exitcode: Exit status; ``-n`` for death by signal ``n``.
        timestamp: Unix time of the failure in seconds, by the clock of its host.
        message: What went wrong in one line, for example ``ValueError: boom``.
        location: ``file:line`` of the innermost frame of the exception, or empty.
        traceback: The formatted Python traceback, or empty.
        stderr_tail: The last lines the worker wrote to stderr.
        error_file: Path of the worker's error file, or empty if it wrote none.
    """

    rank: int
    local_rank: int
    role: str
    host: str
    pid: int
    exitcode: int
    timestamp: float
    message: str = ""
    location: str = ""
    traceback: str = ""
    stderr_tail: tuple[str, ...] = ()
    error_file: str = ""

    @property
    def status(self) -> int:
        """The exit status a shell would show: the exit code, or 128 + signal."""
        return self.exitcode if self.exitcode >= 0 else 128 - self.exitcode

    def signal_name(self) -> str:
        """Return the name of the signal that ended the worker, or ``""``."""
        return signal_name(-self.exitcode) if self.exitcode < 0 else ""

    def headline(self) -> str:
        """Return who failed and how, in one line."""
        how = self.signal_name() or f"exit code {self.exitcode}"
        return (
            f"rank {self.rank} (local rank {self.local_rank}, role {self.role!r}) "
            f"on host {self.host!r}, pid {self.pid}: {how}"
        )

    def render(self) -> str:
        """Return the failure as the block of text that a report shows."""
        when = dt.datetime.fromtimestamp(self.timestamp, dt.UTC)
        lines = [self.headline(), f"  time: {when.isoformat(timespec='milliseconds')}"]
        if self.message:
            lines.append(f"  error: {self.message}")
        if self.location:
            lines.append(f"  at: {self.location}")
        if self.error_file:
            lines.append(f"  error file: {self.error_file}")
        if self.stderr_tail:
            lines.append(f"  last {len(self.stderr_tail)} lines of stderr:")
            lines.extend(f"    {line}" for line in self.stderr_tail)
        elif self.traceback:
            lines.extend(f"    {line}" for line in self.traceback.splitlines())
        return "\n".join(lines)


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


@attrs.frozen
class Explanation:
    """What the last stderr lines of a Python process say about its end."""

    message: str = ""
    location: str = ""
    traceback: str = ""


def explain(stderr_tail: Sequence[str]) -> Explanation:
    """Read exception, place and traceback from what a process last wrote to stderr.

    Understands the interpreter's own traceback format, so that a script needs no
    decorator to be understood. Whatever is written after the traceback (exit hooks,
    resource warnings) is passed over.
    """
    start = _last_traceback(stderr_tail)
    if start is None:
        return Explanation()
    block = [stderr_tail[start]]
    location = ""
    for line in stderr_tail[start + 1 :]:
        block.append(line)
        frame = _FRAME.match(line)
        if frame:
            location = f"{frame['file']}:{frame['line']}"
        elif line and not line[0].isspace():
            found = _EXCEPTION.match(line)
            message = line.strip() if found else ""
            return Explanation(message, location, "\n".join(block))
    return Explanation("", location, "\n".join(block))


def _last_traceback(lines: Sequence[str]) -> int | None:
    for index in range(len(lines) - 1, -1, -1):
        if lines[index].strip() == _TRACEBACK:
            return index
    return None
