"""Which fork server a launch needs, and how it gets ready."""

import functools
import os
import sys
from pathlib import Path

from elaunch.api import (
    FunctionEntry,
    ScriptEntry,
    SpawnError,
    StartMethod,
    StartSettings,
    WorkerEntry,
    inherited_environment,
)
from elaunch_spawn_local.fork_server.client import ForkServer, ServerLost
from elaunch_spawn_local.fork_server.launch import (
    launch_bare,
    launch_fork,
    launch_warm,
)


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

            assert isinstance(entry, FunctionEntry)  # noqa: S101 - for mypy: see `prepare`
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
