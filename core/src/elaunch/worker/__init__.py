"""What runs inside a worker: standard library only, and nothing else of elaunch."""

from elaunch.worker.error_file import record
from elaunch.worker.notice_file import PREEMPTED, Notice, notice


__all__ = ["PREEMPTED", "Notice", "notice", "record"]
