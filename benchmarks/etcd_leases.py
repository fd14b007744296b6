"""What it takes to keep the leases of many agents alive in one etcd server."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import attrs
import psutil
from etcd_job import new_run_id, no_collector

from elaunch.api import Lease
from elaunch_rdzv_etcd.connect import EtcdStore
from elaunch_rdzv_etcd.leases import RENEWALS
from elaunch_rdzv_etcd.link import Link
from elaunch_rdzv_etcd.options import EtcdOptions
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.v2.paths import Paths
from elaunch_rdzv_etcd.v2.store import EtcdV2Store
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.remains import Job
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


OPTIONS = EtcdOptions()
TTL = OPTIONS.silence_limit
"""Seconds that a lease lasts with the options by default."""

_AT_ONCE = 64  # agents that begin together
_RECORD = b"x" * 400  # about what a node says of itself


@attrs.frozen
class Load:
    """What so many leases cost while they were kept alive.

    Attributes:
        renewals: In a second.
        server: Part of a processor that etcd computed for them.
        client: Part of a processor that all agents together computed.
        late: Seconds after its time that each renewal was answered, sorted.
        lost: Leases that were lost.
    """

    renewals: float
    server: float
    client: float
    late: list[float]
    lost: int


@attrs.define(eq=False)
class _Renewals(Link[Any]):
    """The renewals of one store, which notes how late their answers are."""

    period: float = attrs.field(kw_only=True)
    late: list[float] = attrs.field(factory=list, init=False)
    _sent: float | None = attrs.field(default=None, init=False)

    async def timed(
        self, request: Callable[[Any], Any], patience: float | None = None
    ) -> tuple[Any, float]:
        """Renew as ever; `call` comes by here, too."""
        clock = asyncio.get_running_loop().time
        last, self._sent = self._sent, clock()
        answer = await super().timed(request, patience)
        if last is not None:
            self.late.append(clock() - last - self.period)
        return answer


def _store(backend: str, target: Target, run_id: str) -> EtcdV3Store | EtcdV2Store:
    if backend == "etcd-v2":
        paths, root = Paths(OPTIONS.prefix), f"/{run_id}/"
        return EtcdV2Store(target, TTL, paths, root, OPTIONS.job_ttl)
    job = Job.of(OPTIONS.prefix, run_id, OPTIONS.job_ttl)
    return EtcdV3Store(target, TTL, Keys(OPTIONS.prefix), job)


def _measured(store: EtcdV3Store | EtcdV2Store) -> _Renewals:
    """Let a store without leases renew them in a way that is measured."""
    link = store.link
    renewals = _Renewals(link.ring, 2, link.patience, period=TTL / RENEWALS)
    store._renewals = renewals  # noqa: SLF001 - measured here
    return renewals


async def _begin(store: EtcdStore, key: str, begun: asyncio.Semaphore) -> Lease:
    async with begun:
        lease = await store.lease(TTL)
        await store.put(key, _RECORD, lease=lease)
        return lease


async def _hold(
    backend: str, endpoint: str, server: psutil.Process, count: int, seconds: float
) -> Load:
    run_id, target = new_run_id(), Target.parse(endpoint, OPTIONS)
    stores = [_store(backend, target, run_id) for _ in range(count)]
    links = [_measured(store) for store in stores]
    begun = asyncio.Semaphore(_AT_ONCE)
    leases = await asyncio.gather(
        *(
            _begin(store, f"/{run_id}/nodes/{i}", begun)
            for i, store in enumerate(stores)
        )
    )
    # From the second renewal on it is known when one is due.
    await asyncio.sleep(max(link.period for link in links) * 1.5)
    for link in links:
        link.late.clear()
    begin, computed, mine = time.perf_counter(), _computed(server), time.process_time()
    await asyncio.sleep(seconds)
    late = sorted(late for link in links for late in link.late)
    seconds = time.perf_counter() - begin
    load = Load(
        len(late) / seconds,
        (_computed(server) - computed) / seconds,
        (time.process_time() - mine) / seconds,
        late,
        sum(lease.lost.done() for lease in leases),
    )
    await asyncio.gather(*(store.close() for store in stores))
    return load


def _computed(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


def hold(backend: str, endpoint: str, pid: int, count: int, seconds: float) -> Load:
    """Keep so many leases alive for a while.

    Args:
        backend: Whose leases.
        endpoint: Where the server listens.
        pid: Its process.
        count: How many agents, with a lease and a key each.
        seconds: How long.
    """
    server = psutil.Process(pid)
    with no_collector():
        return asyncio.run(_hold(backend, endpoint, server, count, seconds))
