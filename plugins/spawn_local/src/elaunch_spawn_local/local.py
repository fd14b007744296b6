"""The spawner `local`."""

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from elaunch.api import (
    BindingSettings,
    CommandEntry,
    Feed,
    FunctionEntry,
    LogLayout,
    LogLayoutParameters,
    OutputBlock,
    OutputSettings,
    ScriptEntry,
    SpawnError,
    StackSettings,
    StartMethod,
    StartSettings,
    WorkerEntry,
    WorkerSpec,
    inherited_environment,
)
from elaunch_spawn_local import stack_signal
from elaunch_spawn_local.fork_server.client import ForkServer, NotStarted, ServerLost
from elaunch_spawn_local.group import LocalGroup
from elaunch_spawn_local.notices import NOTICE_FILE, Notices
from elaunch_spawn_local.oom import OutOfMemory
from elaunch_spawn_local.output.output import Output
from elaunch_spawn_local.refusals import REMEDIES, program_of, reason, remedy
from elaunch_spawn_local.serving import fitting, new_server, ready
from elaunch_spawn_local.worker import STACK_SIGNAL, BoundWorker, Worker


if TYPE_CHECKING:
    from elaunch_spawn_local.cpus.binding import Binder


_T = TypeVar("_T")

ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
CALL = "call.pickle"


