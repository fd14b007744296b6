"""What Linux tells of a process in ``/proc/PID/stat``."""

from pathlib import Path


def stat_fields(pid: int) -> list[str]:
    """Return the fields after the program's name, nothing if nothing tells."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    # That name may contain blanks and parentheses.
    return text.rpartition(")")[2].split()


def read_proc_state(pid: int) -> str | None:
    """Return a letter for its state, for example ``S``; `None` if nothing tells."""
    fields = stat_fields(pid)
    return fields[0] if fields else None


def is_uninterruptible_state(state: str | None) -> bool:
    """Whether a process of this state is in a system call that no signal ends."""
    return state is not None and state.startswith("D")
