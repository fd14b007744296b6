"""What writes the error file, for who wants to do more than that."""

import contextlib
import faulthandler
import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from elaunch.worker.error_file import write_error


P = ParamSpec("P")
R = TypeVar("R")


class ErrorHandler:
    """Writes an exception to the file that ``TORCHELASTIC_ERROR_FILE`` names.

    Made to be inherited from.
    """

    def initialize(self) -> None:
        """Get ready: a crash of the interpreter shows its stack on stderr."""
        # A replaced sys.stderr may have no file descriptor to write to.
        with contextlib.suppress(OSError, RuntimeError, ValueError, AttributeError):
            faulthandler.enable(all_threads=True)

    def record_exception(self, e: BaseException) -> None:
        """Write an exception."""
        if isinstance(e, Exception):
            write_error(e)


def get_error_handler() -> ErrorHandler:
    """Return what writes the error file if nobody else does."""
    return ErrorHandler()


def recorded_by(handler: ErrorHandler, fn: Callable[P, R]) -> Callable[P, R | None]:
    """Return a function that tells a handler what it raises, see `record`."""

    @functools.wraps(fn)
    def recorded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        handler.initialize()
        try:
            return fn(*args, **kwargs)
        except SystemExit as stop:
            if stop.code in (0, None):
                return None
            raise
        except Exception as error:
            handler.record_exception(error)
            raise

    return recorded
