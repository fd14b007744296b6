"""The nodes of one job under virtual time; measured by rendezvous.py.

Far more nodes than one machine has room for as sockets: the same rendezvous code over
the simulated store. Its seconds are virtual, where only messages take time; operations
and bytes are those of every other row, but a message counts as what its JSON is long.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

import attrs
import msgspec
from rendezvous_job import FORM, RESTART, Act, a_failure, job_parameters

from elaunch.api import (
    NodeFacts,
    NodeState,
    RendezvousOptions,
    RendezvousParameters,
    Store,
    StoreRendezvous,
)
from elaunch.testing.simulation import (
    Network,
    Process,
    SimulatedLoop,
    SimulatedStore,
    StoreServer,
)


OPTIONS = RendezvousOptions(keep_alive_interval=60.0)
"""No renewal falls into what is measured, so that all sizes do the same."""


NOTE = "virtual time; bytes sent and received"


@attrs.define(eq=False)
class VirtualJob:
    """The nodes of one job, each in a process of its own.

    Attributes:
        size: How many there are.
        sent: Bytes of all messages, in both directions.
    """

    size: int
    sent: int = attrs.field(default=0, init=False)
    loop: SimulatedLoop = attrs.field(factory=lambda: SimulatedLoop(1), init=False)
    network: Network = attrs.field(init=False)
    server: StoreServer = attrs.field(init=False)
    nodes: list[tuple[Process, StoreRendezvous]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        rng = random.Random(1)  # noqa: S311 - reproducible
        self.network = Network(self.loop, rng, on_send=self._count)
        self.server = StoreServer(self.loop, self.network)
        params = job_parameters(self.size, "virtual")
        self.nodes = [self._node(number, params) for number in range(self.size)]

    def _count(self, message: object) -> None:
        self.sent += len(msgspec.json.encode(message))

    def _node(
        self, number: int, params: RendezvousParameters
    ) -> tuple[Process, StoreRendezvous]:
        process = self.loop.process(f"n{number}")
        rng = random.Random(number)  # noqa: S311 - reproducible

        async def open_store() -> Store:
            store = SimulatedStore(self.network, process, self.server.address, rng)
            return await store.connect(OPTIONS.join_limit)

        facts = NodeFacts(host=f"n{number}", address=f"n{number}")
        params = attrs.evolve(params, node=facts)
        return process, StoreRendezvous(open_store, params, OPTIONS, str(number))

    def play(self) -> dict[str, Act]:
        """Play the acts, then let everything end."""
        try:
            acts: dict[str, Act] = self.loop.run_until_complete(self._play())
            return acts
        finally:
            self.network.close()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=OPTIONS.timeout))
            self.loop.close()

    async def _play(self) -> dict[str, Act]:
        acts = {FORM: await self._act(lambda node: node.join())}
        await self._act(lambda node: node.report(NodeState.RUNNING))
        failing = self.nodes[self.size // 2][1]
        acts[RESTART] = await self._act(lambda node: _again(node, failing))
        return acts

    async def _act(self, work: Callable[[StoreRendezvous], Awaitable[object]]) -> Act:
        began, requests, sent = self.loop.now, self.server.requests, self.sent

        async def one(node: StoreRendezvous) -> None:
            await work(node)

        await asyncio.gather(
            *(self.loop.spawn(process, one(node)) for process, node in self.nodes)
        )
        size = self.size
        carried = (self.sent - sent) / size
        operations = (self.server.requests - requests) / size
        return Act(self.loop.now - began, operations, 0, carried, NOTE)


async def _again(node: StoreRendezvous, failing: StoreRendezvous) -> None:
    if node is failing:
        await node.report(NodeState.FAILED, (a_failure(),))
    async for _ in node.changes():
        break
    await node.join()
