"""The agent's side of the scribe: starting it, and hearing what it tells."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

from elaunch.api import inherited_environment


PROGRAM = Path(__file__).with_name("scribe.py")


@attrs.frozen(kw_only=True)
class Shape:
    """How the scribe writes.

    Attributes:
        timestamps: Whether each line begins with the time.
        max_bytes: Bytes of a full file; 0 for no limit.
        backups: How many full files are kept.
    """

    timestamps: bool
    max_bytes: int
    backups: int


@attrs.define(eq=False)
class Scribe:
    """A scribe that was started.

    Attributes:
        told: Where it tells; non-blocking.
    """

    _popen: "subprocess.Popen[bytes]"
    told: int
    _rest: bytes = attrs.field(default=b"", init=False)

    @classmethod
    def start(cls, streams: Sequence[tuple[int, str]], shape: Shape) -> "Scribe":
        """Start it; it gets copies of the descriptors.

        Args:
            streams: Reading end of a pipe and path of a file, of each stream.
            shape: How to write.

        Raises:
            OSError: If it can't be started.
        """
        wishes = {"shape": attrs.asdict(shape), "streams": list(streams)}
        told, tell = os.pipe()
        try:
            with tempfile.TemporaryFile() as file:  # a pipe might be too small
                file.write(json.dumps(wishes).encode())
                file.seek(0)
                popen = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                    [sys.executable, "-I", "-S", str(PROGRAM)],
                    stdin=file,
                    stdout=tell,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[fd for fd, _ in streams],
                    # What ends the agent, or the job, must not end it.
                    start_new_session=True,
                    cwd=os.sep,
                    env=inherited_environment(os.environ),
                )
        except OSError:
            os.close(told)
            raise
        finally:
            os.close(tell)
        os.set_blocking(told, False)
        return cls(popen, told)

    def news(self) -> Iterator[tuple[str, int, str]] | None:
        """Return what it told since the last call: word, stream, text.

        `None` when it has ended.
        """
        try:
            data = os.read(self.told, 64 * 1024)
        except BlockingIOError:
            return iter(())
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return map(_parsed, lines)

    def close(self) -> None:
        """Let go of it; it ends when the pipes do."""
        os.close(self.told)
        if self._popen.poll() is None:
            # A process that a worker left may keep it busy for as long as it likes.
            threading.Thread(
                target=self._popen.wait, name="elaunch-scribe", daemon=True
            ).start()


def _parsed(line: bytes) -> tuple[str, int, str]:
    word, number, *text = line.decode(errors="replace").split(" ", 2)
    return word, int(number), "".join(text)
