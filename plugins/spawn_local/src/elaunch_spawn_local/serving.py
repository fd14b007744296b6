"""Which fork server a launch needs, and how it gets ready."""

import functools
import logging
import os
import sys
from pathlib import Path

from elaunch.api import (
    CommandEntry,
    FunctionEntry,
    ScriptEntry,
    SpawnError,
    StartMethod,
    StartSettings,
    UsageError,
    WorkerEntry,
    inherited_environment,
)
from elaunch_spawn_local.fork_server.client import ForkServer, ServerLost
from elaunch_spawn_local.fork_server.launch import (
    launch_bare,
    launch_fork,
    launch_warm,
)


logger = logging.getLogger(__name__)


def fitting(settings: StartSettings, entry: WorkerEntry) -> StartSettings:
    """Return how an entry is started, which is not always what was asked for.

    torchrun takes methods of its own for whatever it runs, and means functions alone.

    Raises:
        UsageError: If it is asked for what only Python can do, and is no Python.
    """
    method = settings.method
    if method is StartMethod.FORK and not isinstance(entry, FunctionEntry):
        why = "copies a process with a function in it"
    elif method is StartMethod.FORKSERVER and isinstance(entry, CommandEntry):
        why = "is for Python"
    elif method is StartMethod.WARM and isinstance(entry, CommandEntry):
        raise UsageError(
            f"start method 'warm' is for Python, and {entry.name!r} is a program of "
            f"any kind; use 'spawn'"
        )
    else:
        return settings
    logger.warning(
        "start method %r %s: %r is started by 'spawn'", method.value, why, entry.name
    )
    return StartSettings()


def new_server(settings: StartSettings, entry: WorkerEntry) -> ForkServer:
    """Start the fork server for a launch; it gets ready by itself.

    Raises:
        OSError: If it can't be started.
    """
    match settings.method:
        case StartMethod.SPAWN:
            return ForkServer(launch_bare(inherited_environment(os.environ)))
        case StartMethod.FORK:
            from elaunch_spawn_local.inherited import become_server

            assert isinstance(entry, FunctionEntry)  # noqa: S101 - for mypy: see `fitting`
            return ForkServer(launch_fork(functools.partial(become_server, entry)))
        case StartMethod.FORKSERVER | StartMethod.WARM:
            return ForkServer(
                launch_warm(
                    settings.preload,
                    inherited_environment(os.environ),
                    _path_of(entry),
                    anyway=settings.preload_anyway,
                )
            )


def _path_of(entry: WorkerEntry) -> list[str]:
    """Return where workers of this entry look for modules first."""
    if isinstance(entry, FunctionEntry):
        return sys.path
    if isinstance(entry, ScriptEntry) and not entry.module:
        return [str(Path(entry.target).resolve().parent)]
    return [str(Path.cwd())]


async def ready(server: ForkServer, entry: WorkerEntry) -> None:
    """Wait until a server has imported what it was told to.

    Raises:
        SpawnError: If it could not, or the imports left what no fork survives.
    """
    try:
        word = await server.open()
    except ServerLost as lost:
        raise SpawnError(
            f"the fork server of {entry.name!r} is gone before it was ready: {lost}"
        ) from lost
    if word["told"] == "unloaded":
        raise SpawnError(
            f"can't preload {word['module']!r} for {entry.name!r}: {word['reason']}; "
            f"leave it out of --preload, or install it where {sys.executable!r} finds "
            f"it"
        )
    if word["told"] == "obstructed":
        raise SpawnError(
            f"what was loaded by --preload {','.join(word['by'])} for {entry.name!r} "
            f"does not survive a fork: it left {', '.join(word['found'])}; leave the "
            f"module that starts it out of --preload, or go on with --preload-anyway"
        )
