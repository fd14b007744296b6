"""Send what a process writes to stdout or stderr to a file for a while."""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator

from elaunch.errors import UsageError


_NUMBERS = {"stdout": 1, "stderr": 2}


@contextlib.contextmanager
def redirect(std: str, to_file: str) -> Iterator[None]:
    """Send a stream to a file in a ``with`` block: Python's, C's and children's output.

    Args:
        std: ``stdout`` or ``stderr``.
        to_file: Path of the file; what it had is lost.

    Raises:
        UsageError: If there is no such stream.
    """
    if std not in _NUMBERS:
        raise UsageError(f"only stdout and stderr can be redirected, not {std!r}")
    number = _NUMBERS[std]
    kept = os.dup(number)
    try:
        with open(to_file, "wb", buffering=0) as file:  # noqa: PTH123 - for its descriptor alone
            _flush(std)
            os.dup2(file.fileno(), number)
            try:
                yield
            finally:
                _flush(std)
                os.dup2(kept, number)
    finally:
        os.close(kept)


def redirect_stdout(to_file: str) -> "contextlib.AbstractContextManager[None]":
    """Send stdout to a file, see `redirect`."""
    return redirect("stdout", to_file)


def redirect_stderr(to_file: str) -> "contextlib.AbstractContextManager[None]":
    """Send stderr to a file, see `redirect`."""
    return redirect("stderr", to_file)


def _flush(std: str) -> None:
    stream = getattr(sys, std)
    if stream is not None:
        stream.flush()
    ctypes.CDLL(None).fflush(None)  # what C programs in this process have not written
