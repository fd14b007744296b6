import asyncio
import socket
from collections.abc import AsyncIterator
from functools import partial

import attrs
import pytest
import pytest_asyncio

from elaunch import get_rdzv_handler
from elaunch.api import RendezvousHandler, RendezvousParameters
from elaunch.testing import (
    NewHandler,
    NewStore,
    PluginContract,
    RendezvousContract,
    StoreContract,
)
from elaunch_rdzv_c10d.addresses import Endpoint
from elaunch_rdzv_c10d.control_store import ControlStore


class TestPlugin(PluginContract):
    entry_point = "rdzv_c10d"
    backends = frozenset(
        {("rendezvous", "c10d"), ("rendezvous", "static"), ("bootstrap", "c10d")}
    )
    heavy_modules = (
        "elaunch_rdzv_c10d.bootstrap",
        "elaunch_rdzv_c10d.hosting",
        "elaunch_rdzv_c10d.messages",
        "elaunch_rdzv_c10d.static",
    )


class TestControlStore(StoreContract):
    @pytest.fixture
    def new_store(self, endpoint: Endpoint) -> NewStore:
        return partial(
            ControlStore.connect,
            endpoint.host,
            endpoint.port,
            timeout=10.0,
            run_id="job",
        )


class TestC10dRendezvous(RendezvousContract):
    @pytest_asyncio.fixture
    async def new_handler(self) -> AsyncIterator[NewHandler]:
        handlers: list[RendezvousHandler] = []
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]

        def new(params: RendezvousParameters) -> RendezvousHandler:
            params = attrs.evolve(params, backend="c10d", endpoint=f"127.0.0.1:{port}")
            handlers.append(get_rdzv_handler(params))
            return handlers[-1]

        yield new
        await asyncio.gather(*(handler.aclose() for handler in handlers))
