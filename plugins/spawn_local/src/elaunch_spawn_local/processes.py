"""What the kernel tells of one process: its command, its state, what it waits for."""

from pathlib import Path


_PROC = Path("/proc")


def command_line(pid: int) -> str:
    """Return program and arguments, or empty if they are hidden or it is gone."""
    try:
        words = (_PROC / str(pid) / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return ""
    return b" ".join(words).decode(errors="replace")


def state(pid: int) -> str:
    """Return its state and the kernel function that it waits in, or empty."""
    found = status_field(pid, "State")
    try:
        waits_in = (_PROC / str(pid) / "wchan").read_text()
    except OSError:
        waits_in = ""
    return f"{found}, waits in {waits_in!r}" if waits_in.strip("0") else found


def status_field(pid: int, name: str) -> str:
    """Return a field of ``/proc/PID/status``, or empty."""
    try:
        text = (_PROC / str(pid) / "status").read_text(errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return " ".join(value.split())
    return ""
