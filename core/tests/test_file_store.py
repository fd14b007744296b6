"""The store in a directory: its contract, and what only files can do."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import attrs
import pytest
import pytest_asyncio

from elaunch import get_rdzv_handler
from elaunch.api import (
    FileStore,
    RendezvousCorrupt,
    RendezvousHandler,
    RendezvousParameters,
    RendezvousUnreachable,
    Store,
    UsageError,
)
from elaunch.builtin import elaunch_register_rendezvous
from elaunch.testing import (
    NewHandler,
    NewStore,
    RendezvousContract,
    StoreContract,
    parameters,
)


class TestFileStore(StoreContract):
    min_lease_ttl = 2.0
    tells_every_change = False

    @pytest.fixture
    def new_store(self, tmp_path: Path) -> NewStore:
        async def new() -> Store:
            return await FileStore.connect(str(tmp_path / "store"), poll_interval=0.01)

        return new

    async def silence(self, store: Store) -> None:
        assert isinstance(store, FileStore)
        for lease in store._leases:
            assert lease._keeper
            lease._keeper.cancel()


class TestFileRendezvous(RendezvousContract):
    @pytest_asyncio.fixture
    async def new_handler(self, tmp_path: Path) -> AsyncIterator[NewHandler]:
        handlers: list[RendezvousHandler] = []

        def new(params: RendezvousParameters) -> RendezvousHandler:
            params = attrs.evolve(
                params,
                backend="file",
                endpoint=str(tmp_path / "store"),
                config={"poll_interval": "0.01", **params.config},
            )
            handlers.append(get_rdzv_handler(params))
            return handlers[-1]

        yield new
        await asyncio.gather(*(handler.aclose() for handler in handlers))


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[FileStore]:
    store = await FileStore.connect(
        str(tmp_path / "store"), poll_interval=0.01, lock_timeout=0.2
    )
    yield store
    await store.close()


@contextlib.contextmanager
def running(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run Python code in a process of its own that ends with the test."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


COUNT = """
import asyncio, sys
from elaunch.api import ABSENT, FileStore