@attrs.define(eq=False, repr=False)
class LocalSpawner:
    """Starts workers as processes of this host; see `elaunch.api.Spawner`.

    Args:
        run_id: Id of the job.
        settings: How to start workers.
        binding: Which CPUs to bind them to.
        stacks: Where their stacks go, and whether they are prepared to be asked.
        notice_signal: What tells them of a preemption, `None` for nothing.
        output: What becomes of their output.
        layout: Chooses the files for it; `None` for the usual ones.
        output_feed: Told of what they write.
    """

    _run_id: str
    _settings: StartSettings = attrs.field(factory=StartSettings)
    _binding: BindingSettings = attrs.field(factory=BindingSettings)
    _stacks: StackSettings = attrs.field(factory=StackSettings)
    _notice_signal: int | None = signal.SIGUSR1
    _output: OutputSettings = attrs.field(factory=OutputSettings)
    _layout: LogLayout | None = None
    _output_feed: Feed[OutputBlock] = attrs.field(factory=Feed)
    _binder: "Binder | None" = attrs.field(default=None, init=False)
    _server: ForkServer | None = attrs.field(default=None, init=False)
    _directory: Path | None = attrs.field(default=None, init=False)
    _lock: int | None = attrs.field(default=None, init=False)
    _group: LocalGroup | None = attrs.field(default=None, init=False)

    def prepare(self, entry: WorkerEntry) -> None:
        """Start the fork server, which gets ready while the nodes meet.

        Raises:
            SpawnError: If it can't be started.
            UsageError: If the entry can't be started by the method that was chosen.
        """
        self._settings = fitting(self._settings, entry)
        if self._server is None:
            try:
                self._server = new_server(self._settings, entry)
            except OSError as error:
                raise SpawnError(
                    f"can't start the fork server of {entry.name!r}: {error}"
                    f"{remedy(error)}"
                ) from error

    async def start(
        self, entry: WorkerEntry, workers: Sequence[WorkerSpec]
    ) -> LocalGroup:
        """Start all workers or none; one group at a time.

        Raises:
            SpawnError: If one can't be started; those already started are killed first.
        """
        if self._group and not self._group.closed:
            raise SpawnError("the group before is still open; close it first")
        server = await self._ready_server(entry)
        bound, directory, memory = await _to_its_end(self._get_ready, workers)
        if self._directory:
            server.keep_house(str(self._directory))
        in_memory = self._settings.method is StartMethod.FORK
        if isinstance(entry, FunctionEntry) and not in_memory:
            from elaunch_spawn_local.function_call import write_call

            await _to_its_end(write_call, entry, directory / CALL)
        mark = os.fsencode(f"{ERROR_FILE}={directory}{os.sep}")
        self._group = group = self._new_group(
            server, directory, mark, memory, entry.name
        )
        group.stack_directory = Path(self._stacks.directory)
        try:
            await asyncio.to_thread(group.output.prepare, workers)
            await self._start_all(server, entry, bound, directory, group)
            _begin(group, entry.name)
        except BaseException:
            await group.close()
            raise
        return group

    async def close(self) -> None:
        """Close the group if it is open, end the server. Twice is fine."""
        if self._group:
            await self._group.close()
            self._group = None
        if self._directory is not None:  # before the server ends, which else would
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
            self._directory = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._server:
            await self._server.close()
            self._server = None

    def _new_group(
        self,
        server: ForkServer,
        directory: Path,
        mark: bytes,
        memory: OutOfMemory,
        name: str,
    ) -> LocalGroup:
        if self._layout is None:
            from elaunch_spawn_local.output.layout import DefaultLayout

            parameters = LogLayoutParameters(run_id=self._run_id, output=self._output)
            self._layout = DefaultLayout(parameters)
        new_output = functools.partial(
            Output, self._output, self._layout, self._output_feed
        )
        notices = Notices(self._notice_signal)
        try:
            return LocalGroup(server, directory, mark, notices, memory, new_output)
        except OSError as error:
            raise SpawnError(
                f"can't start {name!r}: {error}; {REMEDIES[errno.EMFILE]}"
            ) from error

    async def _ready_server(self, entry: WorkerEntry) -> ForkServer:
        """Return a server that serves, a new one if the last one is gone."""
        if self._server and self._server.lost:
            if self._settings.method is StartMethod.FORK:
                raise SpawnError(
                    f"the fork server of {entry.name!r} is gone, and this process is "
                    f"not what it was before the launch; use 'spawn' or 'warm'"
                )
            await self._server.close()
            self._server = None
        self.prepare(entry)
        assert self._server  # noqa: S101 - for mypy: `prepare` has seen to it
        await ready(self._server, entry)
        return self._server

    def _get_ready(
        self, workers: Sequence[WorkerSpec]
    ) -> tuple[list[BoundWorker], Path, OutOfMemory]:
        """Do what blocks before a start, in one go."""
        return self._bind(workers), self._new_directory(workers), OutOfMemory.here()

    def _bind(self, workers: Sequence[WorkerSpec]) -> list[BoundWorker]:
        """Choose the CPUs of workers; blocks."""
        if self._binding.mode is None:
            return [BoundWorker(spec) for spec in workers]
        if self._binder is None:
            from elaunch_spawn_local.cpus.binding import Binder

            self._binder = Binder(self._binding.mode)
        return self._binder.bind(workers)

    async def _start_all(
        self,
        server: ForkServer,
        entry: WorkerEntry,
        workers: Sequence[BoundWorker],
        directory: Path,
        group: LocalGroup,
    ) -> None:
        births = []
        for bound in workers:
            spec = bound.spec
            own = directory / str(spec.ranks.local_rank)
            functional = isinstance(entry, FunctionEntry)
            result = own / "result.pickle" if functional else None
            files = own / "error.json", own / "notice.json", own / "stacks.txt"
            worker = Worker(spec, *files, result, bound.cpus)
            group.adopt(worker)
            births.append(
                asyncio.ensure_future(
                    _start_one(server, worker, self._request(entry, worker), group)
                )
            )
            # All forks go on at once, but descriptors are opened one after the other.
            await asyncio.sleep(0)
        try:
            for birth in births:
                await birth
        except NotStarted as failed:
            raise SpawnError(
                f"can't start worker {failed.rank} of {entry.name!r}: "
                f"{reason(failed.error, program_of(entry))}"
            ) from failed
        except ServerLost as lost:
            raise SpawnError(
                f"can't start the workers of {entry.name!r}: the fork server is gone: "
                f"{lost}"
            ) from lost
        finally:
            for birth in births:
                birth.cancel()
            await asyncio.wait(births)

    def _request(self, entry: WorkerEntry, worker: Worker) -> dict[str, Any]:
        """Return what the fork server is asked for, all but the descriptors."""
        request: dict[str, Any] = {
            "environment": _environment(worker),
            "directory": _current_directory(),
            "cpus": sorted(worker.cpus or ()),
        }
        forks = self._settings.method is not StartMethod.SPAWN
        prepared = self._stacks.prepare  # a fork always is
        match entry:
            case FunctionEntry():
                from elaunch_spawn_local import function_call, stack_boot

                call = worker.error_file.parents[1] / CALL
                assert worker.result  # noqa: S101 - for mypy: functions have one
                if forks:
                    request["call"] = {"path": str(call), "result": str(worker.result)}
                elif prepared:
                    value = (str(worker.result),)
                    request["program"] = stack_boot.command("call", str(call), value)
                else:
                    request["program"] = function_call.command(call, worker.result)
            case ScriptEntry() if forks:
                request["script"] = attrs.asdict(entry.rendered(worker.spec.names))
            case ScriptEntry() if prepared:
                from elaunch_spawn_local import stack_boot

                kind = "module" if entry.module else "script"
                rendered = entry.rendered(worker.spec.names)
                request["program"] = stack_boot.command(
                    kind, rendered.target, rendered.args
                )
            case ScriptEntry():
                request["program"] = entry.rendered(worker.spec.names).command()
            case CommandEntry():
                request["program"] = entry.rendered(worker.spec.names).argv
        return request

    def _new_directory(self, workers: Sequence[WorkerSpec]) -> Path:
        """Make a directory for a group, with one for each worker; blocks."""
        try:
            if self._directory is None:
                # mkdtemp makes it for this user alone, mode 0700.
                self._directory = Path(tempfile.mkdtemp(prefix="elaunch-"))
                self._lock = _locked(self._directory)
            group = Path(tempfile.mkdtemp(prefix="group-", dir=self._directory))
            for spec in workers:
                (group / str(spec.ranks.local_rank)).mkdir(mode=0o700)
        except OSError as error:
            raise SpawnError(
                f"can't make a directory for temporary files: {error}; set TMPDIR to "
                f"a directory that you may write to"
            ) from error
        return group


