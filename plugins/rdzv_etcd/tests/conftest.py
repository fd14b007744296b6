"""A real etcd server for the tests, and stores in it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import trustme
from cryptography.hazmat.primitives import serialization
from etcd_proxy import EtcdProxy

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local.binary import find_binary
from elaunch_rdzv_etcd.options import EtcdOptions, GivenOptions
from elaunch_rdzv_etcd.server import EtcdServer, Tls
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.testing import QUICK, EtcdCluster
from elaunch_rdzv_etcd.v2.paths import Paths
from elaunch_rdzv_etcd.v2.store import EtcdV2Store
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.remains import Job
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


_COMES_WITHIN = 30.0  # seconds
_numbers = itertools.count()


NewServer = Callable[..., EtcdServer]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
NewEtcdStore = Callable[..., EtcdV2Store]
NewV3Store = Callable[..., EtcdV3Store]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs etcd where there is none, before a fixture starts it."""
    if item.get_closest_marker("etcd"):
        try:
            find_binary()
        except UsageError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def etcd_port() -> Iterator[int]:
    """Port of a server that all tests share, each in a directory of its own."""
    with EtcdServer(flags=QUICK) as server:
        yield server.port


@pytest.fixture(scope="session")
def _cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster(v2=False) as cluster:
        yield cluster


@pytest.fixture
def cluster(_cluster: EtcdCluster) -> Iterator[EtcdCluster]:
    """Three members, which the test may hurt, for it alone while it runs."""
    yield _cluster
    for member in _cluster.members:
        member.resume()
    _cluster.start_all()


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Files of certificates for 127.0.0.1."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = Tls(directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(files.cert)
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.ca)
    return files


@pytest.fixture
def locked_key(tls: Tls, tmp_path: Path) -> Path:
    """File of the key of these certificates, with a pass phrase."""
    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    path = tmp_path / "locked key.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"phrase"),
        )
    )
    return path


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    """A factory of servers that the test may stop and start on their data."""
    servers: list[EtcdServer] = []

    def start(*flags: str, **settings: Any) -> EtcdServer:
        directory = tmp_path / f"etcd{len(servers)}"
        servers.append(EtcdServer(directory, v2=False, flags=flags, **settings))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def until() -> Until:
    """Wait for a condition that nothing tells of."""

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_COMES_WITHIN):
            while not condition():  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)

    return until


@pytest.fixture
def prefix() -> str:
    """A directory of etcd that no other test uses."""
    return f"/test-{next(_numbers)}"


@pytest_asyncio.fixture
async def etcd_store(prefix: str) -> AsyncIterator[NewEtcdStore]:
    """A factory of stores; ``(port, patience=, **options)``."""
    stores: list[EtcdV2Store] = []

    def new(
        port: int | str, *, patience: float = 15.0, **options: object
    ) -> EtcdV2Store:
        given = GivenOptions(**options)  # type: ignore[arg-type]  # any of them
        settings = given.plain()
        endpoints = f"127.0.0.1:{port}" if isinstance(port, int) else port
        target = Target.parse(endpoints, settings)
        paths = Paths(prefix)
        stores.append(EtcdV2Store(target, patience, paths, "/job/", settings.job_ttl))
        return stores[-1]

    yield new
    await asyncio.gather(*(store.close() for store in stores))


@pytest_asyncio.fixture
async def v3_store(prefix: str) -> AsyncIterator[NewV3Store]:
    """A factory of stores; ``(port, patience=, **options)``."""
    stores: list[EtcdV3Store] = []

    def new(
        port: int | str, *, patience: float = 15.0, **options: object
    ) -> EtcdV3Store:
        settings = EtcdOptions(**options)  # type: ignore[arg-type]  # any of them
        endpoints = f"127.0.0.1:{port}" if isinstance(port, int) else port
        target = Target.parse(endpoints, settings)
        job = Job.of(prefix, "job", settings.job_ttl)
        stores.append(EtcdV3Store(target, patience, Keys(prefix), job))
        return stores[-1]

    yield new
    await asyncio.gather(*(store.close() for store in stores))


@pytest_asyncio.fixture
async def proxy(etcd_port: int) -> AsyncIterator[EtcdProxy]:
    """A proxy before the server that all tests share."""
    async with EtcdProxy.before(etcd_port) as proxy:
        yield proxy
