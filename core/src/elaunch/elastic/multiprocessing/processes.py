"""A group of processes of this host for programs that block: start, wait, close.

Below is the spawner that agents use (`elaunch.api.Spawner`), on a loop in a thread of
its own. So nothing is polled, and no process is left, whatever becomes of this one.
"""

import asyncio
import concurrent.futures
import os
import shlex
import shutil
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import attrs

from elaunch.binding import BindingSettings, NumaBinding, mode_of
from elaunch.elastic.multiprocessing.logs_specs import LogsDest
from elaunch.elastic.multiprocessing.loop_thread import LoopThread
from elaunch.errors import UsageError
from elaunch.failures import ProcessFailure
from elaunch.log_layout import LogLayoutParameters
from elaunch.output import OutputSettings, texts
from elaunch.plugins import load_plugins
from elaunch.spawner import (
    Spawner,
    SpawnerParameters,
    StartMethod,
    StartSettings,
    StopSchedule,
    StopStep,
    WorkerGroup,
)
from elaunch.workers import (
    CommandEntry,
    FunctionEntry,
    WorkerEntry,
    WorkerExit,
    WorkerRanks,
    WorkerSpec,
    failure_of,
)


T = TypeVar("T")

RUN_ID = "processes"

GRACE = 30.0
"""Seconds that the others get between SIGTERM and SIGKILL when one has failed."""

_RANK = "_ELAUNCH_PROCESS"
_WORDS = "_ELAUNCH_WORDS"

_OWN_WORDS = ("/bin/sh", "-c", f'w=${_WORDS}; unset {_WORDS}; eval "exec $w"')
"""Runs the command of one process where each has another."""


class _Specs(Protocol):
    """Logs specs: torchelastic's or ours."""

    def reify(self, envs: dict[int, dict[str, str]]) -> Any:
        """Return a ``LogsDest``."""


@attrs.frozen
class RunProcsResult:
    """How the processes of a group ended.

    Attributes:
        return_values: What functions returned, by local rank; `None` for programs.
        failures: The failures, by local rank.
        stdouts: File of each stdout; empty for the console.
        stderrs: File of each stderr, likewise.
    """

    return_values: Mapping[int, Any] = attrs.field(factory=dict)
    failures: Mapping[int, ProcessFailure] = attrs.field(factory=dict)
    stdouts: Mapping[int, str] = attrs.field(factory=dict)
    stderrs: Mapping[int, str] = attrs.field(factory=dict)

    def is_failed(self) -> bool:
        """Return whether any has failed."""
        return bool(self.failures)


@attrs.frozen
class _OwnCall:
    """Calls a function with the arguments of the process that it runs in."""

    function: Callable[..., Any]
    args: Mapping[int, tuple[Any, ...]]

    def __call__(self) -> Any:
        return self.function(*self.args[int(os.environ.pop(_RANK))])


@attrs.define(eq=False)
class _Asked:
    """Logs specs that remember what they chose."""

    specs: _Specs
    chosen: Any = attrs.field(factory=LogsDest, init=False)

    def reify(self, envs: dict[int, dict[str, str]]) -> Any:
        self.chosen = self.specs.reify(envs)
        return self.chosen


