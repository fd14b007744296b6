import asyncio
import signal
import subprocess
import sys
from contextlib import aclosing

import pytest

from elaunch_rdzv_c10d import Store
from elaunch_rdzv_c10d.addresses import Endpoint
from elaunch_rdzv_c10d.control_store import ControlStore


AGENT = """
import asyncio, sys
from elaunch_rdzv_c10d.control_store import ControlStore

async def main():
    store = await ControlStore.connect(
        sys.argv[1], int(sys.argv[2]), timeout=10, run_id="job", reconnect_grace=0.05
    )
    await store.put("/nodes/child", b"", lease=await store.lease(3600))
    await asyncio.sleep(60)

asyncio.run(main())
"""

WORKER = """
import sys
from elaunch_rdzv_c10d import Store

with Store(sys.argv[1], int(sys.argv[2]), timeout=30) as store:
    store.set("ready-" + sys.argv[3], "")
    store.wait(["go"])
    for _ in range(500):
        store.add("sum", 1)
    store.append("done", sys.argv[3])
"""


@pytest.mark.asyncio
async def test_a_killed_agent_is_dead_long_before_its_lease(endpoint: Endpoint) -> None:
    store = await ControlStore.connect(
        endpoint.host, endpoint.port, timeout=10.0, run_id="job"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", AGENT, endpoint.host, str(endpoint.port)
    )
    try:
        async with aclosing(store.watch("/nodes/", 0)) as events:
            async with asyncio.timeout(30):
                there = await anext(events)
            child.send_signal(signal.SIGKILL)
            async with asyncio.timeout(10):  # the lease would last an hour
                gone = await anext(events)
    finally:
        await child.wait()
        await store.close()

    assert (there.key, there.value) == ("/nodes/child", b"")
    assert (gone.key, gone.value) == ("/nodes/child", None)


def test_many_processes_lose_no_sum(address: tuple[str, int]) -> None:
    host, port = address
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, host, str(port), str(number)])
        for number in range(8)
    ]
    try:
        with Store(host, port, timeout=30.0) as store:
            store.wait([f"ready-{number}" for number in range(8)])
            store.set("go", "")
            codes = [worker.wait(timeout=30) for worker in workers]

            assert codes == [0] * 8
            assert store.get("sum") == b"4000"
            assert sorted(store.get("done")) == sorted(b"01234567")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
