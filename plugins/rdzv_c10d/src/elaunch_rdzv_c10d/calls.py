"""The requests of a session that have not been answered."""

import asyncio
import itertools
from collections.abc import Iterator

import attrs

from elaunch_rdzv_c10d.messages import (
    MAX_IN_FLIGHT,
    Answer,
    Operation,
    Request,
    Result,
)


@attrs.define(eq=False, repr=False)
class Call:
    """A request that has not been answered.

    Attributes:
        request: The request.
        answer: What its caller waits for; `TimeoutError` when the deadline has passed.
        deadline: Until when, by the loop's clock, its caller waits.
        sent: Whether it was ever sent, so that it may have been applied.
    """

    request: Request
    answer: asyncio.Future[Result]
    deadline: float
    sent: bool = False


@attrs.define(eq=False, repr=False)
class Calls:
    """All calls of one session, with one timer for the deadlines of all."""

    _calls: dict[int, Call] = attrs.field(factory=dict, init=False)
    _ids: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)
    # The server remembers as many answers: a repeated request always finds its own.
    _slots: asyncio.Semaphore = attrs.field(
        factory=lambda: asyncio.Semaphore(MAX_IN_FLIGHT), init=False
    )
    # Nearly all calls are answered long before their deadline: it runs at the earliest
    # deadline there was, and not once for each.
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)

    def __iter__(self) -> Iterator[Call]:
        """Return those there are now, oldest first; they may go meanwhile."""
        return iter(tuple(self._calls.values()))

    async def begin(self, operation: Operation, timeout: float) -> Call:  # noqa: ASYNC109 - counts on after the return
        """Make a call as soon as there are few enough.

        Raises:
            TimeoutError: If that is not within ``timeout`` seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if self._slots.locked():
            async with asyncio.timeout_at(deadline):
                await self._slots.acquire()
        else:
            await self._slots.acquire()  # returns at once
        request = Request(next(self._ids), operation)
        call = Call(request, loop.create_future(), deadline)
        self._calls[request.id] = call
        self._watch_until(deadline)
        return call

    def take(self, answer: Answer) -> None:
        """Give an answer to the caller, if it still waits."""
        call = self._calls.get(answer.id)
        if call:
            self.forget(call)
            if not call.answer.done():
                call.answer.set_result(answer.result)

    def fail(self, call: Call, error: Exception) -> None:
        """Give up a call; tell its caller, if it still waits."""
        self.forget(call)
        if not call.answer.done():
            call.answer.set_exception(error)

    def forget(self, call: Call) -> None:
        """Give up a call. Twice is fine."""
        if self._calls.pop(call.request.id, None):
            self._slots.release()

    def close(self) -> None:
        """Let go of the timer."""
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _watch_until(self, deadline: float) -> None:
        if self._timer:
            if self._timer.when() <= deadline:
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(deadline, self._end_overdue)

    def _end_overdue(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        waiting = [call for call in self if not call.answer.done()]
        for call in waiting:
            if call.deadline <= now:
                call.answer.set_exception(TimeoutError())
            else:
                self._watch_until(call.deadline)
