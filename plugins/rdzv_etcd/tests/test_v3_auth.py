"""Passwords and tokens: one login for all, another one when the token is over."""

import asyncio
import json
import logging
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path

import attrs
import pytest
import pytest_asyncio
from etcd_proxy import EtcdProxy

from elaunch.api import RendezvousUnreachable
from elaunch_rdzv_etcd.server import EtcdServer
from elaunch_rdzv_etcd.v3.lease import EtcdLease
from elaunch_rdzv_etcd.v3.store import EtcdV3Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV3Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds
_LOGIN = "/v3/auth/authenticate"
_SECRET = "open sesame"  # noqa: S105 - of this test


@attrs.frozen
class Guarded:
    """A server where the user ``job`` may use `prefix` and nothing else."""

    server: EtcdServer
    options: dict[str, str]

    @property
    def port(self) -> int:
        return self.server.port


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    password = tmp_path_factory.mktemp("auth") / "password"
    password.write_text(f"{_SECRET}\n")
    password.chmod(0o600)
    options = {"username": "job", "password_file": str(password)}
    with EtcdServer(v2=False, flags=["--bcrypt-cost", "4"]) as server:
        # As `etcdctl role grant-permission job readwrite --prefix=true /mine/` does.
        granted = {"permType": "READWRITE", "key": "L21pbmUv", "range_end": "L21pbmUw"}
        for path, request in {
            "user/add": {"name": "root", "password": "root"},
            "user/grant": {"user": "root", "role": "root"},
            "role/add": {"name": "job"},
            "role/grant": {"name": "job", "perm": granted},
            "user/add ": {"name": "job", "password": _SECRET},
            "user/grant ": {"user": "job", "role": "job"},
            "enable": {},
        }.items():
            ask(server, path.strip(), request)
        yield Guarded(server, options)


def ask(server: EtcdServer, path: str, request: object) -> None:
    url = f"http://{server.endpoint}/v3/auth/{path}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(url, json.dumps(request).encode(), timeout=_LIMIT).close()


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    return f"/mine/{request.node.name}"


@pytest_asyncio.fixture
async def proxy(guarded: Guarded) -> AsyncIterator[EtcdProxy]:
    async with EtcdProxy.before(guarded.port) as proxy:
        yield proxy


async def restart(server: EtcdServer) -> None:
    """Restart a server: it forgets all tokens."""
    await asyncio.to_thread(server.member.kill)
    await asyncio.to_thread(server.start)


async def test_a_user_needs_the_prefix_and_nothing_else(
    guarded: Guarded, v3_store: NewStore
) -> None:
    store = v3_store(guarded.port, **guarded.options)
    lease = await store.lease(60.0)
    start = await store.put("/a", b"", lease=lease)
    await store.put("/b", b"")
    async with asyncio.timeout(_LIMIT), aclosing(store.watch("/", start)) as events:
        seen = [(await anext(events)).key]
        await lease.revoke()
        seen.append((await anext(events)).key)

    assert seen == ["/b", "/a"]
    assert [entry.key for entry in (await store.list("/")).entries] == ["/b"]


