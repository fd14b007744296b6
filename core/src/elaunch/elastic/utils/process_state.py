"""What the kernel says of a process."""

from elaunch.process_state import (
    is_uninterruptible_state,
    read_proc_state,
)


__all__ = [
    "is_uninterruptible_state",
    "read_proc_state",
]
