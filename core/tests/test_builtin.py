import socket

import pytest

from elaunch.api import SpawnError
from elaunch.bootstraps import JaxBootstrap, PortBootstrap


pytestmark = pytest.mark.asyncio


async def test_each_generation_gets_a_port_that_is_free() -> None:
    bootstrap = PortBootstrap("127.0.0.1")
    info = await bootstrap.open(1, set())
    with socket.create_server(("127.0.0.1", int(info["port"]))):
        other = await bootstrap.open(2, set())

    assert info["address"] == "127.0.0.1"
    assert other["port"] != info["port"]
    assert not bootstrap.is_open
    assert bootstrap.environment(info) == {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": info["port"],
        "TORCHELASTIC_USE_AGENT_STORE": "False",
    }


@pytest.mark.parametrize("address", ["192.0.2.1", "no-such-host.invalid"])
async def test_a_port_of_another_node_is_an_error(address: str) -> None:
    with pytest.raises(SpawnError, match=f"'{address}'.*--local-addr"):
        await PortBootstrap(address).open(1, set())


@pytest.mark.parametrize(
    ("address", "coordinator", "listens"),
    [
        ("192.0.2.1", "192.0.2.1:1024", "192.0.2.1:1024"),
        ("2001:db8::1", "[2001:db8::1]:1024", "[2001:db8::1]:1024"),
        ("node-1", "node-1:1024", "[::]:1024"),
    ],
)
async def test_jax_is_told_where_to_meet_and_each_process_who_it_is(
    address: str, coordinator: str, listens: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: True)
    told = JaxBootstrap(address).environment({"address": address, "port": "1024"})

    assert told == {
        "JAX_COORDINATOR_ADDRESS": coordinator,
        "JAX_COORDINATOR_BIND_ADDRESS": listens,
        "JAX_NUM_PROCESSES": "{world_size}",
        "JAX_PROCESS_ID": "{rank}",
    }
