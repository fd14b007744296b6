"""The error file: how a worker that raises tells its launcher what and where.

The file is torchelastic's, so that scripts decorated for torchrun and launchers that
read such files understand it::

    {"message": {"message": "ValueError: boom",
                 "extraInfo": {"py_callstack": "Traceback ...",
                               "timestamp": "1700000000",
                               "unix_time": 1700000000.25}}}

``unix_time`` is ours: torchelastic knows whole seconds alone, by which ranks that fail
one after the other can't be told apart. A worker that is a launcher itself leaves the
root cause of its own job, with the exit code of that in ``errorCode``.
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
from types import TracebackType
from typing import Any, ParamSpec, TypeVar


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
        ``sys.exit(...)`` is raised on and writes nothing. Of a ``ChildFailedError``,
        elaunch's or torch's, the root cause is written.
    """
    return record_with(fn, _fault_handler, _leave)


def record_with(
    fn: Callable[P, R],
    prepared: Callable[[], "contextlib.AbstractContextManager[object]"],
    tell: Callable[[Exception], None],
) -> Callable[P, R | None]:
    """Return a function that tells what it raises, see `record`.

    Args:
        fn: The function.
        prepared: Returns what is entered while it runs.
        tell: Told of an exception, before it is raised on.
    """

    @functools.wraps(fn)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        with prepared():
            try:
                return fn(*args, **kwargs)
            except SystemExit as stop:
                if stop.code in (0, None):
                    return None
                raise
            except Exception as error:
                tell(error)
                raise

    return recorded


@contextlib.contextmanager
def errors_recorded() -> Iterator[None]:
    """Leave the exception of a block in the error file, as `record` does."""
    with _fault_handler():
        try:
            yield
        except Exception as error:
            _leave(error)
            raise


def _leave(error: Exception) -> None:
    """Leave an exception in the error file, if somebody will read it."""
    target = os.environ.get(ERROR_FILE)
    if target:
        write_error(error, target)


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


def write_error(error: BaseException, target: str) -> None:
    """Leave an exception in a file; whatever goes wrong is printed only.

    Args:
        error: The exception, as it was raised.
        target: Path of the file.
    """
    try:
        write_whole(Path(target), _description(error))
    except Exception:  # noqa: BLE001 - whatever goes wrong here must not hide `error`
        traceback.print_exc()


def _description(error: BaseException) -> str:
    message = _root_cause(error) or _message(error)
    return json.dumps({"message": message})


def _message(error: BaseException) -> dict[str, Any]:
    frames = error.__traceback__
    while frames and frames.tb_next and _is_ours(frames):
        frames = frames.tb_next
    stack = "".join(traceback.format_exception(type(error), error, frames))
    text = f"{type(error).__name__}: {_text(error)}"
    return _nested_form(text, stack, time.time())


def _is_ours(frames: TracebackType) -> bool:
    """Whether a traceback begins in what only wraps the worker's function."""
    name = frames.tb_frame.f_code.co_filename
    return name in (__file__, contextlib.__file__) or name.startswith(_CONTROL_PLANE)


_CONTROL_PLANE = str(Path(__file__).parent.parent / "control_plane")


def _root_cause(error: BaseException) -> dict[str, Any] | None:
    """Return what a launcher inside this worker knows of its own first failure.

    Its error is known by its looks: importing either of the two is not for here.
    """
    if type(error).__name__ not in ("ChildFailedError", "HandedBack"):
        return None
    try:
        failure = error.get_first_failure()[1]  # type: ignore[attr-defined] # see above
        left = getattr(failure, "error_file_data", None)
        if left is None:
            told = _nested_form(failure.message, failure.traceback, failure.timestamp)
        else:
            told = left["message"]
        return {**told, "errorCode": int(failure.exitcode)}
    except Exception:  # noqa: BLE001 - whatever it is, it is an exception to write
        return None


def _nested_form(text: str, stack: str, when: float) -> dict[str, Any]:
    extra = {
        "py_callstack": stack[-TRACEBACK_LIMIT:],
        "timestamp": str(int(when)),
        "unix_time": when,
    }
    return {"message": text[:MESSAGE_LIMIT], "extraInfo": extra}


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ may raise anything
        return "<exception str() failed>"


def write_whole(target: Path, text: str) -> None:
    """Put a file in place as a whole; never in the place of anything but a file.

    Raises:
        OSError: If it can't be written.
    """
    if target.exists() and not target.is_file():
        raise OSError(f"{str(target)!r} is not a regular file")  # /dev/null, say
    # A reader sees the whole file or none; threads and forks have a file each.
    draft = target.with_name(f"{target.name}.{os.getpid()}-{time.monotonic_ns()}")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(target)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
