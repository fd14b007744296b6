"""The nodes of one job in one process, act by act; measured by rendezvous.py."""

import asyncio
import contextlib
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import attrs

from elaunch.api import (
    BudgetPolicy,
    JobSettings,
    NodeState,
    Outcome,
    OutcomeState,
    ProcessFailure,
    RendezvousParameters,
    RendezvousUnreachable,
    Store,
    StoreRendezvous,
)
from elaunch_rdzv_c10d.hosting import StoreOpener
from elaunch_rdzv_c10d.options import C10dOptions


LIMIT = 120.0
"""Seconds that an act may take before the benchmark fails."""

FORM, RESTART, RESET = ACTS = ("form", "restart", "reset")


@attrs.frozen
class Act:
    """What one act cost.

    Attributes:
        seconds: How long it took.
        operations: Store operations for each node.
        sent: Bytes that each node sent.
        received: Bytes that each node received.
        note: What went wrong, if something did.
    """

    seconds: float
    operations: float
    sent: float
    received: float
    note: str = ""


@attrs.define(eq=False)
class Traffic:
    """What all nodes together have done so far.

    Attributes:
        operations: Calls of their stores.
        transports: Every connection that was ever made.
    """

    operations: int = 0
    transports: list[asyncio.Transport] = attrs.field(factory=list)
    _over: tuple[int, int] = (0, 0)

    def bytes(self) -> tuple[int, int]:
        """Return the bytes sent and received, as the kernel counted them."""
        sent, received = self._over
        for transport in self.transports:
            more_sent, more_received = _counted(transport)
            sent += more_sent
            received += more_received
        return sent, received

    def reset(self) -> None:
        """Break every connection."""
        self._over = self.bytes()
        for transport in self.transports:
            transport.abort()
        self.transports.clear()


def _counted(transport: asyncio.Transport) -> tuple[int, int]:
    if not sys.platform.startswith("linux"):
        return 0, 0
    connection = transport.get_extra_info("socket")
    if connection.fileno() < 0:  # lost, and with it what it carried
        return 0, 0
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 208)
    # tcpi_bytes_received and tcpi_bytes_sent of linux/tcp.h.
    return struct.unpack_from("Q", info, 200)[0], struct.unpack_from("Q", info, 128)[0]


