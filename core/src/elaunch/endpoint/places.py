"""Where the agents of a user listen on a host: a directory that only he can enter.

It is the same for whatever sessions the agents and their user are in, as long as these
see the same ``/tmp``: XDG_RUNTIME_DIR is gone when he logs out, and agents may go on.
"""

import contextlib
import os
import stat
from collections.abc import Mapping


RUNTIME_DIR = "ELAUNCH_RUNTIME_DIR"


VARIABLES: Mapping[str, str] = {
    RUNTIME_DIR: (
        "directory of the user's agents, in which `elaunch status` finds them, instead "
        "of `/tmp/elaunch-<uid>`"
    ),
}
"""What agents and commands read, with the meaning for the documentation."""


def runtime_directory(environment: Mapping[str, str]) -> str:
    """Return the directory; it may not be there."""
    return environment.get(RUNTIME_DIR) or f"/tmp/elaunch-{os.getuid()}"  # noqa: S108 - it is checked whose it is


def make_directory(path: str) -> None:
    """Make the directory, unless it is there.

    Raises:
        OSError: If it can't be made, or others could enter it.
    """
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)  # noqa: PTH102 - pathlib takes longer
    check_directory(path)


def check_directory(path: str) -> None:
    """Check that nobody else can enter the directory.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If others could enter it, or it is none.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(f"{path!r} is no directory")
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.getuid() or mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise PermissionError(
            f"{path!r} belongs to user {found.st_uid} and has mode {mode:04o}; it must "
            f"be this user's, and have mode 0700"
        )


def new_name() -> str:
    """Return a name for the socket of an agent of this process that no other has."""
    return f"{os.getpid()}-{os.urandom(4).hex()}.sock"
