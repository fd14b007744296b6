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
from elaunch_rdzv_etcd.link import Link
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
    settled: asyncio.Future[None]


@attrs.define(eq=False)
class _Commit:
    """One transaction; it may take several attempts."""

    changes: list[Change]
    attempts: int = attrs.field(default=0, init=False)
    _operations: list[dict[str, Any]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._operations = [change.operation() for change in self.changes]

    def __call__(self, etcd: Gateway) -> Sequence[dict[str, Any]]:
        self.attempts += 1
        return etcd.commit(self._operations)


@attrs.define(eq=False)
class Writer:
    """Carries out changes in the order in which they come.

    Attributes:
        link: How requests get to the cluster.
    """

    link: Link[Gateway]
    _queue: deque[_Waiting] = attrs.field(factory=deque, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    async def carry_out(self, change: Change) -> None:
        """Make a change; afterwards it has its outcome.

        Cancelled, it may be made or not.

        Raises:
            RendezvousUnreachable: If there was no answer in time, or a refusal.
        """
        waiting = _Waiting(change, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        await waiting.settled

    async def _run(self) -> None:
        while batch := self._next_batch():
            await self._commit(batch)

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

    async def _commit(self, batch: list[_Waiting]) -> None:
        changes = [waiting.change for waiting in batch]
        in_doubt = False
        try:
            while changes:
                commit = _Commit(changes)
                answers = await self.link.call(commit)
                in_doubt = in_doubt or commit.attempts > 1
                changes = [
                    change
                    for change, answer in zip(changes, answers, strict=True)
                    if not change.settle(answer, in_doubt=in_doubt)
                ]
        except RendezvousUnreachable as error:
            if len(batch) > 1 and isinstance(error.__cause__, Refused):
                # Whose fault it is shows when each is asked for alone.
                for waiting in batch:
                    await self._commit([waiting])
            else:
                self._tell(batch, error)
        except BaseException as error:
            self._tell(batch, error)
            raise
        else:
            self._tell(batch, None)

    def _tell(self, batch: list[_Waiting], error: BaseException | None) -> None:
        for waiting in batch:
            if waiting.settled.done():
                continue
            if error is None:
                waiting.settled.set_result(None)
            else:
                waiting.settled.set_exception(error)
