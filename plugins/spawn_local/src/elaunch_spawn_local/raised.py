"""An exception that ends a function's process, shown without the launcher's frames."""

import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from elaunch import worker


_OURS = (
    str(Path(__file__).parent) + "/",
    str(Path(worker.__file__).parent) + "/",
    "<frozen runpy>",
)


def end_with(error: Exception) -> NoReturn:
    """Show the exception as the interpreter would, and end with exit code 1."""
    # The hook shows what the exception has, not what it is given.
    error.with_traceback(users_part(error.__traceback__))
    sys.excepthook(type(error), error, error.__traceback__)
    sys.exit(1)


def show_later(error: BaseException) -> None:
    """Make whoever shows the exception at the end leave the launcher's frames out.

    For one that ends the process in a way of its own, as Ctrl-C does.
    """
    hook = sys.excepthook
    part = users_part(error.__traceback__)

    def show(
        kind: type[BaseException], value: BaseException, traceback: TracebackType | None
    ) -> None:
        ours = value is error
        shown = part if ours else traceback
        hook(kind, value.with_traceback(shown), shown)

    sys.excepthook = show


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Return the traceback from the first frame on that is not the launcher's.

    All of it where there is no other, for an error of our own.
    """
    found = traceback
    while found and found.tb_frame.f_code.co_filename.startswith(_OURS):
        found = found.tb_next
    return found or traceback
