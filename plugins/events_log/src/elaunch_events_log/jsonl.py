"""The recorder `jsonl`."""

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

from elaunch.api import RecorderParameters, UsageError
from elaunch_events_log.background import BackgroundRecorder
from elaunch_events_log.event_file import EventFile, Rotation
from elaunch_events_log.formats import FORMATS
from elaunch_events_log.options import JsonlOptions


def open_jsonl(options: JsonlOptions, params: RecorderParameters) -> BackgroundRecorder:
    """Open a file that gets a line of JSON for each event.

    Raises:
        UsageError: If the file can't be opened, or its path names what there is not.
    """
    rotation = Rotation(
        max_bytes=options.max_bytes,
        max_age=options.max_age,
        backups=options.backups,
    )
    file = EventFile(
        Path(rendered(options.path, params)),
        FORMATS[options.format](),
        rotation,
        sync=options.sync,
    )
    return BackgroundRecorder(file, limit=options.queue, linger=options.flush)


def rendered(path: str, params: RecorderParameters) -> str:
    """Return a path with its names replaced; a separator makes no directory.

    Raises:
        UsageError: If it has a name that there is not.
    """
    names: Mapping[str, str] = {
        "run_id": params.run_id,
        "host": socket.gethostname(),
        "agent": params.agent,
        "pid": str(os.getpid()),
    }

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in names:
            known = ", ".join(f"{{{each}}}" for each in names)
            raise UsageError(
                f"the recorder 'jsonl' has no name {found[0]!r} for its path {path!r} "
                f"(names: {known})"
            )
        return names[name].replace(os.sep, "_")

    return re.sub(r"\{(\w+)\}", value, path)