class PContext:
    """A group of processes; `start_processes` makes and starts one.

    All succeed, or the first that fails ends the others. All methods block.

    Args:
        name: What the group is called.
        entrypoint: A function, or the path of a program.
        args: Its arguments, by local rank.
        envs: Variables to add to each process's environment, by local rank.
        logs_specs: Chooses the files of their output.
        log_line_prefixes: What each line begins with on the console, by local rank;
            by default ``[<name><local rank>]:``.
        start_method: How the processes of a function come to be.
        numa_options: How they are bound to CPUs.
        duplicate_stdout_filters: Lines with one of these texts are also written to a
            file of their own.
        duplicate_stderr_filters: Likewise for stderr.

    Raises:
        UsageError: If ``args`` and ``envs`` are not for the same local ranks, from 0.
        FileNotFoundError: If there is no such program.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the signature that torchelastic's users know
        self,
        name: str,
        entrypoint: Callable[..., Any] | str,
        args: Mapping[int, tuple[Any, ...]],
        envs: Mapping[int, Mapping[str, str]],
        logs_specs: _Specs,
        log_line_prefixes: Mapping[int, str] | None = None,
        start_method: str = "spawn",
        numa_options: Any = None,
        duplicate_stdout_filters: Sequence[str] | None = None,
        duplicate_stderr_filters: Sequence[str] | None = None,
    ) -> None:
        if not args:
            raise UsageError("args are by local rank, for one process at least")
        ranks = list(range(len(args)))
        for what, given in (("args", args), ("envs", envs)):
            if sorted(given) != ranks:
                raise UsageError(
                    f"{what} are by local rank, here from 0 to {len(args) - 1}, not "
                    f"for {sorted(given)}"
                )
        if isinstance(entrypoint, str) and not shutil.which(entrypoint):
            raise FileNotFoundError(f"there is no program {entrypoint!r}")
        self.name = name
        self.entrypoint = entrypoint
        self.args = args
        self.envs = envs
        self.nprocs = len(args)
        self._specs = _Asked(logs_specs)
        self._prefixes = log_line_prefixes or {}
        self._output = OutputSettings(
            duplicate_stdout_filters=texts(duplicate_stdout_filters),
            duplicate_stderr_filters=texts(duplicate_stderr_filters),
        )
        mode = mode_of(numa_options)
        self._binding = BindingSettings(mode=NumaBinding(mode) if mode else None)
        method = "spawn" if isinstance(entrypoint, str) else start_method
        self._method = StartMethod(method)
        self._group: WorkerGroup | None = None
        self._spawner: Spawner | None = None
        self._thread: LoopThread | None = None
        self._exits: dict[int, WorkerExit] = {}
        self._over: concurrent.futures.Future[None] | None = None
        # A handler of a signal may close what the same thread is closing.
        self._closing = threading.RLock()

    @property
    def stdouts(self) -> Mapping[int, str]:
        """File of each stdout; empty for the console."""
        return dict(self._specs.chosen.stdouts)

    @property
    def stderrs(self) -> Mapping[int, str]:
        """File of each stderr, likewise."""
        return dict(self._specs.chosen.stderrs)

    @property
    def error_files(self) -> Mapping[int, str]:
        """Where the error of each process is kept."""
        return dict(self._specs.chosen.error_files)

    @property
    def filtered_stdout(self) -> str:
        """File of the lines of stdout that the filters choose."""
        return str(self._specs.chosen.filtered_stdout)

    @property
    def filtered_stderr(self) -> str:
        """File of the lines of stderr that the filters choose."""
        return str(self._specs.chosen.filtered_stderr)

    def start(self) -> None:
        """Start all processes, or none; once.

        Raises:
            UsageError: If they were started already.
            SpawnError: If one can't be started.
        """
        if self._thread:
            raise UsageError(f"the processes {self.name!r} were started already")
        plugins = load_plugins()
        layout = plugins.log_layouts.create(
            "logs-specs",
            LogLayoutParameters(run_id=RUN_ID, output=self._output, specs=self._specs),
            {},
        )
        params = SpawnerParameters(
            run_id=RUN_ID,
            start=StartSettings(method=self._method),
            binding=self._binding,
            notice_signal=None,
            output=self._output,
            log_layout=layout,
        )
        self._spawner = spawner = plugins.spawners.create("local", params, {})
        entry = self._entry()
        spawner.prepare(entry)  # before there is a thread
        self._thread = thread = LoopThread()
        try:
            self._group = thread.ask(spawner.start(entry, self._workers()))
        except BaseException:
            self.close()
            raise
        self._over = thread.begin(self._watch(self._group))

    def _entry(self) -> WorkerEntry:
        args = list(self.args.values())
        alike = all(given == args[0] for given in args)
        if not isinstance(self.entrypoint, str):
            call = _OwnCall(self.entrypoint, dict(self.args))
            return FunctionEntry(call, (), name=self.name)
        words = (self.entrypoint, *map(str, args[0])) if alike else _OWN_WORDS
        return CommandEntry(tuple(words), name=self.name)

    def _workers(self) -> list[WorkerSpec]:
        return [
            WorkerSpec(
                ranks=WorkerRanks(local_rank=rank, rank=rank, role_rank=rank),
                environment={**self.envs[rank], **self._own(rank)},
                role=self.name,
                label=self._prefixes.get(rank, f"[{self.name}{rank}]:"),
            )
            for rank in range(self.nprocs)
        ]

    def _own(self, rank: int) -> dict[str, str]:
        """Return what tells a process which of the group it is."""
        if not isinstance(self.entrypoint, str):
            return {_RANK: str(rank)}
        return {_WORDS: shlex.join((self.entrypoint, *map(str, self.args[rank])))}

    async def _watch(self, group: WorkerGroup) -> None:
        """See every end; the first failure ends the others."""
        stopping: asyncio.Task[None] | None = None
        for _ in range(self.nprocs):
            ended = await group.next_exit()
            self._exits[ended.ranks.local_rank] = ended
            if ended.failed and not stopping:
                schedule = StopSchedule(grace=GRACE)
                stopping = asyncio.create_task(group.stop(schedule, _unheard))
        if stopping:
            await stopping

    def pids(self) -> dict[int, int]:
        """Return the process ids, by local rank; empty before the start."""
        return dict(self._group.pids) if self._group else {}

    def wait(self, timeout: float = -1) -> RunProcsResult | None:
        """Wait until all have succeeded, or one has failed and all have ended.

        Args:
            timeout: Seconds; 0 looks only once, less than 0 is for ever.

        Returns:
            How they ended; `None` if they run on.

        Raises:
            UsageError: If they were not started.
        """
        if self._over is None:
            raise UsageError(f"the processes {self.name!r} were not started")
        try:
            self._over.result(None if timeout < 0 else timeout)
        except TimeoutError:
            return None
        result = self._result()
        self.close()
        return result

    def _result(self) -> RunProcsResult:
        bad = {rank: end for rank, end in self._exits.items() if end.failed}
        values = {} if bad else {r: end.value for r, end in self._exits.items()}
        host = os.uname().nodename
        return RunProcsResult(
            return_values=dict(sorted(values.items())),
            failures={
                rank: failure_of(end, role=self.name, host=host)
                for rank, end in sorted(bad.items())
            },
            stdouts=self.stdouts,
            stderrs=self.stderrs,
        )

    def close(self, death_sig: int | None = None, timeout: float = GRACE) -> None:
        """End whatever still runs, and release everything. Twice is fine, also at once.

        Args:
            death_sig: The first signal; SIGTERM by default.
            timeout: Seconds between it and SIGKILL.
        """
        schedule = StopSchedule(
            signum=signal.SIGTERM if death_sig is None else death_sig, grace=timeout
        )
        with self._closing:
            thread, spawner = self._thread, self._spawner
            if thread and spawner and not thread.ended:
                thread.ask(self._close(spawner, schedule))
                thread.end()

    async def _close(self, spawner: Spawner, schedule: StopSchedule) -> None:
        if self._group:
            await self._group.stop(schedule, _unheard)
            if self._over:
                await asyncio.wait((asyncio.wrap_future(self._over),))
            await self._group.close()
        await spawner.close()


def start_processes(  # noqa: PLR0913, PLR0917 - the signature that torchelastic's users know
    name: str,
    entrypoint: Callable[..., Any] | str,
    args: Mapping[int, tuple[Any, ...]],
    envs: Mapping[int, Mapping[str, str]],
    logs_specs: _Specs,
    log_line_prefixes: Mapping[int, str] | None = None,
    start_method: str = "spawn",
    numa_options: Any = None,
    duplicate_stdout_filters: Sequence[str] | None = None,
    duplicate_stderr_filters: Sequence[str] | None = None,
) -> PContext:
    """Start a group of processes; see `PContext` for arguments and errors.

    Raises:
        SpawnError: If one can't be started; none runs then.
    """
    context = PContext(
        name,
        entrypoint,
        args,
        envs,
        logs_specs,
        log_line_prefixes,
        start_method,
        numa_options,
        duplicate_stdout_filters,
        duplicate_stderr_filters,
    )
    context.start()
    return context


def _unheard(
    step: StopStep, signum: int, pids: Sequence[int], files: Sequence[str] = ()
) -> None:
    """Whoever waits for the processes learns of their ends."""