async def test_many_at_once_log_in_once(
    guarded: Guarded, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store = v3_store(proxy.port, **guarded.options)
    await asyncio.gather(
        store.lease(60.0),
        *(store.get(f"/{n}") for n in range(50)),
        *(store.put(f"/{n}", b"") for n in range(50)),
    )

    assert proxy.count(_LOGIN) == 1


async def test_lost_tokens_are_replaced_once_for_all(
    guarded: Guarded, proxy: EtcdProxy, v3_store: NewStore, until: Until
) -> None:
    store = v3_store(proxy.port, **guarded.options)
    lease = await store.lease(8.0)
    assert isinstance(lease, EtcdLease)
    start = await store.put("/a", b"0", lease=lease)
    async with asyncio.timeout(_LIMIT), aclosing(store.watch("/", start)) as events:
        watching = asyncio.ensure_future(anext(events))
        await asyncio.wait([watching], timeout=0.1)
        await restart(guarded.server)
        restarted = asyncio.get_running_loop().time()
        await asyncio.gather(
            *(store.get(f"/{n}") for n in range(50)),
            *(store.put(f"/b/{n}", b"") for n in range(50)),
        )
        event = await watching
        await until(lambda: lease._confirmed > restarted)

    assert event.key.startswith("/b/")
    assert not lease.lost.done()
    # One at the start, one since, and one for a watch that came between.
    assert proxy.count(_LOGIN) <= 3


async def test_a_watch_alone_replaces_its_token(
    guarded: Guarded, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store = v3_store(proxy.port, **guarded.options)
    other = v3_store(guarded.port, **guarded.options)
    start = (await store.list("/")).revision
    watches = [store.watch("/", start) for _ in range(5)]
    async with asyncio.timeout(_LIMIT):
        await other.put("/a", b"0")
        first = [(await anext(events)).value for events in watches]
        waiting = [asyncio.ensure_future(anext(events)) for events in watches]
        await asyncio.wait(waiting, timeout=0.1)
        await restart(guarded.server)
        await proxy.cut()
        await other.put("/a", b"1")
        second = [(await event).value for event in waiting]
    for events in watches:
        await events.aclose()

    assert first + second == [b"0"] * 5 + [b"1"] * 5
    assert proxy.count(_LOGIN) <= 4


async def test_a_token_that_expires_by_itself_is_replaced(
    tmp_path: Path, v3_store: NewStore
) -> None:
    password = tmp_path / "password"
    password.write_text("root")
    password.chmod(0o600)
    flags = ["--bcrypt-cost", "4", "--auth-token-ttl", "1"]
    with EtcdServer(v2=False, flags=flags) as server:
        ask(server, "user/add", {"name": "root", "password": "root"})
        ask(server, "user/grant", {"user": "root", "role": "root"})
        ask(server, "enable", {})
        store = v3_store(server.port, username="root", password_file=str(password))
        first = await store.put("/a", b"")
        token = store._login._token
        # etcd looks for expired ones once a second.
        await asyncio.wait([asyncio.ensure_future(asyncio.sleep(2.5))])
        second = await store.put("/a", b"")

        assert second > first
        assert store._login._token != token
        await store.close()


@pytest.mark.parametrize("call", ["get", "put", "watch", "list"])
async def test_a_prefix_of_others_is_refused_at_once_with_the_remedy(
    guarded: Guarded, v3_store: NewStore, call: str
) -> None:
    store = v3_store(guarded.port, patience=3600.0, **guarded.options)
    store.keys = attrs.evolve(store.keys, root="/yours")
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: store.get("/a"),
        "put": lambda: store.put("/a", b""),
        "list": lambda: store.list("/"),
        "watch": lambda: anext(store.watch("/", 1)),
    }
    with pytest.raises(RendezvousUnreachable) as caught:
        async with asyncio.timeout(_LIMIT):
            await calls[call]()

    assert "permission denied; grant the user's role readwrite" in str(caught.value)
    assert f"'{guarded.server.endpoint}'" in str(caught.value)


async def test_a_wrong_password_is_refused_at_once_and_never_told(
    guarded: Guarded,
    v3_store: NewStore,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = tmp_path / "wrong"
    wrong.write_text("swordfish")
    wrong.chmod(0o600)
    store = v3_store(
        guarded.port, patience=3600.0, username="job", password_file=str(wrong)
    )
    with pytest.raises(RendezvousUnreachable) as caught:
        async with asyncio.timeout(_LIMIT):
            await store.get("/a")

    assert "invalid user ID or password; see username and password_file" in str(
        caught.value
    )
    told = f"{caught.value!r} {store!r} {store.target!r} {caplog.text}"
    assert "swordfish" not in told


async def test_no_secret_is_told_where_all_is_well(
    guarded: Guarded, v3_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    store = v3_store(guarded.port, **guarded.options)
    await store.put("/a", b"")
    token = store._login._token
    assert token
    told = f"{store!r} {store._login!r} {store.link.ring.current!r} {caplog.text}"

    assert _SECRET not in told
    assert token not in told


async def test_who_gives_no_name_is_told_to(
    guarded: Guarded, v3_store: NewStore
) -> None:
    store = v3_store(guarded.port, patience=3600.0)
    with pytest.raises(RendezvousUnreachable, match="give username and password_file"):
        async with asyncio.timeout(_LIMIT):
            await store.get("/a")


async def test_a_name_is_no_hindrance_where_nobody_asks(
    etcd_port: int, guarded: Guarded, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port, **guarded.options)
    revision = await store.put("/a", b"")
    async with (
        asyncio.timeout(_LIMIT),
        aclosing(store.watch("/", revision - 1)) as events,
    ):
        event = await anext(events)

    assert event.revision == revision
