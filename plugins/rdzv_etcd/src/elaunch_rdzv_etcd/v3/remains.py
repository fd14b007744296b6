"""What a job has written without a lease: it outlives its agents, but not for ever.

All agents of a job share one lease for it, whose id follows from the job's. Each keeps
it alive, seldom; when the last of them is gone without the final clean-up, by a power
cut for example, etcd removes what they left.
"""

import asyncio
import hashlib
import math
import random

import attrs

from elaunch.api import RendezvousError, RendezvousUnreachable
from elaunch_rdzv_etcd.link import Link
from elaunch_rdzv_etcd.v3.gateway import Gateway
from elaunch_rdzv_etcd.v3.refusals import LeaseExists


_RENEWALS = 4  # in one time to live
_LARGEST_ID = 2**63 - 1


@attrs.frozen
class Job:
    """What a store has to know of the job that uses it.

    Attributes:
        lease_id: Id of the lease that its agents share.
        ttl: Seconds that what it wrote without a lease outlives the last of them.
    """

    lease_id: int
    ttl: float

    @classmethod
    def of(cls, root: str, run_id: str, ttl: float) -> "Job":
        """Return it with an id that is the same on every node, and no other job's."""
        digest = hashlib.sha256(f"{root.rstrip('/')}\n{run_id}".encode()).digest()
        return cls(int.from_bytes(digest[:8], "big") % _LARGEST_ID + 1, ttl)


@attrs.define(eq=False)
class Remains:
    """The lease of what is put without one.

    Attributes:
        job: The job.
    """

    job: Job
    _link: Link[Gateway]
    _renewal: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _keeper: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def lease(self) -> int:
        """Return the id of the lease, which lives from now on.

        Raises:
            RendezvousUnreachable: If etcd does not answer, or refuses.
        """
        if self._keeper is None:
            await self.renew()
        return self.job.lease_id

    async def renew(self) -> None:
        """Make sure that the lease lives: once for all that ask at the same time.

        Raises:
            RendezvousUnreachable: If etcd does not answer, or refuses.
        """
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(_is_noticed)
        await asyncio.shield(self._renewal)
        if self._keeper is None and not self._closed:
            self._keeper = asyncio.create_task(self._keep())

    def close(self) -> None:
        """Keep it alive no more."""
        self._closed = True
        if self._keeper:
            self._keeper.cancel()

    async def _keep(self) -> None:
        delay = self.job.ttl / _RENEWALS
        while True:
            # All agents of a job begin at the same time.
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, no secret
            try:
                await self.renew()
            except RendezvousError:
                # Neither an outage nor a refusal need last as long as the job does.
                delay = self.job.ttl / _RENEWALS**2
            else:
                delay = self.job.ttl / _RENEWALS

    async def _renew(self) -> None:
        lease, seconds = self.job.lease_id, math.ceil(self.job.ttl)
        while not await self._link.call(lambda etcd: etcd.keep_alive(lease)):
            try:
                await self._link.call(lambda etcd: etcd.grant(seconds, lease))
            except RendezvousUnreachable as error:
                if not isinstance(error.__cause__, LeaseExists):
                    raise
            else:
                return


def _is_noticed(task: asyncio.Task[None]) -> None:
    """Let no error be reported as lost when those who waited for it are gone."""
    if not task.cancelled():
        task.exception()