def _locked(directory: Path) -> int:
    """Keep those from a directory who remove what is old, as systemd-tmpfiles does.

    Returns:
        What holds it.
    """
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # not every file system has locks
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


async def _to_its_end(work: Callable[..., _T], *args: Any) -> _T:
    """Do in a thread what blocks; if cancelled, end no sooner than that does.

    Else whoever removes what it made would come too early.
    """
    working = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait((working,))
        raise


async def _start_one(
    server: ForkServer, worker: Worker, request: Mapping[str, Any], group: LocalGroup
) -> None:
    """Start a worker and wait until it runs.

    Raises:
        NotStarted: If it can't be started.
        ServerLost: If the server is gone.
    """
    program = request.get("program")
    if program is not None and not program:
        raise NotStarted(worker.rank, ValueError("the command is empty"))
    try:
        stdio = group.output.open(worker.spec)
    except OSError as error:
        raise NotStarted(worker.rank, error) from error
    worker.has_terminal = stdio.terminal
    try:
        await server.start(worker.rank, request, stdio)
    finally:
        stdio.close()


def _environment(worker: Worker) -> dict[str, str]:
    return {
        **inherited_environment(os.environ),
        "PYTHONUNBUFFERED": os.environ.get("PYTHONUNBUFFERED", "1"),
        "PYTHONFAULTHANDLER": os.environ.get("PYTHONFAULTHANDLER", "1"),
        **worker.spec.environment,
        ERROR_FILE: str(worker.error_file),
        NOTICE_FILE: str(worker.notice_file),
        stack_signal.FILE: str(worker.stack_file),
        **({stack_signal.SIGNAL: str(STACK_SIGNAL)} if STACK_SIGNAL else {}),
    }


def _current_directory() -> str:
    try:
        return str(Path.cwd())
    except FileNotFoundError as error:
        raise SpawnError(
            "the current directory was removed; start elaunch in another one"
        ) from error


def _begin(group: LocalGroup, name: str) -> None:
    try:
        group.begin()
    except (OSError, RuntimeError) as error:
        raise SpawnError(
            f"can't carry the output of {name!r}: {error}; {REMEDIES[errno.EAGAIN]}"
        ) from error
