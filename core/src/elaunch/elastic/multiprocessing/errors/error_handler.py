"""What writes the error file, for who wants to do more than that."""

import contextlib
import faulthandler
import json
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from elaunch.worker.error_file import (
    ERROR_FILE,
    record_with,
    write_error,
    write_whole,
)


__all__ = ["ErrorHandler"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class ErrorHandler:
    """Writes an exception to the file that ``TORCHELASTIC_ERROR_FILE`` names.

    Made to be inherited from.
    """

    def _get_error_file_path(self) -> str | None:
        """Return where to write; `None` for nowhere."""
        return os.environ.get(ERROR_FILE)

    def initialize(self) -> None:
        """Get ready: a crash of the interpreter shows its stack on stderr."""
        # A replaced sys.stderr may have no file descriptor to write to.
        with contextlib.suppress(OSError, RuntimeError, ValueError, AttributeError):
            faulthandler.enable(all_threads=True)

    def record_exception(self, e: BaseException) -> None:
        """Write an exception; of a job that failed, its root cause."""
        path = self._get_error_file_path()
        if path:
            write_error(e, path)

    def dump_error_file(self, rootcause_error_file: str, error_code: int = 0) -> None:
        """Write what a worker of a job within this process has written.

        Args:
            rootcause_error_file: The worker's error file.
            error_code: Its exit code; 0 leaves what the file says.

        Raises:
            OSError: If that file can't be read, or this one not be written.
            ValueError: If it is no JSON.
        """
        told = json.loads(Path(rootcause_error_file).read_text(encoding="utf-8"))
        if error_code:
            self.override_error_code_in_rootcause_data(
                rootcause_error_file, told, error_code
            )
        path = self._get_error_file_path()
        if path:
            write_whole(Path(path), json.dumps(told))

    def override_error_code_in_rootcause_data(
        self,
        rootcause_error_file: str,
        rootcause_error: dict[str, Any],
        error_code: int = 0,
    ) -> None:
        """Note an exit code in what an error file says, where that has a place for it.

        Args:
            rootcause_error_file: The file.
            rootcause_error: What it says; changed in place.
            error_code: The exit code.
        """
        message = rootcause_error.get("message")
        if isinstance(message, dict):
            message["errorCode"] = error_code
        else:
            logger.warning(
                "the error file %r has no place for the exit code %d",
                rootcause_error_file,
                error_code,
            )


def recorded_by(handler: ErrorHandler, fn: Callable[P, R]) -> Callable[P, R | None]:
    """Return a function that tells a handler what it raises, see `record`."""

    @contextlib.contextmanager
    def prepared() -> Iterator[None]:
        handler.initialize()
        yield

    return record_with(fn, prepared, lambda error: _tell(handler, error))


def _tell(handler: ErrorHandler, error: Exception) -> None:
    # A launcher's error is known by its looks: torch's is not to be imported here.
    if type(error).__name__ == "ChildFailedError":
        failure = error.get_first_failure()[1]  # type: ignore[attr-defined] # see above
        if Path(failure.error_file).is_file():
            handler.dump_error_file(failure.error_file, failure.exitcode)
            return
    handler.record_exception(error)
