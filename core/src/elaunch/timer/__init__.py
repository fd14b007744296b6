"""Timers: a block of code that must end in time, or its process is killed.

The names and the wire format are torchelastic's. Standard library only, so that workers
can use it::

    configure(FileTimerClient(os.environ["TORCHELASTIC_TIMER_FILE"]))
    with expires(after=60):
        train_step()
"""

from elaunch.timer.api import (
    RequestQueue,
    TimerClient,
    TimerRequest,
    TimerServer,
    configure,
    expires,
)
from elaunch.timer.file_client import FileTimerClient, FileTimerRequest
from elaunch.timer.file_server import FileTimerServer
from elaunch.timer.local import (
    LocalTimerClient,
    LocalTimerServer,
    MultiprocessingRequestQueue,
)


__all__ = [
    "FileTimerClient",
    "FileTimerRequest",
    "FileTimerServer",
    "LocalTimerClient",
    "LocalTimerServer",
    "MultiprocessingRequestQueue",
    "RequestQueue",
    "TimerClient",
    "TimerRequest",
    "TimerServer",
    "configure",
    "expires",
]
