"""TLS with certificates of both sides, over a real server."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import attrs
import pytest
import pytest_asyncio
import trustme

from elaunch import get_rdzv_handler
from elaunch.api import RendezvousUnreachable, Store
from elaunch.testing import NewStore, StoreContract, parameters
from elaunch_rdzv_etcd.server import EtcdServer, Tls
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


pytestmark = pytest.mark.etcd

NewEtcdStore = Callable[..., EtcdV2Store]

_LIMIT = 20.0  # seconds
_YESTERDAY = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)


@attrs.frozen
class Certificates:
    """Files of certificates: each holds its private key, too."""

    directory: Path

    def __getattr__(self, name: str) -> str:
        return str(self.directory / f"{name}.pem")

    @property
    def mutual(self) -> dict[str, str]:
        """What a client needs."""
        return {"protocol": "https", "ca_cert": self.ca, "cert": self.node}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    stranger.cert_pem.write_to_path(directory / "other_ca.pem")
    issued = {
        "server": authority.issue_cert("127.0.0.1"),
        "node": authority.issue_cert("node"),
        "strange": stranger.issue_cert("node"),
        "expired": authority.issue_cert("127.0.0.1", not_after=_YESTERDAY),
    }
    for name, certificate in issued.items():
        pem = certificate.private_key_and_cert_chain_pem
        pem.write_to_path(directory / f"{name}.pem")
    return Certificates(directory)


@pytest.fixture(scope="module")
def server(certificates: Certificates) -> Iterator[EtcdServer]:
    """A server that wants to see a certificate of its clients."""
    pem = Path(certificates.server)
    with EtcdServer(
        tls=Tls(pem, pem, Path(certificates.ca), client_auth=True)
    ) as server:
        yield server


@pytest_asyncio.fixture
async def expired(certificates: Certificates) -> AsyncIterator[int]:
    """Port of a server whose certificate is over; etcd would not even start."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates.expired)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


class TestEtcdV2StoreOverMutualTls(StoreContract):
    min_lease_ttl = 3.0  # etcd would take 1

    @pytest.fixture
    def new_store(
        self, server: EtcdServer, certificates: Certificates, etcd_store: NewEtcdStore
    ) -> NewStore:
        async def new() -> Store:
            return etcd_store(server.port, **certificates.mutual)

        return new


async def refused(port: int, **config: str) -> str:
    """Return why a node that would wait for an hour may not even begin to."""
    params = attrs.evolve(
        parameters("n"),
        backend="etcd-v2",
        endpoint=f"127.0.0.1:{port}",
        config={"connect_timeout": "3600", **config},
    )
    node = get_rdzv_handler(params)
    async with asyncio.timeout(_LIMIT):
        with pytest.raises(RendezvousUnreachable) as caught:
            await node.join()
        await node.aclose()
    return str(caught.value)


@pytest.mark.asyncio
@pytest.mark.parametrize("cert", ["strange", "expired", None])
async def test_a_client_that_etcd_does_not_trust_is_told_so_at_once(
    server: EtcdServer, certificates: Certificates, cert: str | None
) -> None:
    config = certificates.mutual
    del config["cert"]
    if cert:
        config["cert"] = getattr(certificates, cert)

    reason = await refused(server.port, **config)

    assert "does not accept this client's certificate, or that there is none" in reason
    assert "give cert=FILE and key=FILE" in reason


@pytest.mark.asyncio
@pytest.mark.parametrize("ca_cert", ["other_ca", None])
async def test_a_server_that_was_signed_by_others_is_not_trusted(
    server: EtcdServer, certificates: Certificates, ca_cert: str | None
) -> None:
    config = certificates.mutual
    del config["ca_cert"]
    if ca_cert:
        config["ca_cert"] = getattr(certificates, ca_cert)

    assert "its certificate can't be trusted" in await refused(server.port, **config)


@pytest.mark.asyncio
async def test_a_server_whose_certificate_is_over_is_not_trusted(
    expired: int, certificates: Certificates
) -> None:
    reason = await refused(expired, **certificates.mutual)

    assert "its certificate can't be trusted" in reason
    assert "certificate has expired" in reason


@pytest.mark.asyncio
async def test_http_to_a_port_of_tls_is_told_with_the_option(
    server: EtcdServer,
) -> None:
    assert "it speaks TLS only; add protocol=https" in await refused(server.port)


@pytest.mark.asyncio
async def test_tls_to_a_port_of_http_is_told_with_the_option(
    etcd_port: int, certificates: Certificates
) -> None:
    reason = await refused(etcd_port, **certificates.mutual)

    assert "it does not speak TLS" in reason
    assert "leave out protocol=https" in reason
