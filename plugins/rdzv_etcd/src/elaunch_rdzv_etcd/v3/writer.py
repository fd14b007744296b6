"""Writes of one client, sent in batches: what comes while one is under way waits.

A batch is one transaction with a transaction of its own for each change in it, so that
one whose condition fails does not stop the others. A coordinator that assigns the ranks
of a thousand nodes makes 16 requests instead of a thousand.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import attrs

from elaunch.api import RendezvousUnreachable
from elaunch_rdzv_etcd.link import Link, closed
from elaunch_rdzv_etcd.trouble import Refused
from elaunch_rdzv_etcd.v3.changes import Change
from elaunch_rdzv_etcd.v3.gateway import Gateway


MOST_CHANGES = 64
"""In one batch. etcd takes 128 operations by default, those inside of others included.
"""

MOST_BYTES = 512 * 1024
"""In one batch of several changes. etcd takes 1.5 MiB by default, as base64."""


@attrs.frozen(eq=False)
class _Waiting:
    change: Change
    since: float
    settled: asyncio.Future[None]


@attrs.define(eq=False)
class _Commit:
    """One transaction; it may take several attempts."""

    changes: list[Change]
    in_doubt: bool
    _first: list[dict[str, Any]] = attrs.field(init=False)
    _again: list[dict[str, Any]] = attrs.field(init=False)
    _attempts: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        self._first = [c.operation(in_doubt=self.in_doubt) for c in self.changes]
        self._again = [c.operation(in_doubt=True) for c in self.changes]

    def __call__(self, etcd: Gateway) -> Sequence[dict[str, Any]]:
        self._attempts += 1
        self.in_doubt = self.in_doubt or self._attempts > 1
        return etcd.commit(self._again if self.in_doubt else self._first)


@attrs.define(eq=False)
class Writer:
    """Carries out changes in the order in which they come.

    Attributes:
        link: How requests get to the cluster.
    """

    link: Link[Gateway]
    _queue: deque[_Waiting] = attrs.field(factory=deque, init=False)
    _batch: list[_Waiting] = attrs.field(factory=list, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def carry_out(self, change: Change) -> None:
        """Make a change; afterwards it has its outcome.

        Cancelled, it may be made or not.

        Raises:
            RendezvousUnreachable: If there was no answer in time, or a refusal.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(change, loop.time(), loop.create_future())
        self._queue.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await waiting.settled

    def close(self) -> None:
        """Make no more changes; those under way may be made or not."""
        if self._task:
            self._task.cancel()
        self._tell([*self._batch, *self._queue], closed())

    async def _run(self) -> None:
        while batch := self._next_batch():
            self._batch = batch
            await self._commit(batch, in_doubt=False)

    def _next_batch(self) -> list[_Waiting]:
        """Take the next changes; of two of the same key the second one waits."""
        batch: list[_Waiting] = []
        places: set[bytes] = set()
        size = 0
        while self._queue and len(batch) < MOST_CHANGES:
            change = self._queue[0].change
            full = batch and size + change.size > MOST_BYTES
            if full or change.place in places:
                break
            waiting = self._queue.popleft()
            if not waiting.settled.cancelled():
                batch.append(waiting)
                places.add(change.place)
                size += change.size
        return batch

    async def _commit(self, batch: list[_Waiting], *, in_doubt: bool) -> None:
        try:
            while batch:
                commit = _Commit([waiting.change for waiting in batch], in_doubt)
                try:
                    answers = await self.link.call(commit)
                finally:
                    in_doubt = commit.in_doubt
                again = []
                for waiting, answer in zip(batch, answers, strict=True):
                    if waiting.change.settle(answer, in_doubt=in_doubt):
                        # At once: what is done must not be done again with others.
                        self._tell([waiting], None)
                    else:
                        again.append(waiting)
                batch = again
        except RendezvousUnreachable as error:
            if not isinstance(error.__cause__, Refused):
                self._tell([*batch, *self._overdue()], error)
            elif len(batch) == 1:
                self._tell(batch, error)
            else:
                # Whose fault it is shows when each is asked for alone.
                for waiting in batch:
                    await self._commit([waiting], in_doubt=in_doubt)
        except Exception as error:  # noqa: BLE001 - told to those who wait
            self._tell(batch, error)

    def _overdue(self) -> list[_Waiting]:
        """Take those who have waited long enough, behind others that got no answer."""
        limit = asyncio.get_running_loop().time() - self.link.patience
        overdue = []
        while self._queue and self._queue[0].since <= limit:
            overdue.append(self._queue.popleft())
        return overdue

    def _tell(self, batch: list[_Waiting], error: Exception | None) -> None:
        for waiting in batch:
            if waiting.settled.done():
                continue
            if error is None:
                waiting.settled.set_result(None)
            else:
                waiting.settled.set_exception(error)
