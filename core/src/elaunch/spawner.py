"""The spawner port: start a node's workers, see each end, stop them by one schedule."""

import enum
import signal
from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from elaunch.binding import BindingSettings
from elaunch.feed import Feed
from elaunch.log_layout import LogLayout
from elaunch.notice import Notice
from elaunch.output import OutputSettings
from elaunch.provider import Provider
from elaunch.worker_message import OutputBlock
from elaunch.workers import WorkerEntry, WorkerExit, WorkerSpec


@attrs.frozen(kw_only=True)
class StopSchedule:
    """How workers are stopped, for every reason: notice, signal, grace, SIGKILL.

    Attributes:
        notice: What they are told before that, as `WorkerGroup.notify` does; `None` for
            nothing.
        signum: The first signal, sent to each worker's whole process group.
        grace: Seconds from the beginning to SIGKILL of the whole tree.
        stacks: Of these, seconds in which the stacks of the workers are written down
            before the first signal; 0 not to do it.
    """

    notice: Notice | None = None
    signum: int = signal.SIGTERM
    grace: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    stacks: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))


class StopStep(enum.StrEnum):
    """The steps of a stop, in order."""

    STACKS = "stacks"
    """Their stacks were written down; no signal was sent that ends anything."""
    NOTICE = "notice"
    SIGNAL = "signal"
    KILL = "kill"
    LEFT = "left"
    """These can't be killed: the kernel holds them."""


class OnStop(Protocol):
    """Told of each step of a stop as it is taken."""

    def __call__(
        self,
        step: StopStep,
        signum: int,
        pids: Sequence[int],
        files: Sequence[str] = (),
    ) -> None:
        """Take note of a step.

        Args:
            step: Which one.
            signum: The signal that went to their trees; 0 for none.
            pids: Process ids of those whom it concerns.
            files: The files that were written, for `StopStep.STACKS`.
        """


class WorkerGroup(Protocol):
    """The running workers of one node in one generation."""

    @property
    def pids(self) -> Mapping[int, int]:
        """Process id by local rank, of every worker that was started."""

    async def next_exit(self) -> WorkerExit:
        """Wait for the next worker to end, however it ends; each is told once.

        The exit comes after the worker's output was read to its end.
        """

    async def notify(self, notice: Notice) -> Sequence[int]:
        """Tell every worker of a notice, by a file and maybe a signal; none ends of it.

        The variable ``ELAUNCH_NOTICE_FILE`` of each worker names the file, which is
        there, whole, before the signal is sent. For a preemption
        `SpawnerParameters.notice_signal` goes to those of the worker's processes that
        handle it, once for each notice, where the system tells which these are.

        Returns:
            The processes that were sent the signal.
        """

    async def dump_stacks(self, seconds: float) -> Mapping[int, str]:
        """Write down where the live workers are, and what is below them.

        Nobody ends of it. For who is to be stopped after it: one that stands still by a
        signal may go on for a moment.

        Args:
            seconds: How long it may take for all of them together.

        Returns:
            The file of each, by local rank; none where it can't be done.
        """

    async def stop(self, schedule: StopSchedule, on_step: OnStop) -> None:
        """Stop every worker and everything they started; return when all are gone.

        A second call while one is under way kills at once. Exits are still told by
        `next_exit`. When it returns no process of the group is alive, but for those
        that were told as `StopStep.LEFT`.
        """

    async def close(self) -> None:
        """Release pipes and files. Kills what still runs. Twice is fine."""


class Spawner(Protocol):
    """Starts groups of workers, one after the other."""

    def prepare(self, entry: WorkerEntry) -> None:
        """Get ready to start workers, if there is anything to get ready.

        Called once, before the first `start` and before this process has an event
        loop or threads for the launch. Must not block.

        Raises:
            elaunch.errors.SpawnError: If it is known already that none can be started.
            elaunch.errors.UsageError: If the settings don't allow such an entry.
        """

    async def start(
        self, entry: WorkerEntry, workers: Sequence[WorkerSpec]
    ) -> WorkerGroup:
        """Start all workers or none.

        Raises:
            elaunch.errors.SpawnError: If one can't be started; those already started
                are killed first.
        """

    async def close(self) -> None:
        """Release what outlives groups. Twice is fine."""


class StartMethod(enum.StrEnum):
    """How a worker's process comes to be."""

    SPAWN = "spawn"
    """A fresh program, for scripts, functions and other programs alike."""
    FORK = "fork"
    """A copy of the launching process as it was before the launch; functions only."""
    FORKSERVER = "forkserver"
    """A copy of a server that has imported the preloaded modules; Python only."""
    WARM = "warm"
    """The same, by the name that says what it is for."""


@attrs.frozen(kw_only=True)
class StartSettings:
    """How workers are started.

    Attributes:
        method: How their processes come to be.
        preload: Modules that the server imports for `StartMethod.FORKSERVER` and
            `StartMethod.WARM`.
        preload_anyway: Whether to go on where the imports left something that does
            not survive a fork.
    """

    method: StartMethod = StartMethod.SPAWN
    preload: tuple[str, ...] = ()
    preload_anyway: bool = False


@attrs.frozen(kw_only=True)
class StackSettings:
    """Where workers' stacks are written down, and what is done for that beforehand.

    Attributes:
        prepare: Whether each worker is prepared to be asked before its own code begins;
            else only those are that prepare themselves (`elaunch.worker`), or that are
            prepared at no cost.
        directory: Where the files go, in a directory for each generation. Made when
            the first is written.
    """

    prepare: bool = False
    directory: str = ""


@attrs.frozen(kw_only=True)
class SpawnerParameters:
    """What every spawner is built with.

    Attributes:
        run_id: Id of the job.
        start: How workers are started.
        binding: Which CPUs they are bound to.
        stacks: Where their stacks go, and what is done for that beforehand.
        notice_signal: Signal that tells workers of a preemption, `None` for none.
        output: What becomes of their output.
        log_layout: Chooses the files for it; `None` where none can be wanted.
        output_feed: Told of what they write, wherever that goes, if anybody listens
            when a group is started: see `elaunch.worker_message.OutputBlock`.
    """

    run_id: str
    start: StartSettings = attrs.field(factory=StartSettings)
    binding: BindingSettings = attrs.field(factory=BindingSettings)
    stacks: StackSettings = attrs.field(factory=StackSettings)
    notice_signal: int | None = signal.SIGUSR1
    output: OutputSettings = attrs.field(factory=OutputSettings)
    log_layout: LogLayout | None = None
    output_feed: Feed[OutputBlock] = attrs.field(factory=Feed, repr=False)


SpawnerProvider = Provider[SpawnerParameters, Spawner]
