"""Whole lines onto the agent's own stdout and stderr."""

import logging
import os
import select
import stat
import threading

import attrs


logger = logging.getLogger(__name__)

STDOUT = 1
STDERR = 2

_BATCH = select.PIPE_BUF
"""Bytes that a pipe takes in one piece, whoever else writes to it."""

# One for both streams and all groups: with 2>&1 they are one and the same file.
_writing = threading.Lock()


@attrs.define(eq=False, repr=False)
class Console:
    """One of the agent's own output streams, shared by all workers.

    Lines go to the file descriptor, not to ``sys.stdout``: they are bytes, and are
    passed on as they are. If nobody reads them any more they are dropped, so that a
    closed terminal stops no worker.
    """

    _fd: int
    taken: int = attrs.field(default=0, init=False)
    """Bytes that were written by now."""
    _broken: bool = attrs.field(default=False, init=False)
    _batch: int = attrs.field(init=False)

    @_batch.default
    def _batch_of_the_file(self) -> int:
        try:
            regular = stat.S_ISREG(os.fstat(self._fd).st_mode)
        except OSError:  # it is closed: the first write tells
            regular = False
        return 1 << 30 if regular else _BATCH

    def write(self, lines: bytes) -> None:
        """Write a block of whole lines.

        Blocks while whoever reads the stream takes his time. What goes out at once
        ends where a line does, so that nobody else's words get into the midst of one.
        """
        view = memoryview(lines)
        start = 0
        while start < len(lines):
            end = start + self._batch
            if end < len(lines):
                end = lines.rfind(b"\n", start, end) + 1
                end = end or lines.find(b"\n", start) + 1 or len(lines)
            self._write(view[start:end])
            start = end

    def pass_on(self, data: bytes) -> None:
        """Write bytes at once, whatever they are; blocks likewise."""
        self._write(memoryview(data))

    def _write(self, view: memoryview) -> None:
        with _writing:
            while view:
                try:
                    written = os.write(self._fd, view)
                    self.taken += written
                    view = view[written:]
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
