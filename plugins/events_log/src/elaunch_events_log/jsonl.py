"""The recorder `jsonl`."""

import json
import os
import threading
from pathlib import Path

import attrs

from elaunch.api import Event, UsageError
from elaunch_events_log.closing import Closing


@attrs.define(eq=False)
class JsonlRecorder(Closing):
    """Appends one JSON object for each event to a file.

    Several agents may share the file: each line is one write to its end.
    """

    _fd: int
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def record(self, event: Event) -> None:
        """Append an event.

        Raises:
            ValueError: If the recorder is closed.
            OSError: If the file can't be written to.
        """
        line = memoryview(f"{json.dumps(_document(event))}\n".encode())
        # The lock keeps `close` from handing our descriptor to another file.
        with self._lock:
            self.check_open()
            while line:  # once, unless the disk is full or a signal came in between
                line = line[os.write(self._fd, line) :]

    def close(self) -> None:
        """Close the file, in which all events are already. Twice is fine."""
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)


def open_jsonl(path: str, run_id: str) -> JsonlRecorder:
    """Open a file to append events to; make its directory if there is none.

    Args:
        path: Path of the file; ``{run_id}`` in it is replaced.
        run_id: Id of the job; a separator in it doesn't make a directory.

    Raises:
        UsageError: If the file can't be opened.
    """
    target = Path(path.replace("{run_id}", run_id.replace(os.sep, "_")))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return JsonlRecorder(os.open(target, flags, 0o644))
    except OSError as error:
        raise UsageError(
            f"can't write events to {str(target)!r}: {error.strerror}; "
            f"give the recorder 'jsonl' another path"
        ) from error


def _document(event: Event) -> dict[str, object]:
    return {
        "schema": event.schema,
        "name": event.name,
        "source": event.source,
        "timestamp": event.timestamp,
        "run_id": event.run_id,
        "host": event.host,
        "metadata": dict(event.metadata),
    }
