"""Timers over a queue of `multiprocessing`."""

from elaunch.timer import (
    LocalTimerClient,
    LocalTimerServer,
    MultiprocessingRequestQueue,
)


__all__ = [
    "LocalTimerClient",
    "LocalTimerServer",
    "MultiprocessingRequestQueue",
]
