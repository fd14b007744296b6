"""The signals that an agent handles."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping


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
