"""What runs inside a worker: standard library only, and nothing else of elaunch."""

from elaunch.worker.error_file import record
from elaunch.worker.launched import is_torchelastic_launched
from elaunch.worker.listening import on_notice
from elaunch.worker.notice_file import PREEMPTED, Notice, notice
from elaunch.worker.telling import (
    exclude_node,
    expires,
    heartbeat,
    hold_scaling,
    no_restart,
    progress,
    release_scaling,
    section,
)


__all__ = [
    "PREEMPTED",
    "Notice",
    "exclude_node",
    "expires",
    "heartbeat",
    "hold_scaling",
    "is_torchelastic_launched",
    "no_restart",
    "notice",
    "on_notice",
    "progress",
    "record",
    "release_scaling",
    "section",
]
