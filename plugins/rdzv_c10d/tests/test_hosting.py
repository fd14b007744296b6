import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator

import attrs
import pytest

from elaunch.api import (
    ChangeKind,
    EventName,
    RendezvousParameters,
    RendezvousUnreachable,
    StoreRendezvous,
    UsageError,
)
from elaunch_rdzv_c10d.addresses import Endpoint
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.hosting import StoreOpener
from elaunch_rdzv_c10d.job_token import Token
from elaunch_rdzv_c10d.options import C10dOptions
from elaunch_rdzv_c10d.security import Security
from elaunch_rdzv_c10d.thread_host import ThreadedServer


NOT_OURS = "192.0.2.1"  # reserved for documentation


@attrs.define(eq=False)
class Agent:
    """One agent's way to the store, with what it recorded."""

    opener: StoreOpener
    events: list[tuple[EventName, dict[str, object]]]

    def told(self, name: EventName) -> list[dict[str, object]]:
        return [facts for known, facts in self.events if known == name]


def agent(
    endpoint: str, *, run_id: str = "job", max_nodes: int = 1, **options: object
) -> Agent:
    events: list[tuple[EventName, dict[str, object]]] = []

    def record(name: EventName, /, **facts: object) -> None:
        events.append((name, facts))

    settings: dict[str, object] = {"read_timeout": 10.0, **options}
    params = RendezvousParameters(
        backend="c10d",
        endpoint=endpoint,
        run_id=run_id,
        max_nodes=max_nodes,
        record=record,
    )
    return Agent(StoreOpener(params, C10dOptions(**settings)), events)  # type: ignore[arg-type] # checked by attrs


@contextlib.asynccontextmanager
async def opened(*agents: Agent) -> AsyncIterator[list[ControlStore]]:
    """Open in order; close all at once, as agents do."""
    stores: list[ControlStore] = []
    try:
        stores.extend([await one.opener() for one in agents])
        yield stores
    finally:
        await asyncio.gather(*(store.close() for store in stores))


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0)) as closed:
        port: int = closed.getsockname()[1]
        return port


