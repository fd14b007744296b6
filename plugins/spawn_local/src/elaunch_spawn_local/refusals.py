"""Why workers can't be started, in words that tell what to do."""

import errno
import sys
from pathlib import Path

from elaunch.api import CommandEntry, WorkerEntry


REMEDIES = {
    errno.E2BIG: "shorten its arguments or the environment",
    errno.EAGAIN: "allow more processes with 'ulimit -u'",
    errno.EMFILE: "allow more open files with 'ulimit -n'",
    errno.ENOEXEC: "a script's first line must be '#!' and its interpreter",
    errno.ENOMEM: "free some memory",
}
"""What to do about errors of the system."""


def program_of(entry: WorkerEntry) -> str:
    """Return the program that workers of an entry start."""
    if isinstance(entry, CommandEntry):
        return entry.argv[0] if entry.argv else ""
    return sys.executable


def reason(error: Exception, program: str) -> str:
    """Return why a program can't be started, and what to do."""
    named = repr(program) if program else "no program"
    match error:
        case FileNotFoundError() if program and Path(program).exists():
            return f"{named} has no interpreter; check its first line"
        case FileNotFoundError():
            return f"no such file: {named}; check the path, or that it is on PATH"
        case PermissionError():
            return f"permission denied: {named}; is it executable?"
        case OSError(errno=int(number)) if number in REMEDIES:
            return f"{named}: {error}{remedy(error)}"
    return f"{named}: {error}; check its arguments and environment"


def remedy(error: OSError) -> str:
    """Return what to do about an error, after a semicolon; empty if nobody knows."""
    known = REMEDIES.get(error.errno or 0)
    return f"; {known}" if known else ""
