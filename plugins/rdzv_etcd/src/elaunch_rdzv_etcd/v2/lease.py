"""Leases. etcd's v2 API has none, only a time to live for each key.

So a lease is the set of keys that were put under it. Each is renewed by a task of its
own, on condition that it was not modified since, so that a key which somebody else has
overwritten is not given a time to live again.
"""

import asyncio
import contextlib
import enum
from collections.abc import Coroutine
from typing import Any, TypeVar

import attrs

from elaunch.api import RendezvousError, RendezvousUnreachable, WatchCompacted
from elaunch_rdzv_etcd.leases import (
    RENEWALS,
    TRUSTED,
    check_held,
    stood_still,
    whole_seconds,
)
from elaunch_rdzv_etcd.link import Link
from elaunch_rdzv_etcd.v2.client import ConditionFailed, EtcdClient
from elaunch_rdzv_etcd.v2.writes import Deletion, Write, Written


AnswerT = TypeVar("AnswerT")


class _Fate(enum.Enum):
    RENEWED = enum.auto()
    TAKEN = enum.auto()
    EXPIRED = enum.auto()


@attrs.define(eq=False)
class _Held:
    """A key that lives by a lease."""

    key: str
    path: str
    write_id: str
    index: int
    settled: str | None
    confirmed: float
    keeper: asyncio.Task[None] | None = None


@attrs.define(eq=False)
class EtcdLease:
    """A set of keys that are kept alive together.

    Attributes:
        seconds: Time to live of each key.
        lost: Done, with the reason, as soon as the lease can't be counted on.
    """

    seconds: int
    lost: asyncio.Future[str]
    _link: Link[EtcdClient]
    _held: dict[str, _Held] = attrs.field(factory=dict, init=False)
    _writes: set[asyncio.Future[Any]] = attrs.field(factory=set, init=False)

    @classmethod
    def grant(cls, ttl: float, link: Link[EtcdClient]) -> "EtcdLease":
        """Return a lease without keys. etcd counts in whole seconds, from 1."""
        lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        return cls(whole_seconds(ttl), lost, link)

    @property
    def ttl(self) -> float:
        """Seconds without renewal after which etcd deletes the keys."""
        return float(self.seconds)

    def check(self, key: str) -> None:
        """Refuse a key if the lease is over.

        Raises:
            RendezvousUnreachable: If it is.
        """
        check_held(self.lost, key)

    async def see_through(self, write: Coroutine[None, None, AnswerT]) -> AnswerT:
        """Write a key that is to be attached, also when the caller is cancelled.

        A thread can't be cancelled; the key that it writes must not be forgotten.
        """
        task = asyncio.create_task(write)
        self._writes.add(task)
        task.add_done_callback(self._seen_through)
        return await asyncio.shield(task)

    async def attach(
        self, key: str, write: Write, written: Written, since: float
    ) -> None:
        """Keep a key alive that was written not earlier than the time ``since``.

        Raises:
            RendezvousUnreachable: If the lease is over by now; the key is deleted.
        """
        self.detach(write.path)
        settled = write.settled(written)
        held = _Held(key, write.path, write.write_id, written.index, settled, since)
        if self.lost.done():
            await self._delete(held)
            self.check(key)
        held.keeper = asyncio.create_task(self._keep(held))
        self._held[held.path] = held

    def detach(self, path: str) -> None:
        """Let a key be: it has another life now. An unknown one is fine."""
        held = self._held.pop(path, None)
        if held and held.keeper:
            held.keeper.cancel()

    async def revoke(self) -> None:
        """End the lease and delete its keys now, those that nobody has overwritten.

        What can't be deleted now goes when its time to live is over.
        """
        self._lose("it was revoked")
        if self._writes:
            # Connecting and reading have a time-out each.
            await asyncio.wait(self._writes, timeout=2 * self._link.ring.target.timeout)
        held = tuple(self._held.values())
        self._held.clear()
        await asyncio.gather(*map(self._delete, held))

    async def _keep(self, held: _Held) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(held.confirmed + self.ttl / RENEWALS - loop.time())
            sent = loop.time()
            limit = held.confirmed + self.ttl * TRUSTED
            if sent >= limit:
                self._lose(stood_still(sent - held.confirmed))
                return
            try:
                async with asyncio.timeout_at(limit):
                    fate = await self._link.call(
                        lambda client: _renew(client, held, self.seconds), limit - sent
                    )
            except TimeoutError:
                silence = loop.time() - held.confirmed
                self._lose(str(self._link.ring.unreachable(silence)))
                return
            except RendezvousError as error:
                self._lose(str(error))
                return
            if fate is _Fate.EXPIRED:
                self._lose(f"etcd let {held.key!r} expire")
                return
            if fate is _Fate.TAKEN:
                if self._held.get(held.path) is held:
                    del self._held[held.path]
                return
            held.confirmed = sent

    async def _delete(self, held: _Held) -> None:
        deletion = Deletion(held.path, write_id=held.write_id)
        limit = min(self.ttl, self._link.ring.target.timeout)
        with contextlib.suppress(RendezvousUnreachable):
            await self._link.call(deletion, limit)

    def _seen_through(self, write: asyncio.Future[Any]) -> None:
        self._writes.discard(write)
        if not write.cancelled():
            write.exception()  # told to the caller, unless that one was cancelled

    def _lose(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)
        for held in self._held.values():
            if held.keeper and held.keeper is not asyncio.current_task():
                held.keeper.cancel()


def _renew(client: EtcdClient, held: _Held, ttl: int) -> _Fate:
    while True:
        settled = held.settled  # an attempt that got no answer may end meanwhile
        try:
            if settled is None:
                held.index = client.renew(held.path, ttl, held.index)
            else:
                held.index = client.swap(held.path, settled, ttl, held.index)
        except ConditionFailed:
            node = client.read(held.path)
            if node is None or node.write_id != held.write_id:
                return _fate(client, held)
            held.index = node.index  # an earlier attempt was carried out after all
            held.settled = None if node.is_settled else settled
        else:
            held.settled = None
            return _Fate.RENEWED


def _fate(client: EtcdClient, held: _Held) -> _Fate:
    """Ask etcd's history what happened to a key that is not ours any more."""
    since = held.index
    while True:
        try:
            change = client.watch(held.path, since, recursive=False).change
        except WatchCompacted:
            return _Fate.EXPIRED
        if change is None or change.expired:
            return _Fate.EXPIRED
        if change.node is None or change.node.write_id != held.write_id:
            return _Fate.TAKEN
        since = change.index  # our own renewal, whose answer was lost
