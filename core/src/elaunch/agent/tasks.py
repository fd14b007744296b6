"""The tasks of an agent: each is ended with it, and its fault is told."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import attrs


logger = logging.getLogger(__name__)

Task = asyncio.Task[None]

PATIENCE = 5.0
"""Seconds that the end of an agent waits for a task: a plugin may not end its own.
"""


@attrs.define(eq=False, repr=False)
class Tasks:
    """What an agent does at the same time.

    Attributes:
        on_fault: Told what a task raised.
    """

    on_fault: Callable[[BaseException], None]
    _running: set[Task] = attrs.field(factory=set, init=False)
    _left_alone: set[Task] = attrs.field(factory=set, init=False)

    def start(self, work: Coroutine[None, None, None]) -> Task:
        """Begin some work."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._settle)
        return task

    def let_go(self, task: Task) -> None:
        """Wait for a task no more, not even at the end."""
        self._running.discard(task)
        # The loop itself would let it be collected as garbage while it waits.
        self._left_alone.add(task)

    async def cancel_all(self) -> None:
        """Cancel whatever is under way, one after the other."""
        for task in tuple(self._running):
            if not task.done():
                task.cancel()
                await asyncio.wait((task,), timeout=PATIENCE)

    def _settle(self, task: Task) -> None:
        self._running.discard(task)
        self._left_alone.discard(task)
        if not task.cancelled() and (fault := task.exception()):
            self.on_fault(fault)


@attrs.define(eq=False, repr=False)
class Turns:
    """Work that is done one after the other, in the order in which it came.

    Attributes:
        tasks: Where each is a task.
    """

    tasks: Tasks
    _last: Task | None = attrs.field(default=None, init=False)

    def add(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work after what was added before, whatever became of that."""
        earlier = self._last

        async def take_turn() -> None:
            if earlier:
                await asyncio.wait((earlier,))
            await work()

        self._last = self.tasks.start(take_turn())

    async def done(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - to wait no longer is not to fail
        """Wait until all is done, but not longer than so many seconds."""
        if self._last:
            await asyncio.wait((self._last,), timeout=timeout)


async def attempt(step: Callable[[], Awaitable[None]]) -> None:
    """Do something at the end of an agent: a fault of it must not hide the outcome."""
    try:
        await step()
    except Exception:
        logger.exception("something failed while the agent ended")


async def cancel(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task, if there is one and it is not done, and wait for its end."""
    if task and not task.done():
        task.cancel()
        await asyncio.wait((task,))