@pytest.mark.parametrize("text", ["0.0.0.0:1", "[::]:1"])
def test_an_endpoint_must_name_a_host(text: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        agent(text)
    agent(text, is_host=True)


@pytest.mark.asyncio
class TestWhoHosts:
    async def test_the_first_who_can_listen_and_the_others_connect(self) -> None:
        endpoint = f"127.0.0.2:{free_port('127.0.0.2')}"
        agents = [agent(endpoint) for _ in range(3)]
        async with opened(*agents) as stores:
            await stores[2].put("/key", b"")
            shared = await stores[0].get("/key")

        assert shared is not None
        assert agents[0].events == [
            (
                EventName.STORE_HOSTED,
                {"endpoint": endpoint, "rule": "the address is this node's"},
            )
        ]
        for other in agents[1:]:
            assert other.events == [
                (
                    EventName.STORE_CONNECTED,
                    {"endpoint": endpoint, "rule": "the port is taken on this node"},
                )
            ]

    async def test_of_many_at_once_exactly_one(self) -> None:
        endpoint = f"localhost:{free_port()}"
        agents = [agent(endpoint) for _ in range(8)]
        stores = await asyncio.gather(*(one.opener() for one in agents))
        await asyncio.gather(*(store.close() for store in stores))

        assert len([a for a in agents if a.told(EventName.STORE_HOSTED)]) == 1
        assert len([a for a in agents if a.told(EventName.STORE_CONNECTED)]) == 7

    async def test_each_address_has_its_own_store(self) -> None:
        port = free_port()
        agents = agent(f"127.0.0.1:{port}"), agent(f"127.0.0.2:{port}")
        async with opened(*agents) as stores:
            await stores[0].put("/key", b"")
            seen = await stores[1].get("/key")

        assert seen is None
        assert all(one.told(EventName.STORE_HOSTED) for one in agents)

    @pytest.mark.parametrize("endpoint", ["", "localhost:0", "127.0.0.1:0"])
    async def test_without_a_port_a_free_one_is_found(self, endpoint: str) -> None:
        alone = agent(endpoint)
        async with opened(alone) as (store,):
            port = store.endpoint.port
            hosted = alone.told(EventName.STORE_HOSTED)

            assert port != 0
            assert hosted[0]["endpoint"] == f"127.0.0.1:{port}"

    async def test_an_address_of_another_node_is_connected_to(self) -> None:
        elsewhere = agent(f"{NOT_OURS}:29400", connect_timeout=0.05)

        with pytest.raises(RendezvousUnreachable, match=NOT_OURS):
            await elsewhere.opener()
        assert elsewhere.told(EventName.STORE_HOSTED) == []

    async def test_is_host_forces(self) -> None:
        forced = agent(f"127.0.0.1:{free_port()}", is_host=True)
        async with opened(forced):
            pass
        impossible = agent(f"{NOT_OURS}:29400", is_host=True)

        assert forced.told(EventName.STORE_HOSTED)[0]["rule"] == "is_host=true"
        with pytest.raises(RendezvousUnreachable, match=r"2\.1:29400.*no address"):
            await impossible.opener()

    async def test_is_host_everywhere_is_reached_by_loopback(self) -> None:
        forced = agent(f"0.0.0.0:{free_port()}", is_host=True)
        async with opened(forced) as (store,):
            assert store.endpoint.host == "127.0.0.1"

    async def test_is_host_on_a_taken_port_is_an_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]

            with pytest.raises(RendezvousUnreachable) as caught:
                await agent(f"127.0.0.1:{port}", is_host=True).opener()

        assert str(caught.value) == (
            f"this node can't host the store at '127.0.0.1:{port}': address already in "
            "use; something else listens there: choose another port, or let this node "
            "connect if that is the store of the job"
        )

    async def test_who_is_no_host_never_listens(self) -> None:
        endpoint = f"127.0.0.1:{free_port()}"
        client = agent(endpoint, is_host=False, connect_timeout=0.05)

        with pytest.raises(RendezvousUnreachable, match="connection refused") as caught:
            await client.opener()
        assert "(this node does not host it: is_host=false)" in str(caught.value)
        assert client.told(EventName.STORE_WAITING) == [
            {"reason": f"the store at '{endpoint}': connection refused"}
        ]

        client = agent(endpoint, is_host=False)
        async with opened(agent(endpoint), client):
            pass
        assert client.told(EventName.STORE_CONNECTED)[0]["rule"] == "is_host=false"

    async def test_a_port_that_something_else_has_is_told(self) -> None:
        async def greet(_: object, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH\r\n")
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]

            with pytest.raises(
                RendezvousUnreachable, match="something else has taken this port"
            ):
                await agent(f"127.0.0.1:{port}").opener()

    async def test_a_port_that_needs_privileges_is_told(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_privileged_ports(monkeypatch)

        with pytest.raises(RendezvousUnreachable, match="permission denied"):
            await agent("127.0.0.1:80").opener()

    async def test_a_port_that_needs_privileges_elsewhere_does_not_matter(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        refuse_privileged_ports(monkeypatch)
        client = agent(f"{NOT_OURS}:80", connect_timeout=0.05)

        with pytest.raises(RendezvousUnreachable, match="can't be reached"):
            await client.opener()

    async def test_an_unknown_name_is_told(self) -> None:
        lost = agent("no-such-host.invalid:1", connect_timeout=0.1)

        with pytest.raises(RendezvousUnreachable, match="the name can't be resolved"):
            await lost.opener()
        (waiting,) = lost.told(EventName.STORE_WAITING)
        assert "'no-such-host.invalid:1': the name can't" in str(waiting["reason"])


def refuse_privileged_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `bind` refuse as it does where the tests don't run as root."""

    async def start(_: object, host: str, port: int, **__: bool) -> tuple[str, int]:
        raise PermissionError(errno.EACCES, f"{host}:{port}")

    monkeypatch.setattr(ThreadedServer, "start", start)


@pytest.mark.asyncio
class TestNotes:
    async def test_another_job_is_noted(self) -> None:
        endpoint = f"127.0.0.1:{free_port()}"
        host, guest = agent(endpoint, run_id="a"), agent(endpoint, run_id="b")
        async with opened(host, guest):
            pass

        assert guest.told(EventName.STORE_NOTE) == [
            {
                "reason": f"the store at '{endpoint}' is hosted by job 'a', this agent "
                "belongs to job 'b': is --rdzv-id right?"
            }
        ]
        assert host.told(EventName.STORE_NOTE) == []

    async def test_a_name_that_leads_nowhere_else_is_listened_at_everywhere(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo
        # As where the hosts file says "127.0.1.1 node-0".
        monkeypatch.setattr(
            loop, "getaddrinfo", lambda _, *a, **k: real("127.0.1.1", *a, **k)
        )
        endpoint = f"node-0:{free_port('127.0.1.1')}"
        alone, many = agent(endpoint), agent(endpoint, max_nodes=2)
        async with opened(alone) as (store,):
            assert store.endpoint.host == "127.0.1.1"
        async with opened(many, agent(endpoint, max_nodes=2)) as (store, other):
            elsewhere = await connected(f"127.0.0.2:{store.endpoint.port}")
            await elsewhere.put("/key", b"")
            seen = await other.get("/key")
            await elsewhere.close()

        assert seen is not None
        assert alone.told(EventName.STORE_NOTE) == []
        assert "'node-0' is an address of loopback on this node" in str(
            many.told(EventName.STORE_NOTE)[0]["reason"]
        )

    @pytest.mark.parametrize("name", ["localhost", "ip6-loopback", "127.0.0.1"])
    async def test_what_means_loopback_listens_nowhere_else(
        self, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo
        monkeypatch.setattr(
            loop, "getaddrinfo", lambda _, *a, **k: real("127.0.0.1", *a, **k)
        )
        many = agent(f"{name}:{free_port()}", max_nodes=2)
        async with opened(many) as (store,):
            monkeypatch.undo()
            place = f"127.0.0.2:{store.endpoint.port}"
            with pytest.raises(RendezvousUnreachable, match="connection refused"):
                await connected(place, timeout=0.05)

        assert many.told(EventName.STORE_NOTE) == []

    async def test_a_name_of_several_nodes_is_noted(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loop = asyncio.get_running_loop()
        real = loop.getaddrinfo

        async def look_up(_: str, *args: object, **more: object) -> list[object]:
            """As where one name stands for all pods of a service."""
            addresses = ("127.0.0.2", NOT_OURS, "2001:db8::1")
            return [info for a in addresses for info in await real(a, *args, **more)]  # type: ignore[arg-type] # as they came

        monkeypatch.setattr(loop, "getaddrinfo", look_up)
        endpoint = f"service:{free_port('127.0.0.2')}"
        alone, many = agent(endpoint), agent(endpoint, max_nodes=2)
        async with opened(alone):
            pass
        async with opened(many):
            pass

        assert alone.told(EventName.STORE_NOTE) == []
        (note,) = many.told(EventName.STORE_NOTE)
        assert f"is a name of other nodes, too ({NOT_OURS}), each" in str(
            note["reason"]
        )

    async def test_a_store_that_anybody_may_use_is_noted_once(self) -> None:
        port = free_port()
        secret = Security(Token(b"correct horse battery staple"))
        open_to_all = agent(f"0.0.0.0:{port}", is_host=True)
        guarded = agent(f"0.0.0.0:{port}", is_host=True)
        guarded.opener = attrs.evolve(guarded.opener, security=secret)
        near = agent(f"127.0.0.1:{port}")
        for host in (open_to_all, guarded, near):
            async with opened(host):
                pass

        (note,) = open_to_all.told(EventName.STORE_NOTE)
        assert note["reason"] == (
            f"whoever reaches the store at '0.0.0.0:{port}' can read and write it; "
            "give the nodes of the job a secret with --rdzv-conf token_file=PATH"
        )
        assert guarded.told(EventName.STORE_NOTE) == []
        assert near.told(EventName.STORE_NOTE) == []


async def connected(endpoint: str, timeout: float = 10.0) -> ControlStore:  # noqa: ASYNC109 - the store's
    place = Endpoint.parse(endpoint)
    return await ControlStore.connect(
        place.host, place.port, timeout=timeout, run_id="job"
    )


@pytest.mark.asyncio
class TestComingBack:
    async def test_to_a_store_that_was_restarted_begins_the_job_anew(self) -> None:
        """It is not the store that has seen the job's end and forgotten it."""
        port = free_port()
        params = RendezvousParameters(
            backend="c10d", endpoint=f"127.0.0.1:{port}", run_id="job"
        )
        options = C10dOptions(is_host=False, connect_timeout=10.0)
        node = StoreRendezvous(StoreOpener(params, options), params, options)
        servers = [ThreadedServer("job"), ThreadedServer("job")]
        await servers[0].start("127.0.0.1", port)
        try:
            async with asyncio.timeout(60), contextlib.aclosing(node.changes()) as news:
                await node.join()
                await servers[0].stop()
                await servers[1].start("127.0.0.1", port)
                lost = await anext(news)
                place = await node.join()
        finally:
            await node.aclose()
            for server in servers:
                await server.stop()

        assert lost.kind is ChangeKind.LOST
        assert "was restarted and has forgotten everything" in lost.reason
        assert (place.generation, place.group_rank) == (1, 0)


@pytest.mark.asyncio
class TestClosing:
    async def test_the_host_waits_for_the_others(self) -> None:
        endpoint = f"127.0.0.1:{free_port()}"
        host, guest = await agent(endpoint).opener(), await agent(endpoint).opener()
        lease = await host.lease(60.0)
        await host.put("/host", b"", lease=lease)
        closing = asyncio.create_task(host.close())
        events = guest.watch("/host", 1)
        gone = await anext(events)
        await events.aclose()

        # The host said goodbye, and the guest can still finish its work.
        assert gone.value is None
        assert await guest.put("/last", b"")
        early = closing.done()
        await guest.close()
        async with asyncio.timeout(60):
            await closing
        assert not early

    async def test_but_not_for_ever(self) -> None:
        endpoint = f"127.0.0.1:{free_port()}"
        host = await agent(endpoint, close_timeout=0.01).opener()
        guest = await agent(endpoint).opener()
        async with asyncio.timeout(60):
            await host.close()
            await host.close()

        with pytest.raises(RendezvousUnreachable):
            await agent(endpoint, is_host=False, connect_timeout=0.05).opener()
        await guest.close()

    async def test_a_host_that_can_not_reach_itself_leaves_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fail(*_: object, **__: object) -> ControlStore:
            raise RendezvousUnreachable("a firewall")

        endpoint = f"127.0.0.1:{free_port()}"
        with monkeypatch.context() as patch:
            patch.setattr(ControlStore, "connect", fail)
            with pytest.raises(RendezvousUnreachable, match="a firewall"):
                await agent(endpoint).opener()

        again = agent(endpoint)
        async with opened(again):
            pass
        assert again.told(EventName.STORE_HOSTED)
