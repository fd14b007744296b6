"""What members of a group do over a store that blocks: ours, and torch's."""

import datetime as dt
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from elaunch.elastic.utils import get_env_variable_or_raise, macros
from elaunch.elastic.utils.distributed import (
    create_c10d_store,
    get_free_port,
    get_socket_with_port,
)
from elaunch.elastic.utils.log_level import get_log_level
from elaunch.elastic.utils.logging import get_logger
from elaunch.elastic.utils.store import (
    barrier,
    get_all,
    store_timeout,
    synchronize,
)
from elaunch_rdzv_c10d import Store


SOON = 60.0

NewStore = Callable[[], Any]
"""Returns one more connection to the store of a test."""


def torchs(host: str, port: int) -> Any:
    torch = pytest.importorskip("torch")
    limit = dt.timedelta(seconds=SOON)
    return torch.distributed.TCPStore(host, port, is_master=False, timeout=limit)


@pytest.fixture(
    params=[
        "ours",
        pytest.param("torch", marks=pytest.mark.interop),
        pytest.param("torch's in memory", marks=pytest.mark.interop),
    ],
)
def connect(request: pytest.FixtureRequest) -> Iterator[NewStore]:
    """A store, and connections of ours or torch's to it; or one that threads share."""
    if request.param == "torch's in memory":
        shared = pytest.importorskip("torch").distributed.HashStore()
        shared.set_timeout(dt.timedelta(seconds=SOON))
        yield lambda: shared
        return
    hosted = create_c10d_store(
        is_server=True, server_addr="127.0.0.1", world_size=1, timeout=SOON
    )
    opened: list[Any] = []

    def new() -> Any:
        store = hosted.clone() if request.param == "ours" else torchs(*address)
        opened.append(store)
        return store

    address = hosted.host, hosted.port
    yield new
    for store in opened:
        if isinstance(store, Store):
            store.close()
    hosted.close()


def all_at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, range(count)))


def test_all_get_what_all_give(connect: NewStore) -> None:
    def member(rank: int) -> list[bytes]:
        return synchronize(connect(), b"from %d" % rank, rank, 3, "data/", SOON)

    assert all_at_once(3, member) == [[b"from 0", b"from 1", b"from 2"]] * 3


def test_rank_0_waits_until_all_have_read(connect: NewStore) -> None:
    first, second = connect(), connect()
    for rank in range(2):
        first.set(f"k{rank}", b"v%d" % rank)
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(get_all, first, 0, "k", 2)
        assert not reading.done()
        assert get_all(second, 1, "k", 2) == [b"v0", b"v1"]
        assert reading.result(SOON) == [b"v0", b"v1"]


def test_nobody_passes_a_barrier_before_the_last(connect: NewStore) -> None:
    passed: list[int] = []
    let_last = threading.Event()

    def member(rank: int) -> None:
        store = connect()
        if rank == 2:
            let_last.wait(SOON)
        barrier(store, 3, "b", SOON, rank=rank)
        passed.append(rank)

    with ThreadPoolExecutor(3) as threads:
        members = [threads.submit(member, rank) for rank in range(3)]
        looking = connect()
        while int(looking.add("b/num_members", 0)) < 2:
            time.sleep(0.01)  # the two have come, and nothing tells of it
        assert passed == []
        let_last.set()
        for one in members:
            one.result(SOON)
    assert sorted(passed) == [0, 1, 2]


def test_a_barrier_names_who_is_missing(connect: NewStore) -> None:
    def member(rank: int) -> str:
        with pytest.raises(TimeoutError) as caught:
            barrier(
                connect(), 40, "b", 0.2, rank, lambda missing: f"host{missing}", SOON
            )
        return str(caught.value)

    for told in all_at_once(2, member):
        assert "2 of 40 have come to the barrier 'b'; missing: host2, host3" in told
        assert told.count("host") == 16


def test_a_barrier_without_ranks_tells_how_many_came(connect: NewStore) -> None:
    with pytest.raises(TimeoutError, match=r"1 of 2 have come to the barrier 'b'$"):
        barrier(connect(), 2, "b", 0.1)
    with pytest.raises(ValueError, match="give rank, too"):
        barrier(connect(), 2, "b", 0.1, rank_tracing_decoder=str)


