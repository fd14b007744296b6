"""The signals of an agent, while there is none: before it handles them, and after.

A scheduler may send the notice signal to all processes of a node at any time, and it
would end this process. A signal that ends agents does end this process, but with the
exit code and the line of an agent.
"""

import signal
from types import FrameType
from typing import TYPE_CHECKING, NoReturn


if TYPE_CHECKING:
    from elaunch.signals import AgentSignals


NOTICE = signal.SIGUSR1
"""What announces a preemption unless a flag says otherwise."""

END = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""What ends an agent, likewise; Python itself handles SIGINT."""


class Ended(BaseException):
    """This process is to end.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def begin() -> None:
    """Handle them until an agent does."""
    _replace(NOTICE, _nothing)
    for number in END:
        _replace(number, _end)


def settle(wanted: "AgentSignals") -> None:
    """Do the same for the signals that were asked for, and undo it for the others."""
    for number in END:
        if number not in wanted.end and signal.getsignal(number) is _end:
            signal.signal(number, signal.SIG_DFL)
    if wanted.notice == NOTICE or signal.getsignal(NOTICE) is not _nothing:
        return
    signal.signal(NOTICE, signal.SIG_DFL)
    if wanted.notice is not None:
        _replace(wanted.notice, _nothing)


def end() -> None:
    """Go: an interpreter that ends drops its handlers, and a notice still ends none."""
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if handler is _nothing:
            signal.signal(number, signal.SIG_IGN)
        elif handler is _end:
            signal.signal(number, signal.SIG_DFL)


def _replace(number: int, handler: "signal._HANDLER") -> None:
    if signal.getsignal(number) is signal.SIG_DFL:
        signal.signal(number, handler)


def _nothing(_: int, __: FrameType | None) -> None:
    """Do nothing; unlike "ignored", this is not what a program started later finds."""


def _end(number: int, _: FrameType | None) -> NoReturn:
    raise Ended(number)
