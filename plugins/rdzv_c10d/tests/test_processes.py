import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path

import pytest

from elaunch_rdzv_c10d import Store
from elaunch_rdzv_c10d.addresses import Endpoint
from elaunch_rdzv_c10d.control_store import ControlStore


README = (Path(__file__).parent.parent / "README.md").read_text()

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

FORKING = """
import os, sys
from elaunch_rdzv_c10d import Store, StoreError

with Store(sys.argv[1], int(sys.argv[2]), timeout=30) as store:
    child = os.fork()
    if not child:
        try:
            store.add("n", 1)
        except StoreError as error:
            print(error, flush=True)
        with store.clone() as own:
            own.add("n", 10)
        store.close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print(status, store.add("n", 100))
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
            async with asyncio.timeout(60):
                there = await anext(events)
            child.send_signal(signal.SIGKILL)
            async with asyncio.timeout(60):  # the lease would last an hour
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
            codes = [worker.wait(timeout=120) for worker in workers]

            assert codes == [0] * 8
            assert store.get("sum") == b"4000"
            assert sorted(store.get("done")) == sorted(b"01234567")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def test_a_forked_child_needs_a_connection_of_its_own(address: tuple[str, int]) -> None:
    host, port = address
    ended = subprocess.run(
        [sys.executable, "-c", FORKING, host, str(port)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    complaint, result = ended.stdout.splitlines()

    assert "from which this one was forked; clone() makes one of its own" in complaint
    assert result == "0 110"


def test_the_example_of_the_readme_runs(address: tuple[str, int]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "MASTER_ADDR": address[0],
            "MASTER_PORT": str(address[1]),
            "RANK": "0",
            "WORLD_SIZE": "1",
        },
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )

    assert ended.stdout == "b'0'\n"


def test_the_readme_names_all_operations() -> None:
    table = README.split("| operation | meaning |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.+`) \|", table, re.MULTILINE)

    assert {name for row in rows for name in re.findall(r"\w+", row)} == {
        name for name in vars(Store) if not name.startswith("_")
    } - {"from_env"}
