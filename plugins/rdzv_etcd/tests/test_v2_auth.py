"""Names and passwords of etcd's v2 API, against a server that asks for them."""

import asyncio
import base64
import json
import logging
import traceback
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from elaunch import get_rdzv_handler
from elaunch.api import RendezvousParameters, RendezvousUnreachable, Store
from elaunch.testing import NewStore, StoreContract, parameters
from elaunch_rdzv_etcd.server import EtcdServer
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


pytestmark = pytest.mark.etcd

NewEtcdStore = Callable[..., EtcdV2Store]
NewFile = Callable[[str], str]

_LIMIT = 40.0  # seconds
_ROOT = "r00t"
_TRAINER = "pässwörd: €"
_READER = "reader's own"


def ask(server: EtcdServer, method: str, path: str, what: object = None) -> None:
    """Administer the server as its root."""
    name = base64.b64encode(f"root:{_ROOT}".encode()).decode()
    request = urllib.request.Request(
        f"http://{server.endpoint}/v2/auth/{path}",
        None if what is None else json.dumps(what).encode(),
        {"Authorization": f"Basic {name}", "Content-Type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=_LIMIT):  # noqa: S310 - see above
        return


def role(name: str, read: str, write: str) -> dict[str, object]:
    paths = {"read": read.split(), "write": write.split()}
    return {"role": name, "permissions": {"kv": paths}}


@pytest.fixture(scope="module")
def server() -> Iterator[EtcdServer]:
    """A server where the user ``trainer`` may use what the tests use."""
    with EtcdServer() as server:
        ask(server, "PUT", "users/root", {"user": "root", "password": _ROOT})
        ask(server, "PUT", "roles/jobs", role("jobs", "/test-*", "/test-*"))
        ask(server, "PUT", "roles/look", role("look", "/test-*", ""))
        for name, password, its_role in (
            ("trainer", _TRAINER, "jobs"),
            ("reader", _READER, "look"),
        ):
            user = {"user": name, "password": password, "roles": [its_role]}
            ask(server, "PUT", f"users/{name}", user)
        ask(server, "PUT", "enable")
        ask(server, "DELETE", "roles/guest")
        yield server


@pytest.fixture
def password_file(tmp_path: Path) -> NewFile:
    def write(password: str) -> str:
        path = tmp_path / "password"
        path.write_text(password)
        path.chmod(0o600)
        return str(path)

    return write


class TestEtcdV2StoreWithAPassword(StoreContract):
    min_lease_ttl = 6.0  # etcd hashes the password for each request, which takes long

    # For the same reason not what no password can change: these ask for much.
    test_bytes_come_back_as_they_went = None  # type: ignore[assignment]  # left out
    test_a_race_has_one_winner = None  # type: ignore[assignment]  # left out

    @pytest.fixture
    def new_store(
        self, server: EtcdServer, etcd_store: NewEtcdStore, password_file: NewFile
    ) -> NewStore:
        file = password_file(_TRAINER)

        async def new() -> Store:
            return etcd_store(server.port, username="trainer", password_file=file)

        return new


async def join(server: EtcdServer, **config: str) -> None:
    params: RendezvousParameters = attrs.evolve(
        parameters("n"),
        backend="etcd-v2",
        endpoint=server.endpoint,
        config={"connect_timeout": "3600", **config},
    )
    node = get_rdzv_handler(params)
    try:
        async with asyncio.timeout(_LIMIT):
            await node.join()
    finally:
        await node.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("user", "password"),
    [("trainer", "wrong-1"), ("nobody", "wrong-2"), ("reader", _READER)],
)
async def test_who_may_not_is_told_at_once_what_to_grant(
    server: EtcdServer, password_file: NewFile, prefix: str, user: str, password: str
) -> None:
    file = password_file(password)

    with pytest.raises(
        RendezvousUnreachable,
        match=rf"password of user '{user}' is wrong, or .* '{prefix}/\*'; .* grant",
    ):
        await join(server, username=user, password_file=file, prefix=prefix)


@pytest.mark.asyncio
async def test_who_has_no_right_to_a_prefix_is_told_at_once(
    server: EtcdServer, password_file: NewFile
) -> None:
    file = password_file(_TRAINER)

    with pytest.raises(
        RendezvousUnreachable, match=r"'trainer' .* role grant ROLE --path '/x/\*'"
    ):
        await join(server, username="trainer", password_file=file, prefix="/x")


@pytest.mark.asyncio
async def test_who_has_no_name_is_told_at_once_to_give_one(
    server: EtcdServer, prefix: str
) -> None:
    with pytest.raises(
        RendezvousUnreachable, match=r"add username=NAME and password_file=FILE"
    ):
        await join(server, prefix=prefix)


@pytest.mark.asyncio
async def test_a_right_that_is_taken_away_is_no_silence(
    server: EtcdServer, etcd_store: NewEtcdStore, password_file: NewFile
) -> None:
    passing = {"user": "passing", "password": "once", "roles": ["jobs"]}
    ask(server, "PUT", "users/passing", passing)
    file = password_file("once")
    store = etcd_store(
        server.port, patience=3600.0, username="passing", password_file=file
    )
    await store.put("/a", b"")
    lease = await store.lease(20.0)
    revision = await store.put("/b", b"", lease=lease)
    watching = asyncio.ensure_future(anext(store.watch("/", revision)))
    ask(server, "DELETE", "users/passing")

    async with asyncio.timeout(_LIMIT):
        assert "password of user 'passing' is wrong" in await lease.lost
        for call in (watching, store.put("/c", b"")):
            with pytest.raises(RendezvousUnreachable, match="user 'passing'"):
                await call


@pytest.mark.asyncio
async def test_nothing_tells_the_password(
    server: EtcdServer,
    etcd_store: NewEtcdStore,
    password_file: NewFile,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("etcd.client", "urllib3"):
        caplog.set_level(logging.DEBUG, logger=name)
    wrong = "not the 1"
    stores = [
        etcd_store(server.port, username="trainer", password_file=password_file(word))
        for word in (_TRAINER, wrong)
    ]
    await stores[0].put("/a", b"")
    with pytest.raises(RendezvousUnreachable) as caught:
        await stores[1].put("/a", b"")

    told = [
        caplog.text,
        *capfd.readouterr(),
        "".join(traceback.format_exception(caught.value)),
        *(repr(item) for store in stores for item in (store, store.link.ring.current)),
    ]
    assert "connection" in caplog.text
    for word in (_TRAINER, wrong):
        basic = base64.b64encode(f"trainer:{word}".encode()).decode()
        for text in told:
            assert word not in text
            assert basic not in text
