"""The streams that a watch is made of: broken, late, in parts, or silent."""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import attrs
import pytest
from etcd_proxy import EtcdProxy
from etcd_watches import compact, following, streams

from elaunch.api import RendezvousUnreachable, WatchCompacted
from elaunch_rdzv_etcd.v3 import store as store_module
from elaunch_rdzv_etcd.v3 import watch as watch_module
from elaunch_rdzv_etcd.v3.changes import text
from elaunch_rdzv_etcd.v3.gateway import Gateway
from elaunch_rdzv_etcd.v3.store import EtcdV3Store
from elaunch_rdzv_etcd.v3.stream import Stream
from elaunch_rdzv_etcd.v3.watch import Watch


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV3Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds
_WATCH = "/v3/watch"


async def test_what_is_compacted_while_disconnected_is_read_anew(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store, other = v3_store(proxy.port, request_timeout=_LIMIT), v3_store(etcd_port)
    start = (await store.list("/")).revision
    events = store.watch("/", start)
    await other.put("/a", b"0")
    first = await following(events)
    proxy.hold = [_WATCH]
    waiting = asyncio.ensure_future(following(events))
    await proxy.cut()
    async with asyncio.timeout(_LIMIT):
        await proxy.held.wait()
    for n in range(3):
        await other.put("/a", str(n).encode())
    await compact(other)
    proxy.go_on.set()

    assert first.value == b"0"
    with pytest.raises(WatchCompacted):
        await waiting


async def test_a_compaction_of_what_was_seen_disturbs_nobody(
    etcd_port: int, proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store, other = v3_store(proxy.port), v3_store(etcd_port)
    start = (await store.list("/")).revision
    async with aclosing(store.watch("/", start)) as events:
        await other.put("/a", b"0")
        seen = [await following(events)]
        await compact(other)
        await proxy.cut()
        await other.put("/a", b"1")
        seen.append(await following(events))

    assert [event.value for event in seen] == [b"0", b"1"]


async def test_a_cluster_that_has_lost_what_was_seen_is_read_anew(
    etcd_port: int, v3_store: NewStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "elaunch_rdzv_etcd")
    store = v3_store(etcd_port)
    latest = (await store.list("/")).revision

    with pytest.raises(WatchCompacted):
        await following(store.watch("/", latest + 1000))
    assert f"etcd has lost all behind {latest}" in caplog.text


@attrs.define
class Lagging:
    """A stream of a member that does not know yet what others know."""

    etcd: Gateway
    said: list[dict[str, Any]]

    async def next(self) -> dict[str, Any]:
        if not self.said:
            await asyncio.Event().wait()
        return self.said.pop(0)

    def close(self) -> None:
        self.said.clear()


async def test_a_member_that_is_late_is_waited_for(
    etcd_port: int, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port)
    first = await store.put("/a", b"")
    second = await store.put("/a", b"")
    event = {
        "key": text(store.keys.of_key("/a")),
        "value": text(b"0" * 16 + b" seen"),
        "mod_revision": str(second),
    }
    stream = Lagging(
        store.link.ring.current,
        [
            {"created": True, "header": {"revision": str(first - 1)}},
            {"events": [{"kv": event}], "header": {"revision": str(second)}},
        ],
    )
    closing = asyncio.get_running_loop().create_future()
    watch = Watch("/", first, store.keys, store.link, closing, lambda _: stream)  # type: ignore[arg-type,return-value]  # says what a real one does
    async with asyncio.timeout(_LIMIT):
        seen = await watch.next()

    assert (seen.value, seen.revision) == (b"seen", second)


async def test_parts_of_one_message_are_told_together(
    etcd_port: int, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port)
    revision = await store.put("/a", b"")

    def part(key: str, **more: object) -> dict[str, Any]:
        kv = {
            "key": text(store.keys.of_key(key)),
            "value": text(b"0" * 16 + b" "),
            "mod_revision": str(revision + 1),
        }
        return {"events": [{"kv": kv}], **more}

    created = {"created": True, "header": {"revision": str(revision)}}
    etcd = store.link.ring.current
    broken = Lagging(etcd, [created, part("/a", fragment=True), {"canceled": True}])
    whole = Lagging(etcd, [created, part("/a", fragment=True), part("/b")])
    opened: list[int] = []

    def reopen(since: int) -> Lagging:
        opened.append(since)
        return [broken, whole][len(opened) - 1]

    closing = asyncio.get_running_loop().create_future()
    watch = Watch("/", revision, store.keys, store.link, closing, reopen)  # type: ignore[arg-type]  # says what a real one does
    async with asyncio.timeout(_LIMIT):
        seen = [await watch.next() for _ in range(2)]

    # What came of the first message before it broke is not seen yet.
    assert opened == [revision, revision]
    assert [event.key for event in seen] == ["/a", "/b"]


async def test_more_than_one_message_holds_comes_whole_and_in_order(
    etcd_port: int, v3_store: NewStore
) -> None:
    store = v3_store(etcd_port)
    start = (await store.list("/")).revision
    keys = [f"/{n:03}" for n in range(150)]
    # Nobody reads while this is written, and while it is read nothing else is.
    await asyncio.gather(*(store.put(key, b"x" * 60_000) for key in keys))
    async with aclosing(store.watch("/", start)) as events:
        seen = [await following(events) for _ in keys]

    assert [event.key for event in seen] == keys
    assert {len(event.value or b"") for event in seen} == {60_000}


async def test_a_slow_reader_misses_nothing(etcd_port: int, v3_store: NewStore) -> None:
    store, other = v3_store(etcd_port), v3_store(etcd_port)
    start = (await store.list("/")).revision
    async with aclosing(store.watch("/", start)) as events:
        await other.put("/a", b"0")
        seen = [await following(events)]
        for n in range(1, 300):
            await other.put("/a", str(n).encode() * 1000)
        seen += [await following(events) for _ in range(1, 300)]

    assert [event.value[:1] for event in seen if event.value] == [
        str(n).encode()[:1] for n in range(300)
    ]
    assert sorted({e.revision for e in seen}) == [e.revision for e in seen]


async def test_a_quiet_watch_outlives_a_broken_connection(
    proxy: EtcdProxy, v3_store: NewStore
) -> None:
    store = v3_store(proxy.port, patience=1.5, request_timeout=0.5)
    start = (await store.list("/")).revision
    async with aclosing(store.watch("/", start)) as events:
        waiting = asyncio.ensure_future(following(events))
        # Nothing changes for longer than the store's patience with silence.
        await asyncio.wait({waiting}, timeout=2.5)
        quiet = proxy.count(_WATCH)
        await proxy.cut()
        await asyncio.wait({waiting}, timeout=0.1)
        await store.put("/a", b"")
        event = await waiting

    assert event.key == "/a"
    assert quiet == 1


async def test_a_silent_stream_is_replaced_and_nobody_takes_it_for_trouble(
    etcd_port: int,
    proxy: EtcdProxy,
    v3_store: NewStore,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (watch_module, store_module):
        monkeypatch.setattr(module, "IDLE", 0.2)
    store, other = v3_store(proxy.port), v3_store(etcd_port)
    start = (await store.list("/")).revision
    async with aclosing(store.watch("/", start)) as events:
        waiting = asyncio.ensure_future(following(events))
        await until(lambda: proxy.count(_WATCH) > 4)
        await other.put("/a", b"0")
        seen = [await waiting]
        await other.put("/a", b"1")
        seen.append(await following(events))

    assert [event.value for event in seen] == [b"0", b"1"]
    assert store.link.ring.trouble == ""


async def test_a_stream_that_breaks_again_and_again_makes_no_storm(
    v3_store: NewStore, until: Until
) -> None:
    # Accepts connections and closes them.
    times: list[float] = []

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        times.append(asyncio.get_running_loop().time())
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    store = v3_store(port, patience=_LIMIT)
    watching = asyncio.ensure_future(anext(store.watch("/", 1)))
    reading = asyncio.ensure_future(store.get("/a"))
    await until(lambda: bool(times) and times[-1] - times[0] > 3)
    for task in (watching, reading):
        task.cancel()
    await asyncio.gather(watching, reading, return_exceptions=True)
    server.close()

    # Each of the two: seven until the pauses last for up to a second, and two in each
    # second then; and each time it looks whether TLS is wanted there.
    assert len(times) < 2 * 2 * (7 + 2 * 4)


async def test_a_watch_does_not_follow_each_failure_of_others(
    v3_store: NewStore, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[float] = []
    open_stream = EtcdV3Store._stream

    def count(store: EtcdV3Store, *args: Any) -> Stream:
        opened.append(asyncio.get_running_loop().time())
        return open_stream(store, *args)

    monkeypatch.setattr(EtcdV3Store, "_stream", count)
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in (silent, nobody)]
        store = v3_store(
            ",".join(f"127.0.0.1:{port}" for port in ports),
            patience=_LIMIT,
            request_timeout=0.1,
        )
        tasks = [asyncio.ensure_future(store.get(f"/{n}")) for n in range(30)]
        tasks.append(asyncio.ensure_future(anext(store.watch("/", 1))))  # type: ignore[arg-type]  # any of them
        await until(lambda: bool(opened) and opened[-1] - opened[0] > 3)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Two for each round: seven until the pauses last for up to a second.
    assert len(opened) < 2 * (7 + 2 * 4)


@pytest.mark.parametrize("silent", [True, False])
@pytest.mark.parametrize("how", ["cancel", "close", "aclose"])
async def test_the_end_of_a_watch_leaves_no_thread(
    etcd_port: int, v3_store: NewStore, until: Until, how: str, *, silent: bool
) -> None:
    await until(lambda: streams() == 0)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1] if silent else etcd_port
        store = v3_store(port, patience=3600.0, request_timeout=1.0)
        start = 1 if silent else (await store.list("/")).revision
        events = store.watch("/", start)
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: streams() > 0)
        if how == "close":
            await store.close()
            with pytest.raises(RendezvousUnreachable, match="closed"):
                await waiting
        else:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await events.aclose()
        await until(lambda: streams() == 0)

    assert waiting.done()
