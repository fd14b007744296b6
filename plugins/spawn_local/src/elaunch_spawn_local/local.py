"""The spawner `local`."""

import asyncio
import errno
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from elaunch.api import (
    CommandEntry,
    FunctionEntry,
    ScriptEntry,
    SpawnError,
    WorkerEntry,
    WorkerSpec,
    inherited_environment,
)
from elaunch_spawn_local.child import Child, launch
from elaunch_spawn_local.exit_watcher import ExitWatcher, new_exit_watcher
from elaunch_spawn_local.function_call import command, write_call
from elaunch_spawn_local.group import LocalGroup, Worker


ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
CALL = "call.pickle"

_REMEDIES = {
    errno.E2BIG: "shorten its arguments or the environment",
    errno.EAGAIN: "allow more processes with 'ulimit -u'",
    errno.EMFILE: "allow more open files with 'ulimit -n'",
    errno.ENOEXEC: "a script's first line must be '#!' and its interpreter",
    errno.ENOMEM: "free some memory",
}

NewWatcher = Callable[[asyncio.AbstractEventLoop], ExitWatcher]


@attrs.define(eq=False)
class LocalSpawner:
    """Starts workers as processes of this host; see `elaunch.api.Spawner`.

    Args:
        run_id: Id of the job.
        new_watcher: Builds what tells a group of exits.
    """

    _run_id: str
    _new_watcher: NewWatcher = new_exit_watcher
    _directory: Path | None = attrs.field(default=None, init=False)
    _groups: list[LocalGroup] = attrs.field(factory=list, init=False)

    async def start(
        self, entry: WorkerEntry, workers: Sequence[WorkerSpec]
    ) -> LocalGroup:
        """Start all workers or none.

        Raises:
            SpawnError: If one can't be started; those already started are killed first.
        """
        directory = await asyncio.to_thread(self._new_directory, workers)
        if isinstance(entry, FunctionEntry):
            await asyncio.to_thread(write_call, entry, directory / CALL)
        group = self._new_group(directory, entry.name)
        self._groups = [known for known in self._groups if not known.closed] + [group]
        try:
            for spec in workers:
                _start_one(entry, spec, directory, group)
                await asyncio.sleep(0)  # forks take their time; let others run between
            _begin(group, entry.name)
        except BaseException:
            await group.close()
            raise
        return group

    async def close(self) -> None:
        """Close groups that are open, remove the spawner's files. Twice is fine."""
        for group in self._groups:
            await group.close()
        self._groups.clear()
        if self._directory is not None:
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)
            self._directory = None

    def _new_group(self, directory: Path, name: str) -> LocalGroup:
        mark = os.fsencode(f"{ERROR_FILE}={directory}{os.sep}")
        watcher = self._new_watcher(asyncio.get_running_loop())
        try:
            return LocalGroup(directory, mark, watcher)
        except OSError as error:
            remedy = _REMEDIES[errno.EMFILE]
            raise SpawnError(f"can't start {name!r}: {error}; {remedy}") from error

    def _new_directory(self, workers: Sequence[WorkerSpec]) -> Path:
        """Make a directory for a group, with one for each worker; blocks."""
        try:
            if self._directory is None:
                # mkdtemp makes it for this user alone, mode 0700.
                self._directory = Path(tempfile.mkdtemp(prefix="elaunch-"))
            group = Path(tempfile.mkdtemp(prefix="group-", dir=self._directory))
            for spec in workers:
                (group / str(spec.ranks.local_rank)).mkdir(mode=0o700)
        except OSError as error:
            raise SpawnError(
                f"can't make a directory for temporary files: {error}; set TMPDIR to "
                f"a directory that you may write to"
            ) from error
        return group


def _start_one(
    entry: WorkerEntry,
    spec: WorkerSpec,
    directory: Path,
    group: LocalGroup,
) -> None:
    own = directory / str(spec.ranks.local_rank)
    error_file = own / "error.json"
    result: Path | None = None
    if isinstance(entry, FunctionEntry):
        result = own / "result.pickle"
        argv = command(directory / CALL, result)
    else:
        argv = command_of(entry)
    environment = {
        **inherited_environment(os.environ),
        "PYTHONUNBUFFERED": os.environ.get("PYTHONUNBUFFERED", "1"),
        **spec.environment,
        ERROR_FILE: str(error_file),
    }
    try:
        child = launch(argv, environment)
        try:
            group.adopt(Worker(spec, child, error_file, result))
        except OSError:
            _undo(child)
            raise
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SpawnError(
            f"can't start worker {spec.ranks.local_rank} of {entry.name!r}: "
            f"{_reason(error, argv)}"
        ) from error


def command_of(entry: CommandEntry | ScriptEntry) -> tuple[str, ...]:
    """Return the program and the arguments to start."""
    return entry.argv if isinstance(entry, CommandEntry) else entry.command()


def _begin(group: LocalGroup, name: str) -> None:
    try:
        group.begin()
    except RuntimeError as error:
        raise SpawnError(
            f"can't carry the output of {name!r}: {error}; {_REMEDIES[errno.EAGAIN]}"
        ) from error


def _undo(child: Child) -> None:
    child.signal_group(signal.SIGKILL)
    child.popen.communicate()


def _reason(error: Exception, argv: Sequence[str]) -> str:
    program = repr(argv[0]) if argv else "no program"
    match error:
        case FileNotFoundError() if Path(argv[0]).exists():
            return f"{program} has no interpreter; check its first line"
        case FileNotFoundError():
            return f"no such file: {program}; check the path, or that it is on PATH"
        case PermissionError():
            return f"permission denied: {program}; is it executable?"
        case OSError(errno=int(number)) if number in _REMEDIES:
            return f"{program}: {error}; {_REMEDIES[number]}"
    return f"{program}: {error}; check its arguments and environment"
