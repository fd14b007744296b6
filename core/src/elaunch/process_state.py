"""The state of a process as Linux tells it: one letter of ``/proc/PID/stat``."""

from pathlib import Path


def read_proc_state(pid: int) -> str | None:
    """Return the letter, for example ``S``; `None` if nothing tells."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The name of a program may contain blanks and parentheses.
    fields = text.rpartition(")")[2].split()
    return fields[0] if fields else None


def is_uninterruptible_state(state: str | None) -> bool:
    """Whether a process of this state is in a system call that no signal ends."""
    return state is not None and state.startswith("D")
