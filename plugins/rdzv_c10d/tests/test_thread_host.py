import asyncio
import socket
import sys
import threading

import pytest

from elaunch_rdzv_c10d.client import Store, StoreError
from elaunch_rdzv_c10d.control_store import ControlStore
from elaunch_rdzv_c10d.thread_host import ThreadedServer


pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("kind")]


@pytest.fixture(params=["asyncio", "uvloop"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whose loop serves."""
    if request.param == "asyncio":
        monkeypatch.setitem(sys.modules, "uvloop", None)
    else:
        pytest.importorskip("uvloop", reason="uvloop is not installed: extra 'speed'")
    return str(request.param)


def store_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "elaunch-store"]


async def test_it_serves_while_the_starter_is_blocked() -> None:
    server = ThreadedServer("job")
    host, port = await server.start("127.0.0.1", 0)

    # Called from the thread of the event loop, which does nothing else meanwhile.
    with Store(host, port, timeout=10.0) as store:
        assert store.add("key", 1) == 1

    await server.stop()


async def test_the_fastest_loop_there_is_serves(kind: str) -> None:
    server = ThreadedServer("job")
    await server.start("127.0.0.1", 0)
    loop = server._loop
    await server.stop()

    assert type(loop).__module__.partition(".")[0] == kind


async def test_it_leaves_nothing_behind() -> None:
    server = ThreadedServer("job")
    host, port = await server.start("127.0.0.1", 0)
    running = len(store_threads())
    await server.stop()
    await server.stop()

    assert running == 1
    assert store_threads() == []
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(host, port)


async def test_stop_frees_whoever_waits() -> None:
    server = ThreadedServer("job", control=False)
    host, port = await server.start("127.0.0.1", 0)
    store = Store(host, port, timeout=10.0)
    waiting = asyncio.create_task(asyncio.to_thread(store.wait, ["never"]))
    probe = Store(host, port, timeout=10.0)
    probe.ping()
    await server.stop()

    with pytest.raises(StoreError, match=f"lost the store at {host}:{port}"):
        await waiting
    probe.close()


async def test_a_server_that_never_started_can_be_stopped() -> None:
    server = ThreadedServer("job")
    await server.stop()

    assert await server.drained(10)


async def test_a_taken_port_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = ThreadedServer("job")

        with pytest.raises(OSError, match="in use"):
            await server.start("127.0.0.1", taken.getsockname()[1])

    assert store_threads() == []


async def test_it_tells_when_the_agents_have_left() -> None:
    server = ThreadedServer("job")
    host, port = await server.start("127.0.0.1", 0)
    own = await ControlStore.connect(host, port, timeout=10.0, run_id="job")
    other = await ControlStore.connect(host, port, timeout=10.0, run_id="job")
    too_early = await server.drained(0.01, besides=own.session)
    drained = asyncio.create_task(server.drained(10, besides=own.session))
    await other.close()

    assert not too_early
    assert await drained
    await own.close()
    await server.stop()
