import asyncio

import pytest

from elaunch.api import BootstrapParameters, SpawnError
from elaunch_rdzv_c10d import Store, StoreError
from elaunch_rdzv_c10d.bootstrap import C10dBootstrap


pytestmark = pytest.mark.asyncio


def store(info: dict[str, str]) -> Store:
    return Store(info["address"], int(info["port"]), timeout=10.0)


async def test_every_generation_has_an_empty_store_at_another_port() -> None:
    bootstrap = C10dBootstrap(BootstrapParameters("job", "127.0.0.2"))
    first = dict(await bootstrap.open(1, {"127.0.0.2"}))
    with store(first) as straggler:
        straggler.set("key", "old")
        straggler.ping()
        second = dict(await bootstrap.open(2, {"127.0.0.2"}))
        with store(second) as worker:
            keys = worker.num_keys()

        with pytest.raises(StoreError):
            straggler.get("key")
    await bootstrap.close()
    await bootstrap.close()

    assert keys == 0
    assert first["address"] == second["address"] == "127.0.0.2"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(second["address"], int(second["port"]))


async def test_agents_are_not_served() -> None:
    bootstrap = C10dBootstrap(BootstrapParameters("job", "127.0.0.1"))
    info = await bootstrap.open(1, {"127.0.0.1"})
    reader, writer = await asyncio.open_connection(info["address"], int(info["port"]))
    writer.write(b"ELAUNCH1\n")

    assert await reader.read() == b""
    writer.close()
    await bootstrap.close()


async def test_torch_is_told_in_its_own_words() -> None:
    bootstrap = C10dBootstrap(BootstrapParameters("job", "ignored"))

    assert bootstrap.environment({"address": "10.0.0.1", "port": "1234"}) == {
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "1234",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


@pytest.mark.parametrize("address", ["192.0.2.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_ours_is_an_error(address: str) -> None:
    bootstrap = C10dBootstrap(BootstrapParameters("job", address))

    with pytest.raises(SpawnError, match=f"'{address}'.*--local-addr"):
        await bootstrap.open(1, set())
    await bootstrap.close()