class Loop(asyncio.SelectorEventLoop):
    """A loop that notes the connections it makes."""

    traffic = Traffic()

    async def create_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Connect as ever."""
        transport, protocol = await super().create_connection(*args, **kwargs)
        self.traffic.transports.append(transport)
        return transport, protocol


class CountingStore:
    """A store that counts what is asked of it."""

    def __init__(self, store: Store, traffic: Traffic) -> None:
        self._store = store
        self._traffic = traffic

    def __getattr__(self, name: str) -> Any:
        self._traffic.operations += name != "close"
        return getattr(self._store, name)


@attrs.define(eq=False)
class Job:
    """The nodes of one job, and what they cost.

    Attributes:
        nodes: The rendezvous handler of each node.
        stores: The store of each node, once open.
        traffic: What they do.
    """

    nodes: list[StoreRendezvous]
    stores: list[Store]
    traffic: Traffic

    @classmethod
    def of(cls, size: int, traffic: Traffic) -> "Job":
        """Return a job whose nodes have not begun."""
        params = job_parameters(size, f"127.0.0.1:{free_port()}")
        job = cls([], [], traffic)
        options = C10dOptions()
        job.nodes += [
            StoreRendezvous(job.opener(params, options), params, options)
            for _ in range(size)
        ]
        return job

    def opener(self, params: RendezvousParameters, options: C10dOptions) -> Any:
        """Return what opens one node's store."""
        opener = StoreOpener(params, options)

        async def open_store() -> Store:
            store = cast("Store", CountingStore(await opener(), self.traffic))
            self.stores.append(store)
            return store

        return open_store

    async def form(self) -> str:
        """Bring all nodes into the first generation."""
        places = await asyncio.gather(*(node.join() for node in self.nodes))
        if sorted(place.group_rank for place in places) != list(range(len(places))):
            raise AssertionError("the nodes did not agree on ranks")
        return ""

    async def restart(self) -> str:
        """Let one node fail and bring all into the next generation."""
        again = asyncio.gather(*(self._again(node) for node in self.nodes))
        await self.nodes[len(self.nodes) // 2].report(NodeState.FAILED, (a_failure(),))
        if set(await again) != {2}:
            raise AssertionError("the nodes are not all in the second generation")
        return ""

    async def _again(self, node: StoreRendezvous) -> int:
        async for _ in node.changes():
            break
        return (await node.join()).generation

    async def run(self) -> None:
        """Tell that the workers run, as agents do between the acts."""
        await asyncio.gather(*(node.report(NodeState.RUNNING) for node in self.nodes))

    async def reset(self) -> str:
        """Break all connections and wait until every node is answered again."""
        news = [asyncio.create_task(_first(node)) for node in self.nodes]
        await asyncio.sleep(0)  # they look at what there is before anything breaks
        self.traffic.reset()
        await asyncio.gather(
            *(store.get("/") for store in self.stores), return_exceptions=True
        )
        lost = sum(task.done() for task in news)
        for task in news:
            task.cancel()
        await asyncio.gather(*news, return_exceptions=True)
        return f"{lost} nodes were lost" if lost else ""

    async def end(self) -> None:
        """Close the job and release everything."""
        outcome = Outcome(state=OutcomeState.SUCCEEDED, reason="measured")
        with contextlib.suppress(RendezvousUnreachable):
            await self.nodes[0].close(outcome)
        await asyncio.gather(*(node.aclose() for node in self.nodes))


def job_parameters(
    size: int,
    endpoint: str,
    *,
    backend: str = "c10d",
    run_id: str = "benchmark",
    spare: int = 0,
) -> RendezvousParameters:
    """Return the parameters of a job that forms when all nodes are there.

    Args:
        size: Its nodes.
        endpoint: Where they meet.
        backend: By which means.
        run_id: Name of the job.
        spare: How many of the nodes may be missing later.
    """
    least = size - spare
    settings = JobSettings(min_nodes=least, max_nodes=size, max_restarts=1)
    return RendezvousParameters(
        backend=backend,
        endpoint=endpoint,
        run_id=run_id,
        min_nodes=least,
        max_nodes=size,
        settings=settings,
        policy=BudgetPolicy(settings.max_restarts),
    )


def a_failure() -> ProcessFailure:
    """Return what a node reports when a worker of its fails."""
    return ProcessFailure(
        rank=0,
        local_rank=0,
        role="default",
        host="localhost",
        pid=1,
        exitcode=1,
        timestamp=time.time(),
    )


async def _first(node: StoreRendezvous) -> str:
    async for change in node.changes():
        return change.reason
    return ""


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def play(size: int) -> dict[str, Act]:
    """Play the acts of a job of so many nodes; to be run by a `Loop`."""
    traffic = Loop.traffic = Traffic()
    job = Job.of(size, traffic)

    async def timed(act: Callable[[], Awaitable[str]]) -> Act:
        operations, (sent, received) = traffic.operations, traffic.bytes()
        begin = time.perf_counter()
        async with asyncio.timeout(LIMIT):
            note = await act()
        seconds = time.perf_counter() - begin
        now_sent, now_received = traffic.bytes()
        return Act(
            seconds,
            (traffic.operations - operations) / size,
            (now_sent - sent) / size,
            (now_received - received) / size,
            note,
        )

    acts = {FORM: await timed(job.form)}
    await job.run()
    acts[RESTART] = await timed(job.restart)
    await job.run()
    acts[RESET] = await timed(job.reset)
    await job.end()
    return acts
