"""The notice signal, while no agent handles it: it would end this process.

A scheduler may send it to all processes of a node at any time.
"""

import signal
from types import FrameType


DEFAULT = signal.SIGUSR1
"""What announces a preemption unless a flag says otherwise."""


def begin() -> None:
    """Hear nothing of the signal until an agent handles it."""
    if signal.getsignal(DEFAULT) is signal.SIG_DFL:
        signal.signal(DEFAULT, _nothing)


def settle(wanted: int | None) -> None:
    """Do the same for the signal that was asked for, and undo it for the default."""
    if wanted == DEFAULT or signal.getsignal(DEFAULT) is not _nothing:
        return
    signal.signal(DEFAULT, signal.SIG_DFL)
    if wanted is not None and signal.getsignal(wanted) is signal.SIG_DFL:
        signal.signal(wanted, _nothing)


def end() -> None:
    """Hear nothing of it for good: an interpreter that ends drops its handlers."""
    for number in signal.valid_signals():
        if signal.getsignal(number) is _nothing:
            signal.signal(number, signal.SIG_IGN)


def _nothing(_: int, __: FrameType | None) -> None:
    """Do nothing; unlike "ignored", this is not what a program started later finds."""
