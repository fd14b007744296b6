"""Where the handler of errors comes from that is used if nobody gives another."""

from elaunch.elastic.multiprocessing.errors.error_handler import ErrorHandler


__all__ = ["get_error_handler"]


def get_error_handler() -> ErrorHandler:
    """Return what writes the error file if nobody else does."""
    return ErrorHandler()
