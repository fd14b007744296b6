"""How a worker tells its error, and what becomes of the errors of a job."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from elaunch.elastic.multiprocessing.errors.error_handler import (
    ErrorHandler,
    recorded_by,
)
from elaunch.elastic.multiprocessing.errors.handlers import get_error_handler
from elaunch.elastic.multiprocessing.errors.process_failure import ProcessFailure
from elaunch.errors import ChildFailedError
from elaunch.worker import record as worker_record


__all__ = [
    "ChildFailedError",
    "ErrorHandler",
    "ProcessFailure",
    "get_error_handler",
    "record",
]

P = ParamSpec("P")
R = TypeVar("R")


def record(
    fn: Callable[P, R], error_handler: ErrorHandler | None = None
) -> Callable[P, R | None]:
    """Make a worker's main function leave its exception in the error file.

    Args:
        fn: The function; usually ``main``.
        error_handler: Told of the exception; by default as `elaunch.worker.record`.

    Returns:
        A function that behaves like ``fn``, save that ``sys.exit(0)`` and
        ``sys.exit()`` make it return `None`.
    """
    return recorded_by(error_handler, fn) if error_handler else worker_record(fn)
