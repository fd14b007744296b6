"""Trials of a store alone: what its clients must hold to, whatever breaks.

They find what a whole job would forgive, such as a change that a watch has missed and
that the next one made up for.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable

import attrs

from elaunch.api import RendezvousOptions, RendezvousUnreachable
from elaunch.testing.simulation.backend import Backend, NewBackend
from elaunch.testing.simulation.loop import Process, SimulatedLoop
from elaunch.testing.simulation.network import Network
from elaunch.testing.simulation.scenario import generate
from elaunch.testing.simulation.streams import Streams


_WRITERS = ("a", "b", "c")
_WRITES = 20
_TROUBLES = 20


@attrs.define
class Diary:
    """What clients wrote and read while their connections broke.

    Attributes:
        happened: Each value that was written, as the store has it.
        answered: Those whose writers were told so.
        seen: What a watch told.
    """

    happened: list[bytes | None] = attrs.field(factory=list)
    answered: list[bytes] = attrs.field(factory=list)
    seen: list[bytes | None] = attrs.field(factory=list)

    def check(self) -> None:
        """Raise an `AssertionError` unless all is as it should be.

        Each write that was answered happened, none twice, and a watch told everything
        that happened, in order and once.
        """
        assert len(self.answered) > _WRITES
        assert len(set(self.happened)) == len(self.happened)
        assert set(self.answered) <= set(self.happened)
        assert self.seen == self.happened


def keep_diary(
    new_backend: NewBackend, seed: int, options: RendezvousOptions | None = None
) -> Diary:
    """Let three clients write and one read while connections break and processes stall.

    Raises:
        AssertionError: If something went wrong where nobody waited for it.
    """
    backend, draw = _store(new_backend, seed)
    loop, network = backend.loop, backend.network
    given = options or RendezvousOptions()
    diary = Diary()
    backend.keyspace.subscribe("/", 0, lambda event: diary.happened.append(event.value))

    async def write(process: Process) -> None:
        store = await backend.open(process, given)
        for number in range(_WRITES):
            value = f"{process.name} {number}".encode()
            with contextlib.suppress(RendezvousUnreachable):
                await store.put(f"/{process.name}", value)
                diary.answered.append(value)
            await asyncio.sleep(draw.uniform(0, 0.3))
        await store.close()

    async def read(process: Process) -> None:
        store = await backend.open(process, given)
        try:
            async for event in store.watch("/", 0):
                diary.seen.append(event.value)
        finally:
            await store.close()

    async def direct() -> None:
        reader, *writers = [loop.process(name) for name in ("reader", *_WRITERS)]
        reading = loop.spawn(reader, read(reader))
        writing = [loop.spawn(process, write(process)) for process in writers]
        for _ in range(_TROUBLES):
            await asyncio.sleep(draw.uniform(0, 0.5))
            trouble = draw.choice((network.reset, network.silence, loop.pause))
            process = draw.choice([reader, *writers])
            trouble(process)
            await asyncio.sleep(draw.uniform(0, 0.3))
            network.heal(process)
            loop.resume(process)
        await asyncio.gather(*writing)
        await asyncio.sleep(10)
        reading.cancel()
        await asyncio.wait([reading])

    loop.run_until_complete(direct())
    loop.close()
    assert loop.faults == []
    return diary


def stand_still(backend: Backend, _: Process) -> Callable[[], None]:
    """Stop the store's process, as SIGSTOP does; return what ends that."""
    backend.loop.pause(backend.process)
    return lambda: backend.loop.resume(backend.process)


def lose_packets(backend: Backend, client: Process) -> Callable[[], None]:
    """Cut a client off, and its connections for ever: TCP tries ever more rarely."""
    backend.network.silence(client)
    backend.network.vanish(client)
    return lambda: backend.network.heal(client)


@attrs.define
class Outage:
    """What a client that holds a lease and a watch made of an outage.

    Attributes:
        lives_on: Whether the key under its lease is still there.
        lost: Why it thinks that its lease is lost, if it does.
        seen: What its watch told.
    """

    lives_on: bool = False
    lost: list[str] = attrs.field(factory=list)
    seen: list[bytes | None] = attrs.field(factory=list)

    def check(self) -> None:
        """Raise an `AssertionError` unless nothing was lost by it."""
        assert self.lost == []
        assert self.lives_on
        assert self.seen == [b"meanwhile", b"later"]


def endure_outage(
    new_backend: NewBackend,
    trouble: Callable[[Backend, Process], Callable[[], None]],
    *,
    seconds: float,
    phase: float,
) -> Outage:
    """Let an outage begin at a moment between two renewals of a lease.

    Args:
        new_backend: Starts the store.
        trouble: Begins the outage; returns what ends it.
        seconds: How long it lasts.
        phase: When it begins, in eighths of the lease.

    Raises:
        AssertionError: If something went wrong where nobody waited for it.
    """
    backend, _ = _store(new_backend, 0)
    loop = backend.loop
    options = RendezvousOptions()
    outage = Outage()
    lives: asyncio.Future[None] = loop.create_future()

    async def live(process: Process) -> None:
        store = await backend.open(process, options)
        lease = await store.lease(options.silence_limit)
        await store.put("/here", b"", lease=lease)
        lease.lost.add_done_callback(lambda lost: outage.lost.append(lost.result()))
        lives.set_result(None)
        try:
            async with contextlib.aclosing(store.watch("/told", 0)) as events:
                async for event in events:
                    outage.seen.append(event.value)
        finally:
            await store.close()

    async def direct() -> None:
        node = loop.process("node")
        living = loop.spawn(node, live(node))
        await lives
        await asyncio.sleep(10 + phase * options.silence_limit / 8)
        heal = trouble(backend, node)
        backend.keyspace.put("/told", b"meanwhile")
        await asyncio.sleep(seconds)
        heal()
        await asyncio.sleep(30)
        backend.keyspace.put("/told", b"later")
        await asyncio.sleep(1)
        outage.lives_on = backend.keyspace.get("/here") is not None
        lost = outage.lost.copy()
        living.cancel()
        await asyncio.wait({living})
        outage.lost = lost  # closing the store ends its lease, too

    loop.run_until_complete(direct())
    loop.close()
    assert loop.faults == []
    return outage


def _store(new_backend: NewBackend, seed: int) -> tuple[Backend, random.Random]:
    loop = SimulatedLoop(seed)
    draw = random.Random(seed)  # noqa: S311 - reproducible
    network = Network(loop, draw, slowest=0.05)
    loop.streams = Streams(network)
    scenario = attrs.evolve(generate("network", seed), history=65_536)
    return new_backend(loop, network, scenario), draw
