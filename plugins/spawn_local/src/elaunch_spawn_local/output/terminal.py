"""Terminals: of the agent, and one of its own for a worker that is alone."""

import contextlib
import fcntl
import os
import struct
import termios


_SIZE = struct.Struct("HHHH")  # struct winsize of <sys/ioctl.h>
_OPOST = 1  # index of the output flags in what tcgetattr returns


def open_terminal(like: int) -> tuple[int, int]:
    """Return both ends of a new terminal, ours and the worker's.

    It passes bytes as they are: what becomes of them is up to the agent's terminal.

    Args:
        like: The agent's own terminal, which gives it its size.

    Raises:
        OSError: If the system gives none.
    """
    ours, theirs = os.openpty()
    try:
        flags = termios.tcgetattr(theirs)
        flags[_OPOST] &= ~termios.OPOST
        termios.tcsetattr(theirs, termios.TCSANOW, flags)
    except termios.error as error:
        os.close(ours)
        os.close(theirs)
        raise OSError(*error.args) from error
    copy_size(like, ours)
    return ours, theirs


def copy_size(source: int, target: int) -> None:
    """Give one terminal the size of another, where it has one."""
    with contextlib.suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(_SIZE.size))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)


def is_terminal(fd: int) -> bool:
    """Return whether a descriptor is open and a terminal."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def same_file(one: int, other: int) -> bool:
    """Return whether two descriptors lead to one and the same file or terminal."""
    try:
        return os.path.sameopenfile(one, other)
    except OSError:  # one of them is closed
        return False
