"""Torch's own client with our server: every operation that it has."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from elaunch_rdzv_c10d import Store
from elaunch_rdzv_c10d.thread_host import ThreadedServer
from elaunch_rdzv_c10d.wire import U64, Op, blob, hello


pytestmark = pytest.mark.interop

Address = tuple[str, int]
SHORT = timedelta(milliseconds=50)


@pytest.fixture
def theirs(torch_store: Callable[..., Any], far_address: Address) -> Any:
    """Torch's client of our server."""
    return torch_store(far_address)


class TestKeys:
    def test_set_and_get(self, theirs: Any) -> None:
        theirs.set("text", "ü")
        theirs.set("bytes", bytes(range(256)))
        theirs.set("empty", "")

        assert theirs.get("text") == "ü".encode()
        assert theirs.get("bytes") == bytes(range(256))
        assert theirs.get("empty") == b""
        assert theirs.num_keys() == 3

    def test_large_values(self, theirs: Any) -> None:
        value = bytes(range(256)) * (5 << 12)
        theirs.set("k", value)
        theirs.append("k", value)

        assert theirs.get("k") == value * 2

    def test_add(self, theirs: Any) -> None:
        assert theirs.add("n", 2) == 2
        assert theirs.add("n", -5) == -3
        assert theirs.add("n", 0) == -3
        assert theirs.get("n") == b"-3"
        assert theirs.add("large", (1 << 63) - 1) == (1 << 63) - 1
        assert theirs.add("large", 1) == -(1 << 63)

    def test_check_and_delete(self, theirs: Any) -> None:
        theirs.set("a", "")

        assert theirs.check(["a"])
        assert theirs.check([])
        assert not theirs.check(["a", "b"])
        assert theirs.delete_key("a")
        assert not theirs.delete_key("a")
        assert not theirs.check(["a"])

    def test_compare_set(self, theirs: Any) -> None:
        assert theirs.compare_set("k", "expected", "desired") == b"expected"
        assert theirs.compare_set("k", "", "first") == b"first"
        assert theirs.compare_set("k", "", "second") == b"first"
        assert theirs.compare_set("k", "first", "second") == b"second"
        assert theirs.get("k") == b"second"

    def test_append_and_multi(self, theirs: Any) -> None:
        theirs.append("a", "1")
        theirs.append("a", "2")
        theirs.multi_set(["b", "c"], ["3", "4"])

        assert theirs.has_extended_api()
        assert theirs.multi_get(["c", "a", "b"]) == [b"4", b"12", b"3"]

    def test_thousands_of_keys(self, theirs: Any) -> None:
        keys = [f"key-{number}" for number in range(3_000)]
        theirs.multi_set(keys, keys)
        theirs.wait(keys)

        assert theirs.check(keys)
        assert theirs.multi_get(keys) == [key.encode() for key in keys]
        assert sorted(theirs.list_keys()) == sorted(keys)

    def test_list_keys(self, theirs: Any) -> None:
        theirs.multi_set(["a", "b/c"], ["", ""])
        theirs.queue_push("q", "")

        assert sorted(theirs.list_keys()) == ["a", "b/c"]

    def test_prefixes_nest(self, dist: Any, theirs: Any) -> None:
        prefixed = dist.PrefixStore("outer", dist.PrefixStore("in/", theirs))
        prefixed.set("k", "v")

        assert theirs.list_keys() == ["in//outer/k"]
        assert prefixed.get("k") == b"v"
        assert prefixed.list_keys() == ["k"]


class TestQueues:
    def test_are_first_in_first_out(self, theirs: Any) -> None:
        for value in ("a", "", "c"):
            theirs.queue_push("q", value)

        assert theirs.queue_len("q") == 3
        assert theirs.check(["q"])
        assert [theirs.queue_pop("q") for _ in range(3)] == [b"a", b"", b"c"]
        assert theirs.queue_len("q") == 0
        assert not theirs.check(["q"])

    def test_may_be_empty(self, dist: Any, theirs: Any) -> None:
        with pytest.raises(dist.QueueEmptyError):
            theirs.queue_pop("q", block=False)
        theirs.set_timeout(SHORT)
        with pytest.raises(dist.DistStoreError, match="wait timeout"):
            theirs.queue_pop("q")
        theirs.queue_push("q", "late")

        assert theirs.queue_pop("q") == b"late"

    def test_are_waited_for(self, theirs: Any) -> None:
        found: list[bytes] = []
        clones = [theirs.clone() for _ in range(4)]
        poppers = [
            threading.Thread(target=lambda c=c: found.append(c.queue_pop("q")))
            for c in clones
        ]
        for popper in poppers:
            popper.start()
        for number in range(4):
            theirs.queue_push("q", str(number))
        for popper in poppers:
            popper.join()

        assert sorted(found) == [b"0", b"1", b"2", b"3"]

    def test_that_woke_a_client_leave_its_later_waits_alone(
        self, dist: Any, theirs: Any
    ) -> None:
        """Torch's own server ends the second wait."""
        other = theirs.clone()
        popper = threading.Thread(target=theirs.queue_pop, args=("q",))
        popper.start()
        other.queue_push("q", "")
        popper.join()
        other.queue_push("q", "")
        with pytest.raises(dist.DistStoreError, match="wait timeout"):
            theirs.wait(["never"], SHORT)


