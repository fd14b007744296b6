"""Calls that block, each in a daemon thread: none holds up the end of the process."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar


T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Wait for a call that blocks. Cancelled, it goes on and is forgotten.

    Raises:
        Exception: Whatever the call raises.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error:
            answer.set_exception(error)
        else:
            answer.set_result(value)  # type: ignore[arg-type] # it is what was returned

    def run() -> None:
        value, failure = None, None
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - told to who waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, value, failure)

    threading.Thread(target=run, name="elaunch-blocking", daemon=True).start()
    return await answer
