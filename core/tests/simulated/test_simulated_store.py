"""The simulated store is a store: what runs on it would run on a real one."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from elaunch.api import RendezvousParameters, Store, StoreRendezvous
from elaunch.membership.options import RendezvousOptions
from elaunch.options import build_options
from elaunch.testing import NewHandler, NewStore, RendezvousContract, StoreContract
from elaunch.testing.simulation import (
    Network,
    SimulatedLoop,
    SimulatedStore,
    StoreServer,
)


class Place:
    """A server, and clients of it, each in a process of its own."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        self.loop = loop
        self.network = Network(loop, loop.random)
        self.server = StoreServer(loop, self.network)
        self._numbers: Iterator[int] = itertools.count()

    async def store(self) -> Store:
        process = self.loop.process(f"client {next(self._numbers)}")
        store = SimulatedStore(
            self.network,
            process,
            self.server.address,
            self.loop.random,
            request_timeout=5.0,
        )
        return await store.connect(5.0)


@pytest_asyncio.fixture
async def place() -> AsyncIterator[Place]:
    fresh = Place()
    yield fresh
    assert fresh.loop.faults == []


class TestSimulatedStore(StoreContract):
    @pytest.fixture
    def new_store(self, place: Place) -> NewStore:
        return place.store

    async def silence(self, store: Store) -> None:
        assert isinstance(store, SimulatedStore)
        store.network.silence(store.process)


class TestSimulatedRendezvous(RendezvousContract):
    @pytest_asyncio.fixture
    async def new_handler(self, place: Place) -> AsyncIterator[NewHandler]:
        made: list[StoreRendezvous] = []

        def new(params: RendezvousParameters) -> StoreRendezvous:
            options = build_options(RendezvousOptions, params.config, "--rdzv-conf")
            assert isinstance(options, RendezvousOptions)
            made.append(StoreRendezvous(place.store, params, options))
            return made[-1]

        yield new
        await asyncio.gather(*(handler.aclose() for handler in made))
