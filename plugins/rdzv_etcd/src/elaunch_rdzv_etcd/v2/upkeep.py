"""What a job has in etcd besides leases: renewed while it lasts, gone when it is over.

The state of a job must outlive whoever wrote it, but not all of its agents. etcd's v2
API could give the directory of the job a time to live, but from 3.4 on it refuses to
renew that of a directory. So each key without a lease has one, a long one, and agents
renew them: now and then each tries to leave a note in the directory, which expires by
itself, and who succeeds renews all. Watches hear nothing of it.

Directories come with the keys in them, and stay. Whoever closes its client removes
those that it has used, from the bottom up, as far as they are empty, and the last one
all of them. Nothing else is ever deleted: a job that begins anew in the same moment
loses nothing. What stays of a job whose agents were all killed are empty directories,
until a job of the same name ends.
"""

import asyncio
import contextlib
import functools
import math
import random

import attrs

from elaunch.api import RendezvousError
from elaunch_rdzv_etcd.link import Link
from elaunch_rdzv_etcd.v2.client import ConditionFailed, EtcdClient
from elaunch_rdzv_etcd.v2.nodes import Node
from elaunch_rdzv_etcd.v2.paths import NOTE


_ROUNDS = 8  # in one time to live
_LOOKS = 2  # in the time of one round
_SHORTEST = 3  # seconds; a note lives for one at least


@attrs.define(eq=False)
class Upkeep:
    """Keeps what a job has in etcd.

    Attributes:
        directory: Directory of the job.
        ttl: Seconds that a key lives unless it is renewed.
    """

    directory: str
    ttl: int
    _link: Link[EtcdClient]
    _used: set[str] = attrs.field(factory=set, init=False)
    _task: asyncio.Task[None] = attrs.field(init=False)

    @classmethod
    def begin(cls, directory: str, ttl: float, link: Link[EtcdClient]) -> "Upkeep":
        """Begin to renew the job's keys. etcd counts in whole seconds."""
        upkeep = cls(directory, max(_SHORTEST, math.ceil(ttl)), link)
        upkeep._task = asyncio.create_task(upkeep._run())
        return upkeep

    def touch(self, path: str) -> None:
        """Note that a file is written or deleted, and so where directories may be."""
        if path.startswith(f"{self.directory}/"):
            self._used.add(path.rpartition("/")[0])

    def claim(self, client: EtcdClient) -> bool:
        """Leave the note, unless another agent's is still there; return whether."""
        claimed = True
        try:
            client.create(self._note, "", math.ceil(self.ttl / _ROUNDS))
        except ConditionFailed:
            claimed = False
        self._used.add(self.directory)
        return claimed

    def look(self, client: EtcdClient) -> None:
        """Ask etcd for the note, which most of its members must agree to answer."""
        client.read(self._note)

    def close(self) -> None:
        """Renew no more."""
        self._task.cancel()

    async def clear(self) -> None:
        """Leave the job: remove its empty directories."""
        if self._used:
            with contextlib.suppress(RendezvousError):
                await self._link.call(self._clear, self._link.ring.target.timeout)

    @property
    def _note(self) -> str:
        return f"{self.directory}/{NOTE}"

    async def _run(self) -> None:
        while True:
            interval = self.ttl / _ROUNDS / _LOOKS
            # Many agents that began at the same time spread out.
            await asyncio.sleep(interval * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads
            with contextlib.suppress(RendezvousError):
                if await self._link.call(self.claim):
                    await self._renew_all()

    async def _renew_all(self) -> None:
        nodes, _ = await self._link.call(lambda client: client.list(self.directory))
        for node in nodes:
            if node.path != self._note and node.is_kept:
                await self._link.call(functools.partial(self._renew, node))

    def _renew(self, node: Node, client: EtcdClient) -> None:
        # Whoever has changed it meanwhile has renewed it, too.
        with contextlib.suppress(ConditionFailed):
            if node.is_settled:
                client.renew(node.path, self.ttl, node.index)
            else:
                client.swap(node.path, node.settled(), self.ttl, node.index)

    def _clear(self, client: EtcdClient) -> None:
        # In this order what lies in a directory comes before it.
        for directory in sorted(self._used - {self.directory}, reverse=True):
            # One that is dead may have left an empty one in there.
            if not client.remove(directory) and client.leaves(directory)[0]:
                return  # others are there
        files, empty = client.leaves(self.directory)
        if files - {self._note}:
            return
        client.delete(self._note)
        for directory in sorted(self._with_parents(empty), reverse=True):
            if not client.remove(directory):
                return

    def _with_parents(self, directories: set[str]) -> set[str]:
        """Return directories with all those above them, up to that of the job."""
        found = {self.directory}
        for each in directories:
            path = each
            while path not in found:
                found.add(path)
                path = path.rpartition("/")[0]
        return found
