"""Calls that block, each in a daemon thread: none holds up the end of the process."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import attrs


T = TypeVar("T")


async def in_thread(call: Callable[[], T]) -> T:
    """Wait for a call that blocks. Cancelled, it goes on and is forgotten.

    Raises:
        Exception: Whatever the call raises.
    """
    return await begin(call)


def begin(call: Callable[[], T]) -> "asyncio.Future[T]":
    """Begin a call that blocks, and return what becomes of it."""
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
    return answer


@attrs.define(eq=False, repr=False)
class BlockingCall(Generic[T]):
    """A call that may hang for ever, as one of a file system does whose server is gone.

    It is made again and again, but never while one of before still hangs: who asks then
    waits for that one, so that there is one thread at most.

    Attributes:
        call: What blocks.
    """

    call: Callable[[], T]
    _pending: "asyncio.Future[T] | None" = attrs.field(default=None, init=False)

    async def __call__(self) -> T:
        """Wait for an answer. Cancelled, the call goes on.

        Raises:
            Exception: Whatever the call raises.
        """
        loop = asyncio.get_running_loop()
        pending = self._pending
        if pending is None or pending.done() or pending.get_loop() is not loop:
            pending = self._pending = begin(self.call)
            # Nobody may be left to hear of its error.
            pending.add_done_callback(lambda p: p.cancelled() or p.exception())
        return await asyncio.shield(pending)
