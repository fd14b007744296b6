"""The signals that an agent handles."""

import asyncio
import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator, Mapping

import attrs


ONCE_WITHIN = 1.0
"""Seconds within which a SIGTERM that comes again is the same one.

Who ends a job by a program around it, such as GNU timeout, may send it to the process
and to its group. Two Ctrl-C are two: a user is in a hurry.
"""


@contextlib.contextmanager
def handled_signals(told: Mapping[int, Callable[[int], None]]) -> Iterator[None]:
    """Hand signals to callbacks meanwhile, which only the main thread can.

    The handlers that were there before are there afterwards.

    Args:
        told: Who is told of which signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in told}
    for number, callback in told.items():
        loop.add_signal_handler(number, callback, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:  # else it is none of Python's
                signal.signal(number, handler)


@attrs.define(eq=False)
class Once:
    """Hands signals on, but a repeated SIGTERM once.

    Attributes:
        tell: Who is told.
    """

    tell: Callable[[int], None]
    _last: float = attrs.field(default=-math.inf, init=False)

    def __call__(self, signum: int) -> None:
        """Take a signal, on the loop."""
        if signum == signal.SIGTERM:
            now = asyncio.get_running_loop().time()
            if now - self._last < ONCE_WITHIN:
                return
            self._last = now
        self.tell(signum)
