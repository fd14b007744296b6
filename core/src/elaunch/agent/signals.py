"""The signals that end an agent in good order."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


HANDLED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def handled_signals(told: Callable[[int], None]) -> Iterator[None]:
    """Hand signals to a callback meanwhile; only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    for number in HANDLED_SIGNALS:
        loop.add_signal_handler(number, told, number)
    try:
        yield
    finally:
        for number in HANDLED_SIGNALS:
            loop.remove_signal_handler(number)
