"""What runs inside a worker: standard library only, and nothing else of elaunch."""

from elaunch.worker.error_file import record
from elaunch.worker.launched import is_torchelastic_launched
from elaunch.worker.notice_file import PREEMPTED, Notice, notice


__all__ = ["PREEMPTED", "Notice", "is_torchelastic_launched", "notice", "record"]
