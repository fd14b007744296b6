"""An event loop for programs that have none."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar


T = TypeVar("T")


class LoopThread:
    """An event loop in a daemon thread."""

    def __init__(self) -> None:
        self.ended = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, name="elaunch-processes", daemon=True
        )
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def begin(self, work: "Coroutine[Any, Any, T]") -> "concurrent.futures.Future[T]":
        """Begin some work."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def ask(self, work: "Coroutine[Any, Any, T]") -> T:
        """Do some work and return its result."""
        return self.begin(work).result()

    def end(self) -> None:
        """End the loop and the thread."""
        self.ended = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