def test_a_timeout_of_a_store_is_put_back_also_after_an_error(
    connect: NewStore,
) -> None:
    store = connect()
    before = store.timeout

    def fail() -> None:
        with store_timeout(store, 1.5):
            assert store.timeout in (1.5, dt.timedelta(seconds=1.5))
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert store.timeout == before


@pytest.mark.interop
def test_members_with_torchs_barrier_meet_ours() -> None:
    theirs = pytest.importorskip("torch.distributed.elastic.utils.store")
    hosted = create_c10d_store(is_server=True, server_addr="127.0.0.1", timeout=SOON)

    def member(rank: int) -> None:
        if rank == 0:
            theirs.barrier(torchs(hosted.host, hosted.port), 2, "b", SOON, rank=rank)
        else:
            barrier(hosted, 2, "b", SOON, rank=rank)

    all_at_once(2, member)
    hosted.close()


def test_processes_that_know_a_port_create_a_store_together() -> None:
    port = get_free_port()

    def member(rank: int) -> Any:
        store = create_c10d_store(
            is_server=rank == 0,
            server_addr="127.0.0.1",
            server_port=port,
            world_size=2,
            timeout=SOON,
        )
        if rank == 1:
            store.set("key", b"value")
            store.close()
            return None
        return store

    store, _ = all_at_once(2, member)
    assert store.get("key") == b"value"
    assert store.port == port
    other = store.clone()
    store.close()
    store.close()
    with pytest.raises(ConnectionError):
        other.ping()


def test_a_store_for_several_needs_a_port_that_they_know() -> None:
    for is_server, world_size in ((True, 2), (False, 1)):
        with pytest.raises(ValueError, match="needs a server_port that all"):
            create_c10d_store(
                is_server=is_server, server_addr="127.0.0.1", world_size=world_size
            )


def test_who_waits_for_others_in_vain_leaves_no_store_behind() -> None:
    port = get_free_port()
    for _ in range(2):  # the second finds the port free
        with pytest.raises(TimeoutError, match="1 of 2 have come"):
            create_c10d_store(
                is_server=True,
                server_addr="127.0.0.1",
                server_port=port,
                world_size=2,
                timeout=0.2,
            )


def test_who_connects_in_vain_is_told_in_time() -> None:
    with pytest.raises(TimeoutError, match=r"127\.0\.0\.1"):
        create_c10d_store(
            is_server=False,
            server_addr="127.0.0.1",
            server_port=get_free_port(),
            world_size=2,
            timeout=0.2,
        )


def test_a_store_at_a_port_that_is_taken_is_an_error() -> None:
    with (
        create_c10d_store(is_server=True, server_addr="127.0.0.1") as first,
        pytest.raises(OSError, match="in use"),
    ):
        create_c10d_store(
            is_server=True, server_addr="127.0.0.1", server_port=first.port
        )


def test_a_socket_holds_its_port() -> None:
    with get_socket_with_port() as first, get_socket_with_port() as second:
        assert first.getsockname()[1] != second.getsockname()[1]


def test_a_socket_is_at_the_next_address_where_one_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_family = (200, socket.SOCK_STREAM, 0, "", ())
    infos = [no_family, *socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
    with get_socket_with_port() as own:
        assert own.getsockname()[1] > 0

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [no_family] * 2)
    with pytest.raises(OSError, match="not supported"):
        get_socket_with_port()


def test_variables_and_macros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_NAME", "value")
    monkeypatch.delenv("NO_NAME", raising=False)

    assert get_env_variable_or_raise("SOME_NAME") == "value"
    with pytest.raises(ValueError, match="'NO_NAME' is not set"):
        get_env_variable_or_raise("NO_NAME")
    assert macros.substitute(["--rank=${local_rank}", 3, "$x"], "7") == [
        "--rank=7",
        3,
        "$x",
    ]


def test_a_logger_has_the_name_of_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGLEVEL", "INFO")

    assert get_logger().name == __name__
    assert get_logger("x").level == logging.INFO
    monkeypatch.delenv("LOGLEVEL")
    assert get_log_level() == "WARNING"
    assert get_logger("x").level == logging.WARNING
