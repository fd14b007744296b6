"""The backends keep the contracts of `elaunch.testing`, over real servers."""

import asyncio
from collections.abc import AsyncIterator, Callable

import attrs
import pytest
import pytest_asyncio

from elaunch import get_rdzv_handler
from elaunch.api import RendezvousHandler, RendezvousParameters, Store
from elaunch.testing import (
    CommandContract,
    NewHandler,
    NewStore,
    PluginContract,
    RendezvousContract,
    StoreContract,
)
from elaunch_rdzv_etcd.v2.store import EtcdV2Store
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


class TestEtcdPlugin(PluginContract):
    entry_point = "rdzv_etcd"
    backends = frozenset(
        {("command", "etcd"), ("rendezvous", "etcd"), ("rendezvous", "etcd-v2")}
    )
    heavy_modules = (
        "etcd",
        "etcd3gw",
        "requests",
        "urllib3",
        "dns",
        "elaunch_rdzv_etcd.connect",
        "elaunch_rdzv_etcd.v2.store",
        "elaunch_rdzv_etcd.v3.store",
    )


@pytest.mark.etcd
class TestEtcdV2Store(StoreContract):
    min_lease_ttl = 3.0  # etcd would take 1

    @pytest.fixture
    def new_store(
        self, etcd_port: int, etcd_store: Callable[[int], EtcdV2Store]
    ) -> NewStore:
        async def new() -> Store:
            return etcd_store(etcd_port)

        return new

    async def silence(self, store: Store) -> None:
        assert isinstance(store, EtcdV2Store)
        store._renewals.close()


@pytest.mark.etcd
class TestEtcdV3Store(StoreContract):
    min_lease_ttl = 3.0  # etcd would take 1

    @pytest.fixture
    def new_store(
        self, etcd_port: int, v3_store: Callable[[int], EtcdV3Store]
    ) -> NewStore:
        async def new() -> Store:
            return v3_store(etcd_port)

        return new

    async def silence(self, store: Store) -> None:
        assert isinstance(store, EtcdV3Store)
        store._renewals.close()


class EtcdRendezvous(RendezvousContract):
    backend = ""

    @pytest_asyncio.fixture
    async def new_handler(
        self, etcd_port: int, prefix: str
    ) -> AsyncIterator[NewHandler]:
        handlers: list[RendezvousHandler] = []

        def new(params: RendezvousParameters) -> RendezvousHandler:
            params = attrs.evolve(
                params,
                backend=self.backend,
                endpoint=f"127.0.0.1:{etcd_port}",
                config={"prefix": prefix, **params.config},
            )
            handlers.append(get_rdzv_handler(params))
            return handlers[-1]

        yield new
        await asyncio.gather(*(handler.aclose() for handler in handlers))


@pytest.mark.etcd
class TestEtcdV2Rendezvous(EtcdRendezvous):
    backend = "etcd-v2"


@pytest.mark.etcd
class TestEtcdV3Rendezvous(EtcdRendezvous):
    backend = "etcd"


class TestEtcdCommand(CommandContract):
    command = "etcd"
