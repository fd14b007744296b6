"""What the kernel tells of a process: command, state, and who is below it."""

from pathlib import Path

from elaunch_spawn_local.fork_server.descendants import HAS_PROC, children


_PROC = Path("/proc")


def descendants(pid: int) -> list[int]:
    """Return all processes below one, zombies too, parents before their children."""
    if not HAS_PROC:
        import psutil

        try:
            return [below.pid for below in psutil.Process(pid).children(recursive=True)]
        except psutil.Error:
            return []
    found: list[int] = []
    level = [pid]
    while level:
        level = [child for parent in level for child in children(parent)]
        found += level
    return found


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
