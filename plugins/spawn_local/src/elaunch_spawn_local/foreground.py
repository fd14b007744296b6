"""The terminal's signals: lent to one worker, and taken back when it has ended."""

import contextlib
import os
import signal


STDIN = 0
"""Descriptor by which the agent knows its terminal."""


def own_group(terminal: int) -> int:
    """Return this process's group if the terminal listens to it, else 0.

    Whoever runs in the background has nothing to lend.
    """
    with contextlib.suppress(OSError):
        if os.tcgetpgrp(terminal) == os.getpgrp():
            return os.getpgrp()
    return 0


def take_back(terminal: int, group: int) -> None:
    """Let the terminal listen to this process again, if it listens to that group."""
    # A process in the background is stopped when it asks, unless it blocks that.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    try:
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(terminal) == group:
                os.tcsetpgrp(terminal, os.getpgrp())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