class TestWaits:
    def test_last_until_all_keys_are_there(self, theirs: Any) -> None:
        other = theirs.clone()
        waiter = threading.Thread(
            target=theirs.wait, args=(["set", "add", "append", "multi", "compare"],)
        )
        waiter.start()
        other.set("set", "")
        other.add("add", 1)
        other.append("append", "")
        other.multi_set(["multi"], [""])
        other.compare_set("compare", "", "v")
        waiter.join()

    def test_end_in_time_and_the_connection_lives(self, dist: Any, theirs: Any) -> None:
        for timeout in (SHORT, timedelta(0)):
            with pytest.raises(dist.DistStoreError, match="wait timeout"):
                theirs.wait(["never"], timeout)
        theirs.set_timeout(SHORT)
        with pytest.raises(dist.DistStoreError, match="wait timeout"):
            theirs.get("never")

        theirs.set("never", "ever")
        assert theirs.get("never") == b"ever"

    def test_race_with_their_end(self, dist: Any, theirs: Any) -> None:
        other = theirs.clone()
        for number in range(200):
            key = f"key-{number}"
            setter = threading.Thread(target=other.set, args=(key, "v"))
            setter.start()
            try:
                theirs.wait([key], timedelta(milliseconds=1))
            except dist.DistStoreError:
                theirs.wait([key])
            setter.join()

            assert theirs.get(key) == b"v"

    def test_end_with_the_server(
        self, dist: Any, torch_store: Callable[..., Any]
    ) -> None:
        server = ThreadedServer(control=False)
        store = torch_store(asyncio.run(server.start("127.0.0.1", 0)))
        failed: list[Exception] = []

        def wait() -> None:
            try:
                store.wait(["never"])
            except dist.DistNetworkError as error:
                failed.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        asyncio.run(server.stop())
        waiter.join()

        assert len(failed) == 1


class TestBarriers:
    @pytest.mark.parametrize("prefix", ["", "p"])
    def test_hold_all_until_the_last(self, prefix: str, dist: Any, theirs: Any) -> None:
        def arrive(store: Any) -> None:
            (dist.PrefixStore(prefix, store) if prefix else store).barrier("b", 3)
            store.add("passed", 1)

        clones = [theirs.clone() for _ in range(3)]
        threads = [threading.Thread(target=arrive, args=(c,)) for c in clones]
        for thread in threads[:2]:
            thread.start()
        assert theirs.add("passed", 0) == 0
        threads[2].start()
        for thread in threads:
            thread.join()

        assert theirs.add("passed", 0) == 3

    def test_count_in_a_key_also_who_left(self, dist: Any, theirs: Any) -> None:
        with pytest.raises(dist.DistStoreError, match="barrier timeout"):
            theirs.barrier("b", 2, SHORT)
        assert theirs.get("b") == b"1"
        theirs.barrier("b", 2, SHORT)
        theirs.barrier("b", 2, SHORT)

        assert theirs.get("b") == b"3"
        assert theirs.list_keys() == ["b"]


class TestJoining:
    def test_is_counted_without_a_prefix(
        self, torch_store: Callable[..., Any], far_address: Address
    ) -> None:
        waiting = {"world_size": 3, "wait_for_workers": True}
        stores = [torch_store(far_address, **waiting) for _ in range(2)]
        get = bytes((Op.GET,)) + blob(b"init/")
        with socket.create_connection(far_address, 10.0) as raw:
            raw.sendall(hello(7) + get)
            answer = raw.makefile("rb").read(4 + U64.size + 1)

        assert answer[4:] == blob(b"2")
        assert stores[0].num_keys() == 1
        assert stores[0].list_keys() == []

    def test_a_clone_is_another_connection(self, theirs: Any) -> None:
        clone = theirs.clone()
        clone.set("k", "v")

        assert theirs.get("k") == b"v"

    @pytest.mark.parametrize("backend", ["libuv", "legacy"])
    def test_as_master_of_a_port_that_we_serve(
        self,
        backend: str,
        torch_store: Callable[..., Any],
        far_address: Address,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """It finds the port taken, and goes on as a client."""
        monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
        monkeypatch.setenv("MASTER_PORT", str(far_address[1]))
        master = torch_store(far_address, is_master=True, use_libuv=backend == "libuv")
        master.set("k", "v")

        with Store(*far_address, timeout=10.0) as ours:
            assert ours.get("k") == b"v"


HAMMER = """
import os, sys, warnings
warnings.simplefilter("ignore")
from datetime import timedelta
from torch.distributed import TCPStore

for rank in range(8):
    if not os.fork():
        break
else:
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(8)]
    sys.exit(max(map(abs, codes)))
limit = timedelta(seconds=30)
store = TCPStore(sys.argv[1], int(sys.argv[2]), is_master=False, timeout=limit)
store.barrier("ready", 8)
for step in range(200):
    store.set(f"{rank}/{step}", str(step))
    store.add("sum", step)
    assert store.get(f"{(rank + 1) % 8}/{step}") == str(step).encode()
    store.queue_push(f"q{(rank + 1) % 8}", str(step))
    assert store.queue_pop(f"q{rank}") == str(step).encode()
assert store.multi_get([f"{r}/199" for r in range(8)]) == [b"199"] * 8
store.barrier("done", 8)
assert store.add("sum", 0) == 8 * sum(range(200))
os._exit(0)
"""


@pytest.mark.usefixtures("dist")
def test_many_processes_at_once(far_address: Address) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HAMMER, far_address[0], str(far_address[1])],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=200,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
