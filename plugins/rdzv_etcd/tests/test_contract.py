"""The backend keeps the contracts of `elaunch.testing`, over a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable

import attrs
import pytest
import pytest_asyncio

from elaunch import get_rdzv_handler
from elaunch.api import RendezvousHandler, RendezvousParameters, Store
from elaunch.testing import (
    NewHandler,
    NewStore,
    PluginContract,
    RendezvousContract,
    StoreContract,
)
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


class TestEtcdPlugin(PluginContract):
    entry_point = "rdzv_etcd"
    backends = frozenset({("rendezvous", "etcd-v2")})
    heavy_modules = (
        "etcd",
        "urllib3",
        "dns",
        "elaunch_rdzv_etcd.v2.client",
        "elaunch_rdzv_etcd.v2.store",
    )


@pytest.mark.etcd
class TestEtcdV2Store(StoreContract):
    min_lease_ttl = 1.0

    @pytest.fixture
    def new_store(
        self, etcd_port: int, etcd_store: Callable[[int], EtcdV2Store]
    ) -> NewStore:
        async def new() -> Store:
            return etcd_store(etcd_port)

        return new


@pytest.mark.etcd
class TestEtcdV2Rendezvous(RendezvousContract):
    @pytest_asyncio.fixture
    async def new_handler(
        self, etcd_port: int, prefix: str
    ) -> AsyncIterator[NewHandler]:
        handlers: list[RendezvousHandler] = []

        def new(params: RendezvousParameters) -> RendezvousHandler:
            params = attrs.evolve(
                params,
                backend="etcd-v2",
                endpoint=f"127.0.0.1:{etcd_port}",
                config={"prefix": prefix, **params.config},
            )
            handlers.append(get_rdzv_handler(params))
            return handlers[-1]

        yield new
        await asyncio.gather(*(handler.aclose() for handler in handlers))
