"""Leases over real servers: kept through trouble, and lost in time."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing

import pytest
from etcd_proxy import EtcdProxy

from elaunch.api import RendezvousUnreachable
from elaunch_rdzv_etcd.server import EtcdServer
from elaunch_rdzv_etcd.testing import EtcdCluster
from elaunch_rdzv_etcd.v3.lease import EtcdLease
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV3Store]
NewServer = Callable[..., EtcdServer]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds
_RENEW = "/v3/lease/keepalive"


async def leased(store: EtcdV3Store, ttl: float) -> EtcdLease:
    lease = await store.lease(ttl)
    assert isinstance(lease, EtcdLease)
    return lease


async def lost(lease: EtcdLease) -> str:
    async with asyncio.timeout(_LIMIT):
        return await lease.lost


async def test_a_lease_outlives_its_leader(
    cluster: EtcdCluster, v3_store: NewStore, until: Until
) -> None:
    store = v3_store(cluster.endpoints)
    lease = await leased(store, 6.0)
    await store.put("/a", b"", lease=lease)
    leader = cluster.members[await asyncio.to_thread(cluster.leader)]
    await asyncio.to_thread(leader.kill)
    killed = lease._confirmed
    await until(lambda: lease._confirmed > killed + lease.ttl / 2)
    await asyncio.to_thread(leader.start)

    assert not lease.lost.done()
    assert await store.get("/a") is not None


async def test_a_lease_outlives_a_restart_of_all_from_disk(
    cluster: EtcdCluster, v3_store: NewStore, until: Until
) -> None:
    store = v3_store(cluster.endpoints)
    lease = await leased(store, 20.0)
    revision = await store.put("/a", b"", lease=lease)
    await asyncio.to_thread(cluster.stop_all)
    stopped = asyncio.get_running_loop().time()
    await until(lambda: bool(store.link.ring.trouble))
    await asyncio.to_thread(cluster.start_all)
    await until(lambda: lease._confirmed > stopped)
    entry = await store.get("/a")
    await lease.revoke()

    assert entry is not None
    assert entry.revision == revision
    assert await store.get("/a") is None


async def test_an_outage_of_half_a_lease_costs_nothing(
    new_server: NewServer, v3_store: NewStore, until: Until
) -> None:
    # As ten seconds are to a lease of twenty.
    server = new_server()
    store = v3_store(server.port, patience=16.0)
    lease = await leased(store, 16.0)
    await store.put("/a", b"", lease=lease)
    await asyncio.to_thread(server.member.kill)
    writing = asyncio.create_task(store.put("/b", b"", lease=lease))
    await asyncio.wait([writing], timeout=5.0)  # and the time that a start takes
    still = not lease.lost.done() and not writing.done()
    await asyncio.to_thread(server.start)
    started = asyncio.get_running_loop().time()
    async with asyncio.timeout(_LIMIT):
        await writing
    await until(lambda: lease._confirmed > started)

    assert still
    assert not lease.lost.done()
    assert [entry.key for entry in (await store.list("/")).entries] == ["/a", "/b"]


async def test_a_lease_is_lost_while_a_fifth_is_left(
    new_server: NewServer, v3_store: NewStore
) -> None:
    server, spare = new_server(), socket.socket()
    spare.bind(("127.0.0.1", 0))  # nobody listens there
    nobody = f"127.0.0.1:{spare.getsockname()[1]}"
    store = v3_store(f"{server.endpoint},{nobody}", patience=3600.0)
    lease = await leased(store, 4.0)
    await asyncio.to_thread(server.member.kill)
    reason = await lost(lease)
    late = asyncio.get_running_loop().time() - lease._confirmed
    spare.close()

    assert reason.startswith(f"etcd at '{server.endpoint},{nobody}' has not answered")
    assert f"'{server.endpoint}': [Errno 111] Connection refused" in reason
    assert f"'{nobody}': [Errno 111] Connection refused" in reason
    assert late >= 0.8 * lease.ttl
    with pytest.raises(RendezvousUnreachable, match="lease of '/b' is lost: etcd at "):
        await store.put("/b", b"", lease=lease)


@pytest.mark.parametrize("notice", ["renewal", "put"])
async def test_a_lease_that_somebody_revoked_is_lost(
    etcd_port: int, v3_store: NewStore, notice: str
) -> None:
    store, other = v3_store(etcd_port), v3_store(etcd_port)
    lease = await leased(store, 6.0 if notice == "renewal" else 3600.0)
    await store.put("/a", b"", lease=lease)
    await other.link.call(lambda etcd: etcd.revoke(lease.id))
    if notice == "put":
        with pytest.raises(RendezvousUnreachable, match="join again"):
            await store.put("/b", b"", lease=lease)

    assert await lost(lease) == "etcd let it expire"
    assert (await store.list("/")).entries == ()


async def test_a_grant_that_took_long_begins_when_it_was_granted(
    proxy: EtcdProxy, v3_store: NewStore, until: Until
) -> None:
    store = v3_store(proxy.port, request_timeout=0.5, patience=_LIMIT)
    proxy.hold = ["/v3/lease/grant"] * 8
    lease = await leased(store, 4.0)
    granted = lease._confirmed
    await until(lambda: lease._confirmed > granted)

    assert not lease.lost.done()


AGENT = """
import asyncio, sys
from elaunch_rdzv_etcd.options import EtcdOptions
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.remains import Job
from elaunch_rdzv_etcd.v3.store import EtcdV3Store

