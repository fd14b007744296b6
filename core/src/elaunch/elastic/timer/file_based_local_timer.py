"""Timers over a named pipe."""

from elaunch.timer import (
    FileTimerClient,
    FileTimerRequest,
    FileTimerServer,
)


__all__ = [
    "FileTimerClient",
    "FileTimerRequest",
    "FileTimerServer",
]
