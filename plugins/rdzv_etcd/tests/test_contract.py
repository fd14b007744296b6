"""The backend keeps the contracts of `elaunch.testing`, over a real server."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from elaunch.api import RendezvousHandler, RendezvousParameters, Store, StoreRendezvous
from elaunch.testing import (
    NewHandler,
    NewStore,
    PluginContract,
    RendezvousContract,
    StoreContract,
)
from elaunch_rdzv_etcd.connect import open_store
from elaunch_rdzv_etcd.options import EtcdV2Options
from elaunch_rdzv_etcd.store import EtcdV2Store
from elaunch_rdzv_etcd.target import Target


class TestEtcdPlugin(PluginContract):
    entry_point = "rdzv_etcd"
    backends = frozenset({("rendezvous", "etcd-v2")})
    heavy_modules = (
        "etcd",
        "urllib3",
        "dns",
        "elaunch_rdzv_etcd.client",
        "elaunch_rdzv_etcd.store",
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
        handlers: list[StoreRendezvous] = []

        def new(params: RendezvousParameters) -> RendezvousHandler:
            times = {name: float(value) for name, value in params.config.items()}
            options = EtcdV2Options(prefix=prefix, **times)  # type: ignore[arg-type]  # times only
            target = Target.parse(f"127.0.0.1:{etcd_port}", options)
            handlers.append(
                StoreRendezvous(
                    lambda: open_store(target, options, params.record), params, options
                )
            )
            return handlers[-1]

        yield new
        await asyncio.gather(*(handler.aclose() for handler in handlers))
