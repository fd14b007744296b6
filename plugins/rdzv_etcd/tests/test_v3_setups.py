"""The contracts over clusters as users have them: members, TLS, users, sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import attrs
import pytest
import pytest_asyncio
import trustme

from elaunch import get_rdzv_handler
from elaunch.api import (
    ABSENT,
    NodeState,
    OutcomeState,
    RendezvousHandler,
    RendezvousParameters,
    Store,
)
from elaunch.testing import (
    NewHandler,
    NewStore,
    RendezvousContract,
    StoreContract,
    join_all,
    next_change,
    parameters,
)
from elaunch_rdzv_etcd.server import EtcdServer, Tls
from elaunch_rdzv_etcd.testing import QUICK, EtcdCluster
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


pytestmark = pytest.mark.etcd

NewV3Store = Callable[..., EtcdV3Store]

_LIMIT = 30.0  # seconds


@attrs.frozen
class Setup:
    """How to reach a cluster.

    Attributes:
        endpoints: Its endpoints.
        options: Options of the backend.
    """

    endpoints: str
    options: dict[str, str] = attrs.field(factory=dict)


def _secured(directory: Path) -> tuple[EtcdServer, Setup]:
    authority = trustme.CA()
    ca = directory / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    files: dict[str, Path] = {"ca_cert": ca}
    for name in ("server", "client"):
        issued = authority.issue_cert("127.0.0.1")
        files[name] = directory / f"{name}.pem"
        files[f"{name}.key"] = directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(files[name])
        issued.private_key_pem.write_to_path(files[f"{name}.key"])
    password = directory / "password"
    password.write_text("open sesame\n")
    password.chmod(0o600)
    tls = Tls(files["server"], files["server.key"], ca, client_auth=True)
    flags = [*QUICK, "--bcrypt-cost", "4"]
    options = {
        "protocol": "https",
        "ca_cert": str(ca),
        "cert": str(files["client"]),
        "key": str(files["client.key"]),
        "username": "job",
        "password_file": str(password),
    }
    return EtcdServer(v2=False, tls=tls, flags=flags), Setup("", options)


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """A server that asks for a certificate and a password, and allows one prefix."""
    server, setup = _secured(tmp_path_factory.mktemp("secured"))
    with server:
        client = server.client()
        # As `etcdctl role grant-permission job readwrite --prefix=true /test` does.
        granted = {"permType": "READWRITE", "key": "L3Rlc3Q=", "range_end": "L3Rlc3U="}
        for path, request in (
            ("user/add", {"name": "root", "password": "root"}),
            ("user/grant", {"user": "root", "role": "root"}),
            ("role/add", {"name": "job"}),
            ("role/grant", {"name": "job", "perm": granted}),
            ("user/add", {"name": "job", "password": "open sesame"}),
            ("user/grant", {"user": "job", "role": "job"}),
            ("enable", {}),
        ):
            client.post(client.get_url(f"/auth/{path}"), json=request)
        client.session.close()
        yield attrs.evolve(setup, endpoints=server.endpoint)


@pytest.fixture
def members(cluster: EtcdCluster) -> Setup:
    return Setup(cluster.endpoints)


class SetupStore(StoreContract):
    min_lease_ttl = 3.0  # etcd would take 1
    setup_name = ""

    @pytest.fixture
    def new_store(
        self, request: pytest.FixtureRequest, v3_store: NewV3Store
    ) -> NewStore:
        setup: Setup = request.getfixturevalue(self.setup_name)

        async def new() -> Store:
            return v3_store(setup.endpoints, **setup.options)

        return new

    async def silence(self, store: Store) -> None:
        assert isinstance(store, EtcdV3Store)
        store._renewals.close()


class SetupRendezvous(RendezvousContract):
    setup_name = ""

    @pytest_asyncio.fixture
    async def new_handler(
        self, request: pytest.FixtureRequest, prefix: str
    ) -> AsyncIterator[NewHandler]:
        setup: Setup = request.getfixturevalue(self.setup_name)
        handlers: list[RendezvousHandler] = []

        def new(params: RendezvousParameters) -> RendezvousHandler:
            handlers.append(handler(params, setup, prefix))
            return handlers[-1]

        yield new
        await asyncio.gather(*(each.aclose() for each in handlers))


def handler(
    params: RendezvousParameters, setup: Setup, prefix: str
) -> RendezvousHandler:
    return get_rdzv_handler(
        attrs.evolve(
            params,
            backend="etcd",
            endpoint=setup.endpoints,
            config={"prefix": prefix, **setup.options, **params.config},
        )
    )


class TestStoreOverThreeMembers(SetupStore):
    setup_name = "members"


class TestRendezvousOverThreeMembers(SetupRendezvous):
    setup_name = "members"


class TestStoreWithCertificateAndPassword(SetupStore):
    setup_name = "secured"


class TestRendezvousWithCertificateAndPassword(SetupRendezvous):
    setup_name = "secured"


@pytest.fixture
def at_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.chdir(tmp_path)  # etcd listens at a path there, and nowhere else
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listen = f"http://127.0.0.1:{port},unix://etcd:1"
    flags = ["--listen-client-urls", listen]
    with EtcdServer(v2=False, port=port, flags=flags):
        yield Setup(f"unix:{tmp_path / 'etcd:1'}")


@pytest.fixture
def over_ipv6() -> Iterator[Setup]:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError as error:
        pytest.skip(f"this machine has no ::1: {error}")
    with EtcdServer(v2=False, host="::1") as server:
        assert server.endpoint.startswith("[::1]:")
        yield Setup(server.endpoint)


@pytest.mark.asyncio
@pytest.mark.parametrize("setup_name", ["at_a_path", "over_ipv6"])
async def test_all_that_a_job_needs_works(
    setup_name: str, request: pytest.FixtureRequest, v3_store: NewV3Store, prefix: str
) -> None:
    setup: Setup = request.getfixturevalue(setup_name)
    store = v3_store(setup.endpoints)
    lease = await store.lease(60.0)
    start = (await store.list("/")).revision
    created = await store.compare_and_set("/a", b"0", expected=ABSENT, lease=lease)
    async with asyncio.timeout(_LIMIT), aclosing(store.watch("/", start)) as events:
        await lease.revoke()
        seen = [(await anext(events)).value for _ in range(2)]
    nodes = [
        handler(parameters(f"n{number}"), setup, f"{prefix}/job") for number in range(2)
    ]
    try:
        places = await join_all(nodes)
        for node in nodes:
            await node.report(NodeState.DONE)
        ends = [await next_change(node) for node in nodes]
    finally:
        await asyncio.gather(*(node.aclose() for node in nodes))

    assert created is not None
    assert seen == [b"0", None]
    assert sorted(place.group_rank for place in places) == [0, 1]
    assert [end.outcome and end.outcome.state for end in ends] == [
        OutcomeState.SUCCEEDED
    ] * 2
