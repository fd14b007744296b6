"""The signals that an agent handles."""

import asyncio
import contextlib
import math
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from types import FrameType
from typing import Any

import attrs


Told = Mapping[int, Callable[[int], None]]
"""Who is told of which signal."""

HandledSignals = Callable[[Told], AbstractContextManager[None]]
"""Hands signals to callbacks while its context lasts."""


ONCE_WITHIN = 1.0
"""Seconds within which a SIGTERM that comes again is the same one.

Who ends a job by a program around it, such as GNU timeout, may send it to the process
and to its group. Two Ctrl-C are two: a user is in a hurry.
"""


@contextlib.contextmanager
def handled_signals(told: Told) -> Iterator[None]:
    """Hand signals to callbacks meanwhile, which only the main thread can.

    The handlers that were there before are there afterwards. A SIGHUP that is ignored
    stays so: whoever started this process, by nohup say, wants it to go on.

    Args:
        told: Who is told of which signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _heard(told)}
    for number in before:
        loop.add_signal_handler(number, told[number], number)
    try:
        yield
    finally:
        for number in before:
            loop.remove_signal_handler(number)
        _restore(before)


@attrs.define(eq=False, repr=False)
class Relay:
    """Hands the signals of the main thread to an agent in another one.

    Attributes:
        numbers: The signals.
    """

    numbers: Collection[int]
    _came: deque[int] = attrs.field(factory=deque, init=False)
    _told: Told = attrs.field(factory=dict, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals meanwhile, in the main thread.

        What the agent did not take, since it had ended, is for the handlers that were
        there before.
        """
        before = {number: signal.getsignal(number) for number in _heard(self.numbers)}
        for number in before:
            signal.signal(number, self._take)
        try:
            yield
        finally:
            _restore(before)
            for number in self._came:
                signal.raise_signal(number)

    @contextlib.contextmanager
    def handled(self, told: Told) -> Iterator[None]:
        """Hand them to callbacks meanwhile, on the agent's loop."""
        self._told, self._loop = told, asyncio.get_running_loop()
        self._deliver()
        try:
            yield
        finally:
            self._loop = None

    def _take(self, number: int, _: FrameType | None) -> None:
        self._came.append(number)
        loop = self._loop
        if loop:
            # The loop may end just now.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        while self._came and self._loop:
            number = self._came.popleft()
            self._told[number](number)


def _heard(numbers: Collection[int]) -> list[int]:
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [n for n in numbers if not (ignored and n == signal.SIGHUP)]


def _restore(before: Mapping[int, Any]) -> None:
    for number, handler in before.items():
        if handler is not None:  # else it is none of Python's
            signal.signal(number, handler)


@attrs.define(eq=False, repr=False)
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
