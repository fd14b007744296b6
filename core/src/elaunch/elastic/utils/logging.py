"""Loggers that ``LOGLEVEL`` turns up."""

import logging
import os
import sys

from elaunch.elastic.utils.log_level import get_log_level


__all__ = ["get_logger"]


def get_logger(name: str | None = None) -> logging.Logger:
    """Return a logger with the level that ``LOGLEVEL`` names, or ``WARNING``.

    Args:
        name: Its name; by default that of the module that calls.
    """
    caller = sys._getframe(1).f_globals.get("__name__")  # noqa: SLF001 - there is no other way to know who calls
    logger = logging.getLogger(name or caller)
    logger.setLevel(os.environ.get("LOGLEVEL", get_log_level()))
    return logger
