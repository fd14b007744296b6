"""One worker of a group, from its start to its end."""

import asyncio
import signal
from pathlib import Path

import attrs

from elaunch.api import WorkerSpec


STACK_SIGNAL = int(getattr(signal, "SIGRTMIN", 0)) and int(signal.SIGRTMIN) + 9
"""What asks a worker for its stacks; a real-time signal, since programs have uses of
their own for the others. 0 where the system has none.
"""


@attrs.frozen
class BoundWorker:
    """A worker and its CPUs.

    Attributes:
        spec: What to start; its number of threads, where it was guessed, fits.
        cpus: Numbers of the CPUs that it may use; `None` for those of the agent.
    """

    spec: WorkerSpec
    cpus: frozenset[int] | None = None


@attrs.define(eq=False, repr=False)
class Worker:
    """One worker that was asked for.

    Attributes:
        spec: What was asked for.
        error_file: Where it may leave its error.
        notice_file: Where it finds notices.
        stack_file: Where it writes its stacks when it is asked; what of it can be asked
            makes the file.
        result: Where its function's value will be; `None` for a command.
        cpus: Numbers of the CPUs that it is bound to; `None` for none.
        has_terminal: Whether it has the agent's terminal for its own.
        pid: Id of its leading process, 0 before it is started.
        began: When it was started, by the loop's clock.
        status: Wait status of that process, once it was reaped.
        gone: Set when the leading process was reaped.
        read: Set when its output was read to the end.
    """

    spec: WorkerSpec
    error_file: Path
    notice_file: Path
    stack_file: Path
    result: Path | None
    cpus: frozenset[int] | None = None
    has_terminal: bool = attrs.field(default=False, init=False)
    pid: int = attrs.field(default=0, init=False)
    began: float = attrs.field(default=0.0, init=False)
    status: int = attrs.field(default=0, init=False)
    gone: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)
    read: asyncio.Event = attrs.field(factory=asyncio.Event, init=False)

    @property
    def rank(self) -> int:
        """Its local rank."""
        return self.spec.ranks.local_rank

    @property
    def live(self) -> bool:
        """Whether its leading process runs."""
        return self.pid != 0 and not self.gone.is_set()
