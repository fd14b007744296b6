"""Connections that threads share, and answers of who is no etcd."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from elaunch.api import RendezvousUnreachable, Store
from elaunch_rdzv_etcd.threads import DaemonThreads


NewStore = Callable[..., Store]

_LIMIT = 20.0  # seconds
_ENDLESS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture
def hasty() -> Iterator[None]:
    """Let threads take turns far more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(usual)


@pytest.fixture(params=["v2", "v3"])
def new_store(
    request: pytest.FixtureRequest, etcd_store: NewStore, v3_store: NewStore
) -> NewStore:
    """A factory of stores of either kind."""
    return etcd_store if request.param == "v2" else v3_store


@pytest.mark.etcd
@pytest.mark.asyncio
@pytest.mark.usefixtures("hasty")
async def test_each_request_gets_its_own_answer(
    etcd_port: int, new_store: NewStore
) -> None:
    store = new_store(etcd_port)
    keys = [f"/{number}" for number in range(8)]
    await asyncio.gather(*(store.put(key, key.encode()) for key in keys))

    for _ in range(150):
        found = await asyncio.gather(*map(store.get, keys))

        assert [entry.value.decode() for entry in found if entry] == keys


@pytest.mark.asyncio
async def test_an_answer_without_an_end_is_none(new_store: NewStore) -> None:
    """Byte by byte, so that no read of it takes too long."""
    ended = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(_ENDLESS)
            while not writer.is_closing():
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            ended.set()
        finally:
            writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = new_store(port, patience=0.5, request_timeout=0.2)
    async with asyncio.timeout(_LIMIT), server:
        with pytest.raises(RendezvousUnreachable, match=r"does not end|no answer in"):
            await store.get("/key")
        await ended.wait()


def test_a_thread_that_is_stuck_does_not_hold_up_others_or_the_end() -> None:
    stuck, release = threading.Event(), threading.Event()

    def block() -> bool:
        stuck.set()
        return release.wait(_LIMIT)

    threads = DaemonThreads(2, "test")
    blocked = threads.submit(block)
    assert stuck.wait(_LIMIT)
    assert threads.submit(pow, 2, 5).result(_LIMIT) == 32
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(_LIMIT)
    threads.shutdown(wait=False, cancel_futures=True)

    with pytest.raises(RuntimeError, match="no more work"):
        threads.submit(pow, 2, 5)
    assert all(thread.daemon for thread in threads._threads)
    release.set()
    assert blocked.result(_LIMIT)
    threads.shutdown()
