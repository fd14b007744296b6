"""Whole lines onto the agent's own stdout and stderr."""

import logging
import os
import select
import threading
from collections.abc import Iterable

import attrs


logger = logging.getLogger(__name__)

STDOUT = 1
STDERR = 2

_BATCH = select.PIPE_BUF
"""Bytes that a pipe takes in one piece, whoever else writes to it."""

# One for both streams and all groups: with 2>&1 they are one and the same file.
_writing = threading.Lock()


@attrs.define(eq=False)
class Console:
    """One of the agent's own output streams, shared by all workers.

    Lines go to the file descriptor, not to ``sys.stdout``: they are bytes, and are
    passed on as they are. If nobody reads them any more they are dropped, so that a
    closed terminal stops no worker.
    """

    _fd: int
    _broken: bool = attrs.field(default=False, init=False)

    def write(self, lines: Iterable[bytes], label: bytes) -> None:
        """Write lines, each with the label before it and a newline after it.

        Blocks while whoever reads the stream takes his time.
        """
        batch = b""
        for line in lines:
            piece = b"%b%b\n" % (label, line)
            if batch and len(batch) + len(piece) > _BATCH:
                self._write(batch)
                batch = b""
            batch += piece
        if batch:
            self._write(batch)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with _writing:
            while view:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    # Whoever shares the stream with us made it non-blocking.
                    select.select([], [self._fd], [])
                except OSError as error:
                    self._drop(error)
                    return

    def _drop(self, error: OSError) -> None:
        if not self._broken:
            self._broken = True
            logger.warning(
                "workers' output is lost: can't write to file descriptor %d: %s",
                self._fd,
                error,
            )