async def main(port, prefix):
    target = Target.parse(f"127.0.0.1:{port}", EtcdOptions())
    store = EtcdV3Store(target, 15.0, Keys(prefix), Job.of(prefix, "job", 60.0))
    lease = await store.lease(4.0)
    await store.put("/a", b"", lease=lease)
    print("ready", flush=True)
    print(await lease.lost, flush=True)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_an_agent_that_stood_still_finds_out_when_it_wakes_up(
    etcd_port: int, prefix: str, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port)
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, str(etcd_port), prefix),
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    async with asyncio.timeout(_LIMIT):
        ready = await agent.stdout.readline()
        start = (await store.list("/")).revision
        os.kill(agent.pid, signal.SIGSTOP)
        async with aclosing(store.watch("/", start)) as events:
            gone = await anext(events)
        os.kill(agent.pid, signal.SIGCONT)
        told, _ = await agent.communicate()

    assert ready == b"ready\n"
    assert (gone.key, gone.value) == ("/a", None)
    assert b"this host stood still" in told or b"etcd let it expire" in told


async def test_an_agent_that_stood_still_for_a_moment_goes_on(
    etcd_port: int, prefix: str, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port)
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", AGENT, str(etcd_port), prefix),
        stdout=asyncio.subprocess.PIPE,
    )
    assert agent.stdout is not None
    async with asyncio.timeout(_LIMIT):
        await agent.stdout.readline()
        os.kill(agent.pid, signal.SIGSTOP)
        await asyncio.to_thread(
            os.waitid, os.P_PID, agent.pid, os.WSTOPPED | os.WNOWAIT
        )
        os.kill(agent.pid, signal.SIGCONT)
        ended = asyncio.ensure_future(agent.wait())
        await asyncio.wait({ended}, timeout=5.0)
        alive = not ended.done() and await store.get("/a") is not None
        agent.kill()
        await ended

    assert alive


async def test_an_end_without_an_answer_is_bounded(
    new_server: NewServer, v3_store: NewStore
) -> None:
    server = new_server()
    store = v3_store(server.port, patience=3600.0, request_timeout=0.5)
    leases = [await leased(store, 60.0) for _ in range(10)]
    await store.put("/a", b"")
    await asyncio.to_thread(server.member.pause)
    async with asyncio.timeout(_LIMIT):
        await leases[0].revoke()
        await store.close()
    await asyncio.to_thread(server.member.resume)

    assert {lease.lost.result() for lease in leases} == {"it was revoked"}


async def test_renewals_don_t_wait_for_other_requests(
    proxy: EtcdProxy, v3_store: NewStore, until: Until
) -> None:
    store = v3_store(proxy.port, patience=3600.0, request_timeout=_LIMIT)
    lease = await leased(store, 4.0)
    proxy.hold = ["/v3/kv/range"] * 20
    reads = [asyncio.ensure_future(store.get("/a")) for _ in range(20)]
    async with asyncio.timeout(_LIMIT):
        await proxy.held.wait()
    first = lease._confirmed
    await until(lambda: lease._confirmed > first + lease.ttl / 2)
    waiting = [task for task in reads if not task.done()]
    proxy.hold.clear()
    proxy.go_on.set()
    await asyncio.gather(*reads)

    assert len(waiting) == len(reads)
    assert not lease.lost.done()
