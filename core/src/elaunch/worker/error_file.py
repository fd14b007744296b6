"""The error file: how a worker that raises tells its launcher what and where.

The file is torchelastic's, so that scripts decorated for torchrun and launchers that
read such files understand it::

    {"message": {"message": "ValueError: boom",
                 "extraInfo": {"py_callstack": "Traceback ...",
                               "timestamp": "1700000000"}}}
"""

import contextlib
import faulthandler
import functools
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ParamSpec, TypeVar


ERROR_FILE = "TORCHELASTIC_ERROR_FILE"
"""Variable that names the file; unset or empty means that nobody will read one."""

MESSAGE_LIMIT = 8 * 1024
"""Characters kept of a message: its beginning, which says what went wrong."""

TRACEBACK_LIMIT = 64 * 1024
"""Characters kept of a traceback: its end, which is the place of the error."""

P = ParamSpec("P")
R = TypeVar("R")


def record(fn: Callable[P, R]) -> Callable[P, R | None]:
    """Make a worker's main function leave its exception in the error file.

    While the function runs, `faulthandler` is on, so that a crash of the interpreter
    shows its stack on stderr.

    Args:
        fn: The function; usually ``main``.

    Returns:
        A function that behaves like ``fn``, save that ``sys.exit(0)`` and
        ``sys.exit()`` make it return `None`. An exception is raised on after it was
        written to the file that ``TORCHELASTIC_ERROR_FILE`` names; any other
        ``sys.exit(...)`` is raised on and writes nothing.
    """

    @functools.wraps(fn)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        with _fault_handler():
            try:
                return fn(*args, **kwargs)
            except SystemExit as stop:
                if stop.code in (0, None):
                    return None
                raise
            except Exception as error:
                _leave(error)
                raise

    return recorded


@contextlib.contextmanager
def _fault_handler() -> Iterator[None]:
    if faulthandler.is_enabled():
        yield
        return
    # A replaced sys.stderr may have no file descriptor to write to.
    with contextlib.suppress(OSError, RuntimeError, ValueError, AttributeError):
        faulthandler.enable(all_threads=True)
    try:
        yield
    finally:
        faulthandler.disable()


def _leave(error: Exception) -> None:
    target = os.environ.get(ERROR_FILE)
    if not target:
        return
    try:
        _write(Path(target), _description(error))
    except Exception:  # noqa: BLE001 - whatever goes wrong here must not hide `error`
        traceback.print_exc()


def _description(error: Exception) -> str:
    # The first frame is `recorded` above, which tells the reader nothing.
    frames = error.__traceback__.tb_next if error.__traceback__ else None
    stack = "".join(traceback.format_exception(type(error), error, frames))
    extra = {
        "py_callstack": stack[-TRACEBACK_LIMIT:],
        "timestamp": str(int(time.time())),
    }
    message = f"{type(error).__name__}: {_text(error)}"[:MESSAGE_LIMIT]
    return json.dumps({"message": {"message": message, "extraInfo": extra}})


def _text(error: Exception) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ may raise anything
        return "<exception str() failed>"


def _write(target: Path, text: str) -> None:
    # A reader sees the whole file or none; threads and forks have a file each.
    draft = target.with_name(f"{target.name}.{os.getpid()}-{time.monotonic_ns()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