async def count():
    store = await FileStore.connect(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    done = lost = 0
    while done < 100:
        entry = await store.get("/count")
        number, expected = (int(entry.value), entry.revision) if entry else (0, ABSENT)
        new = str(number + 1).encode()
        if await store.compare_and_set("/count", new, expected=expected):
            done += 1
        else:
            lost += 1
    await store.close()
    print(lost)

asyncio.run(count())
"""

HOLD_LOCK = """
import sys
from pathlib import Path
from elaunch.locked_document import LockedDocument

with LockedDocument(Path(sys.argv[1]), 10.0).lock():
    print("held", flush=True)
    sys.stdin.readline()
"""

HOLD_LEASE = """
import asyncio, sys
from elaunch.api import FileStore

async def hold():
    store = await FileStore.connect(sys.argv[1])
    await store.put("/leased", b"", lease=await store.lease(1.0))
    print("held", flush=True)
    await asyncio.Event().wait()

asyncio.run(hold())
"""


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.asyncio
async def test_processes_that_race_lose_no_change(
    store: FileStore, tmp_path: Path
) -> None:
    directory = tmp_path / "store"
    with running(COUNT, directory) as one, running(COUNT, directory) as other:
        assert [line_of(one), line_of(other)] == ["ready", "ready"]
        go_on(one)
        go_on(other)
        lost = [int(await asyncio.to_thread(line_of, each)) for each in (one, other)]
    entry = await store.get("/count")

    assert entry is not None
    assert entry.value == b"200"
    assert sum(lost) > 0  # or there was no race


@pytest.mark.asyncio
async def test_a_killed_process_loses_its_keys(
    store: FileStore, tmp_path: Path
) -> None:
    with running(HOLD_LEASE, tmp_path / "store") as holder:
        assert await asyncio.to_thread(line_of, holder) == "held"
        start = (await store.list("/")).revision
        async with contextlib.aclosing(store.watch("/", start)) as events:
            holder.send_signal(signal.SIGKILL)
            async with asyncio.timeout(60):
                gone = await anext(events)

    assert (gone.key, gone.value) == ("/leased", None)


@pytest.mark.asyncio
async def test_a_lock_that_another_process_holds_hinders_no_reader(
    store: FileStore, tmp_path: Path
) -> None:
    await store.put("/key", b"")
    with running(HOLD_LOCK, tmp_path / "store") as holder:
        assert line_of(holder) == "held"
        with pytest.raises(RendezvousUnreachable, match="store/lock' was locked by an"):
            await store.put("/key", b"new")
        entry = await store.get("/key")
        go_on(holder)
        holder.wait()
    await store.put("/key", b"later")

    assert entry is not None
    assert entry.value == b""


@pytest.mark.asyncio
async def test_the_lock_of_a_killed_process_is_free(
    store: FileStore, tmp_path: Path
) -> None:
    with running(HOLD_LOCK, tmp_path / "store") as holder:
        assert line_of(holder) == "held"
        holder.kill()
        holder.wait()

        assert await store.put("/key", b"") == 1


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is damaged: "),
        (b"nonsense\n", "is damaged: "),
        (b'{"format":1,"store":"a","revision":1,"entries":1}\n', "0 of 1 entries"),
        (b'{"format":1,"store":"a","revision":1,"entries":1}\n{"key":', "is damaged: "),
        (b'{"format":9,"store":"a","revision":1,"entries":0}\n', "has format 9"),
        (b"\xff\xfe\n", "is damaged: "),
    ],
)
async def test_a_damaged_document_is_named(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    (tmp_path / "store.jsonl").write_bytes(content)

    with pytest.raises(RendezvousCorrupt, match=reason) as caught:
        await FileStore.connect(str(tmp_path))
    assert str(tmp_path / "store.jsonl") in str(caught.value)


@pytest.mark.asyncio
async def test_damage_reaches_whoever_watches(store: FileStore, tmp_path: Path) -> None:
    start = (await store.list("/")).revision
    async with contextlib.aclosing(store.watch("/", start)) as events:
        waiting = asyncio.ensure_future(anext(events))
        (tmp_path / "store" / "store.jsonl").write_text("nonsense\n")
        with pytest.raises(RendezvousCorrupt):
            await waiting


@pytest.mark.asyncio
async def test_a_store_that_was_removed_or_replaced_is_lost(
    store: FileStore, tmp_path: Path
) -> None:
    await store.put("/key", b"")
    document = tmp_path / "store" / "store.jsonl"
    document.unlink()
    with pytest.raises(RendezvousUnreachable, match="No such file"):
        await store.get("/key")
    other = await FileStore.connect(str(tmp_path / "store"))
    await other.put("/key", b"")

    with pytest.raises(RendezvousUnreachable, match="was replaced by another"):
        await store.get("/key")
    await other.close()


@pytest.mark.asyncio
async def test_a_writer_that_was_killed_leaves_nothing_in_the_way(
    store: FileStore, tmp_path: Path
) -> None:
    (tmp_path / "store" / "store.tmp").write_text("half of a docu")
    await store.put("/key", b"value")

    assert await store.get("/key") is not None
    names = sorted(path.name for path in (tmp_path / "store").iterdir())
    assert names == ["lock", "store.jsonl"]


@pytest.mark.asyncio
async def test_only_its_owner_gets_in(store: FileStore, tmp_path: Path) -> None:
    await store.put("/key", b"value")
    directory = tmp_path / "store"

    assert directory.stat().st_mode & 0o777 == 0o700
    assert {p.stat().st_mode & 0o777 for p in directory.iterdir()} == {0o600}


@pytest.mark.asyncio
async def test_a_place_that_is_no_directory_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, reason in (
        (tmp_path / "file", "Not a directory"),
        (tmp_path / "no" / "such", "No such file or directory"),
    ):
        with pytest.raises(UsageError, match=f"'{place}': {reason}; its parent must"):
            await FileStore.connect(str(place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_a_usage_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(UsageError, match="Permission denied"):
        asyncio.run(FileStore.connect(str(tmp_path)))


@pytest.mark.parametrize("endpoint", ["", "localhost:0", "node-1:29400"])
def test_an_endpoint_that_could_be_a_host_is_a_usage_error(endpoint: str) -> None:
    params = attrs.evolve(parameters("n"), endpoint=endpoint)
    (provider,) = elaunch_register_rendezvous()

    with pytest.raises(UsageError, match=f"--rdzv-endpoint ./meet, not '{endpoint}'"):
        provider.create(params, provider.options_class()())
