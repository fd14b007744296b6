"""What a job leaves in etcd: nothing, and it touches nothing of other jobs."""

import asyncio
import json
import sys
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import attrs
import pytest

from elaunch import get_rdzv_handler
from elaunch.api import (
    ABSENT,
    NodeState,
    RendezvousHandler,
    RendezvousUnreachable,
)
from elaunch.testing import join_all, next_change, parameters
from elaunch_rdzv_etcd.v2.nodes import MAX_VALUE, Node
from elaunch_rdzv_etcd.v2.store import EtcdV2Store


pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

NewStore = Callable[..., EtcdV2Store]
Until = Callable[[Callable[[], bool]], Awaitable[None]]

_LIMIT = 30.0  # seconds
_SHORT = 3.0  # seconds; nothing can be kept for less
_ROUNDS = 4  # last longer than that: there is a second between two at least

HOLDER = """
import asyncio, sys
from elaunch_rdzv_etcd.options import GivenOptions
from elaunch_rdzv_etcd.v2.paths import Paths
from elaunch_rdzv_etcd.v2.store import EtcdV2Store
from elaunch_rdzv_etcd.target import Target

async def main(port, prefix):
    target = Target.parse(f"127.0.0.1:{port}", GivenOptions())
    store = EtcdV2Store(target, 15.0, Paths(prefix), "/job/", 3.0)
    state = await store.put("/job/state", b"0")
    await store.compare_and_set("/job/state", b"1", expected=state)
    await store.put("/job/done/1", b"")
    await store.put("/job/nodes/1", b"", lease=await store.lease(3.0))
    print("ready", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


def tree(port: int, path: str) -> dict[str, int]:
    """Return what is at a path and below it in etcd, with the index of its change."""
    url = f"http://127.0.0.1:{port}/v2/keys{path}?recursive=true"
    with urllib.request.urlopen(url, timeout=_LIMIT) as answer:
        found: dict[str, int] = {}
        rest: list[dict[str, Any]] = [json.load(answer)["node"]]
    while rest:
        node = rest.pop()
        found[node["key"]] = node["modifiedIndex"]
        rest += node.get("nodes", ())
    return found


def raw(store: EtcdV2Store, key: str) -> Node:
    node = store.link.ring.current.read(store.paths.of_key(key))
    assert node is not None
    return node


async def test_what_a_job_wrote_goes_when_all_its_agents_were_killed(
    etcd_port: int, prefix: str, etcd_store: NewStore
) -> None:
    store = etcd_store(etcd_port)
    holder = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLDER, str(etcd_port), prefix),
        stdout=asyncio.subprocess.PIPE,
    )
    assert holder.stdout is not None
    ready = await holder.stdout.readline()
    listing = await store.list("/job/")
    holder.kill()
    await holder.communicate()

    gone: set[str] = set()
    async with (
        asyncio.timeout(_LIMIT),
        aclosing(store.watch("/job/", listing.revision)) as events,
    ):
        while len(gone) < len(listing.entries):
            event = await anext(events)
            assert event.value is None
            gone.add(event.key)

    assert ready == b"ready\n"
    assert gone == {"/job/state", "/job/done/1", "/job/nodes/1"}


async def test_a_living_agent_keeps_what_others_wrote_and_nobody_hears_of_it(
    etcd_port: int, etcd_store: NewStore, until: Until
) -> None:
    agent, gone = (etcd_store(etcd_port, job_ttl=_SHORT) for _ in range(2))
    put = await gone.put("/job/put", b"0")
    old = await gone.put("/job/set", b"0")
    replaced = await gone.compare_and_set("/job/set", b"1", expected=old)
    assert replaced is not None
    await gone.close()
    seen = {key: {raw(agent, key).index} for key in ("/job/put", "/job/set")}

    def kept_long_enough() -> bool:
        for key, indices in seen.items():
            indices.add(raw(agent, key).index)
        return all(len(indices) > _ROUNDS for indices in seen.values())

    await until(kept_long_enough)
    entries = (await agent.list("/job/")).entries
    again = await agent.compare_and_set("/job/set", b"2", expected=replaced)
    assert again is not None
    async with (
        asyncio.timeout(_LIMIT),
        aclosing(agent.watch("/job/", replaced)) as events,
    ):
        event = await anext(events)

    assert {e.key: e.revision for e in entries} == {
        "/job/put": put,
        "/job/set": replaced,
    }
    assert (event.key, event.value, event.revision) == ("/job/set", b"2", again)


async def test_nobody_renews_the_lease_of_another(
    etcd_port: int, etcd_store: NewStore
) -> None:
    agent, other = (etcd_store(etcd_port, job_ttl=_SHORT) for _ in range(2))
    lease = await other.lease(60.0)
    await other.put("/job/leased", b"", lease=lease)
    kept = await other.put("/job/kept", b"")
    before = raw(agent, "/job/leased")
    other._upkeep._task.cancel()
    rounds = {kept}

    async with asyncio.timeout(_LIMIT):
        while len(rounds) < _ROUNDS:
            rounds.add(raw(agent, "/job/kept").index)
            await asyncio.sleep(0.01)

    assert raw(agent, "/job/leased") == before


async def test_the_last_to_leave_takes_the_directories_along(
    etcd_port: int, prefix: str, etcd_store: NewStore
) -> None:
    first, last = etcd_store(etcd_port), etcd_store(etcd_port)
    for store in first, last:
        await store.probe(asyncio.get_running_loop().time() + _LIMIT)
    await last.put("/elsewhere/key", b"")
    await first.put("/job/deep/er/1", b"", lease=await first.lease(_LIMIT))
    await first.put("/job/nodes/1", b"", lease=await first.lease(_LIMIT))
    await last.put("/job/nodes/2", b"", lease=await last.lease(_LIMIT))

    await first.close()
    left = tree(etcd_port, prefix)
    await last.close()

    assert f"{prefix}/job/nodes/2=" in left
    assert tree(etcd_port, prefix).keys() == {
        prefix,
        f"{prefix}/elsewhere",
        f"{prefix}/elsewhere/key=",
    }


async def test_the_last_to_leave_takes_what_a_dead_one_left_in_its_directories(
    etcd_port: int, prefix: str, etcd_store: NewStore
) -> None:
    dead, last = etcd_store(etcd_port), etcd_store(etcd_port)
    await last.probe(asyncio.get_running_loop().time() + _LIMIT)
    await dead.put("/job/deep/er/1", b"")
    await last.put("/job/deep/2", b"", lease=await last.lease(_LIMIT))
    await dead.delete("/job/deep/er/1")

    await last.close()

    assert tree(etcd_port, prefix).keys() == {prefix}


async def test_a_job_that_goes_on_loses_nothing_when_one_leaves(
    etcd_port: int, etcd_store: NewStore
) -> None:
    leaving, staying = etcd_store(etcd_port), etcd_store(etcd_port)
    await leaving.put("/job/nodes/1", b"", lease=await leaving.lease(_LIMIT))
    await leaving.put("/job/state", b"")
    await staying.put("/job/assign/1", b"")
    await leaving.delete("/job/assign/2")

    await leaving.close()

    assert [e.key for e in (await staying.list("/job/")).entries] == [
        "/job/assign/1",
        "/job/state",
    ]


async def test_closing_while_a_job_begins_anew_loses_nothing(
    etcd_port: int, etcd_store: NewStore
) -> None:
    new = etcd_store(etcd_port)
    for number in range(20):
        old = etcd_store(etcd_port)
        await old.put("/job/nodes/1", b"")
        await old.delete("/job/nodes/1")
        _, revision = await asyncio.gather(
            old.close(), new.put("/job/nodes/2", b"%d" % number)
        )
        entry = await new.get("/job/nodes/2")

        assert entry is not None
        assert (entry.value, entry.revision) == (b"%d" % number, revision)


def node(port: int, prefix: str, run_id: str, name: str) -> RendezvousHandler:
    return get_rdzv_handler(
        attrs.evolve(
            parameters(name, nnodes=(2, 2)),
            backend="etcd-v2",
            endpoint=f"127.0.0.1:{port}",
            run_id=run_id,
            config={"prefix": prefix},
        )
    )


async def test_a_job_leaves_nothing_and_touches_no_other(
    etcd_port: int, prefix: str
) -> None:
    ending = [node(etcd_port, prefix, "job", name) for name in "ab"]
    going_on = [node(etcd_port, prefix, "job 2", name) for name in "cd"]
    try:
        await asyncio.gather(join_all(ending), join_all(going_on))
        before = tree(etcd_port, prefix)
        for each in ending:
            await each.report(NodeState.DONE)
        for each in ending:
            await next_change(each)
        await asyncio.gather(*(each.aclose() for each in ending))
        after = tree(etcd_port, prefix)
    finally:
        await asyncio.gather(*(each.aclose() for each in (*ending, *going_on)))

    def assigned(found: dict[str, int]) -> dict[str, int]:
        return {path: index for path, index in found.items() if "~202/assign/" in path}

    others = {path for path in before if path.startswith(f"{prefix}/job~202")}
    assert f"{prefix}/job" in before
    assert after.keys() == {prefix, *others}
    assert assigned(after) == assigned(before) != {}


@pytest.mark.parametrize("size", [MAX_VALUE + 1, 40_000_000])
async def test_a_value_that_is_too_large_is_refused_at_once(
    etcd_port: int, etcd_store: NewStore, size: int
) -> None:
    store = etcd_store(etcd_port, patience=3600.0)
    value = bytes(size)

    async with asyncio.timeout(_LIMIT):
        with pytest.raises(
            RendezvousUnreachable, match=rf"'/a' is too large .* {size} bytes, and"
        ):
            await store.put("/a", value)
        with pytest.raises(RendezvousUnreachable, match="'/a' is too large"):
            await store.compare_and_set("/a", value, expected=ABSENT)


async def test_the_largest_value_is_taken(etcd_port: int, etcd_store: NewStore) -> None:
    store = etcd_store(etcd_port)
    value = b"\xff" * MAX_VALUE  # what takes most room when it is encoded
    old = await store.put("/a", value)
    await store.compare_and_set("/a", value, expected=old, lease=await store.lease(9.0))
    entry = await store.get("/a")

    assert entry is not None
    assert entry.value == value
