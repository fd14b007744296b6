"""One stay of a node in a job: its lease, and what it sees of the job meanwhile.

A stay ends as a whole, by a goodbye or when its lease is lost; a node that comes back
begins another.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

import attrs

from elaunch.errors import RendezvousUnreachable
from elaunch.membership.records import (
    Assignment,
    JobRecord,
    Keys,
    NodeRecord,
    decode,
    decode_info,
)
from elaunch.rendezvous import Membership
from elaunch.store import ABSENT, Lease, Store, WatchCompacted


@attrs.define(eq=False)
class Stay:
    """What one node holds and sees.

    Attributes:
        store: The store.
        keys: Keys of the job.
        lease: Under it live the node's own keys.
        node_id: Id of this stay; another stay of the same node has another.
        joined: Revision of the node's first record.
        stopped: The last generation of which this node has no workers (any more).
        published: Key of the bootstrap that this node published last, or empty.
        coordinating: Runs while this node is the coordinator, `None` if it never was.
        job: The job's record, once seen. It stays known after the final clean-up.
        decided: Whether there is a coordinator.
        bootstraps: What was published for each generation, by key.
        lost: Why this node can't count on its membership any more; empty while it can.
        broken: An error that is nobody's loss but a fault, for the agent to raise.
    """

    store: Store
    keys: Keys
    lease: Lease
    node_id: str
    joined: int = ABSENT
    stopped: int = 0
    published: str = ""
    coordinating: asyncio.Task[None] | None = None
    job: JobRecord | None = None
    decided: bool = False
    bootstraps: dict[str, Mapping[str, str]] = attrs.field(factory=dict)
    lost: str = ""
    broken: Exception | None = None
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _tasks: list[asyncio.Task[None]] = attrs.field(factory=list)

    async def begin(self) -> None:
        """Read the job as it is and follow it from there."""
        self.lease.lost.add_done_callback(lambda lost: self.lose(lost.result()))
        since = await self._read()
        self.run(lambda: self._follow(since))

    def run(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Run something for as long as the stay lasts; a fault in it is not lost."""
        task = asyncio.create_task(self._guard(work))
        self._tasks.append(task)
        return task

    async def end(self) -> None:
        """Stop everything of this stay and let its keys go."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.lease.revoke()

    async def place(self, job: JobRecord) -> Membership | None:
        """Return this node's place in a sealed generation, if it has one."""
        key = self.keys.assignment(self.node_id)
        entry = await self.store.get(key)
        if entry is None:
            return None
        assignment = decode(Assignment, key, entry.value)
        place = assignment.membership
        current = (place.generation, assignment.token) == (job.generation, job.token)
        return place if current else None

    async def is_known(self) -> bool:
        """Whether the job still counts this node as alive."""
        return await self.store.get(self.keys.node(self.node_id)) is not None

    async def nodes(self) -> list[NodeRecord]:
        """Return what all nodes of the job say of themselves."""
        listing = await self.store.list(self.keys.nodes)
        return [decode(NodeRecord, e.key, e.value) for e in listing.entries]

    def news(self) -> asyncio.Event:
        """Return an event that is set at the next news.

        Take it before looking at the facts, then wait for it: nothing is missed.
        """
        return self._news

    def lose(self, reason: str) -> None:
        """Note that this node can't count on its membership any more."""
        self.lost = self.lost or reason
        self._wake()

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except RendezvousUnreachable as error:
            self.lose(str(error))
        except Exception as error:  # noqa: BLE001 - kept for the agent, which raises it
            self.broken = error
            self._wake()

    async def _follow(self, since: int) -> None:
        while True:
            watch = self.store.watch(self.keys.job, since)
            with contextlib.suppress(WatchCompacted):
                async with contextlib.aclosing(watch) as events:
                    async for event in events:
                        self._apply(event.key, event.value)
                        self._wake()
            since = await self._read()
            self._wake()

    async def _read(self) -> int:
        listing = await self.store.list(self.keys.job)
        self.decided = False
        self.bootstraps.clear()
        for entry in listing.entries:
            self._apply(entry.key, entry.value)
        return listing.revision

    def _apply(self, key: str, value: bytes | None) -> None:
        if key == self.keys.coordinator:
            self.decided = value is not None
        elif key == self.keys.state:
            # The clean-up after the end removes the state; the end stays known.
            if value is not None:
                self.job = decode(JobRecord, key, value)
        elif value is None:
            self.bootstraps.pop(key, None)
        else:
            self.bootstraps[key] = decode_info(key, value)

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
