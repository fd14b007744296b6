"""What ten seconds without the store cost healthy workers: nothing.

That holds whenever they begin: `test_simulation.py` of the plugin goes through all
moments. Here it is one of them, in real time.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest
from agents import Agent, Launch
from lan import Host, Lan, NoNamespacesError
from proxy import Proxy


OUTAGE = 10.0  # seconds

WORK = """
import os, sys
print("works in generation", os.environ["ELAUNCH_GENERATION"], "after",
      os.environ["ELAUNCH_RESTART_COUNT"], "restarts", flush=True)
with open(f"{sys.argv[1]}/{os.environ['RANK']}") as told:
    told.read()
"""
"""A worker that ends well as soon as it is told to, by a pipe."""


@attrs.frozen
class Job:
    """A job of two agents, the first of which hosts the store."""

    directory: Path
    host: Agent
    other: Agent

    @classmethod
    def begin(
        cls,
        directory: Path,
        launch: Launch,
        launch_other: Launch,
        *,
        address: str = "127.0.0.1",
        way: Callable[[int], str] = "127.0.0.1:{}".format,
        conf: str = "",
    ) -> "Job":
        """Start a job and wait until it works.

        Args:
            directory: For its files.
            launch: Starts the agent that hosts.
            launch_other: Starts the other one.
            address: Where the store shall be.
            way: Tells the other one's endpoint from the port of the store.
            conf: Options of both.
        """
        directory.mkdir()
        script = directory / "worker.py"
        script.write_text(WORK)

        def node(rank: int, endpoint: str) -> list[str]:
            os.mkfifo(directory / str(rank))
            return [
                *("-v", "--rdzv-id", "job", "--nnodes", "2", "--node-rank", str(rank)),
                *("--rdzv-endpoint", endpoint, "--rdzv-conf", conf),
                *("--max-restarts", "3", str(script), str(directory)),
            ]

        host = launch(*node(0, f"{address}:0"))
        (hosted,) = host.wait_for(r"hosts the store at '.*:(\d+)'")
        other = launch_other(*node(1, way(int(hosted[1]))))
        job = cls(directory, host, other)
        for agent in (host, other):
            agent.wait_for("works in generation")
        return job

    def assert_undisturbed(self) -> None:
        """Let the workers end; they are the first that there were."""
        for rank in ("0", "1"):
            (self.directory / rank).write_text("go")
        statuses = [agent.wait() for agent in (self.host, self.other)]
        said = f"{self.host.output}\n\n{self.other.output}"

        assert statuses == [0, 0], said
        assert said.count("works in generation") == 2, said
        assert said.count("works in generation 1 after 0 restarts") == 2, said


@attrs.define
class Roads:
    """Proxies that end with the test."""

    proxies: list[Proxy] = attrs.field(factory=list)

    def to(self, port: int) -> str:
        """Open a new one to a port; return its endpoint."""
        self.proxies.append(Proxy(port))
        return self.proxies[-1].endpoint


@pytest.fixture
def roads() -> Iterator[Roads]:
    roads = Roads()
    yield roads
    for proxy in roads.proxies:
        proxy.close()


@pytest.fixture
def lan(tmp_path: Path) -> Iterator[Lan | str]:
    """A network of two hosts, or why there is none."""
    try:
        lan = Lan(tmp_path, ("one",))
    except NoNamespacesError as error:
        yield str(error)
        return
    yield lan
    lan.close()


def test_ten_seconds_without_the_store_restart_nobody(
    launch: Launch, roads: Roads, lan: Lan | str, tmp_path: Path
) -> None:
    """All at once, as they take so long."""
    grace = f"reconnect_grace={1.5 * OUTAGE}"
    stopped = Job.begin(tmp_path / "stopped", launch, launch)
    stalled = Job.begin(tmp_path / "stalled", launch, launch, way=roads.to)
    refused = Job.begin(tmp_path / "refused", launch, launch, way=roads.to, conf=grace)
    jobs = [stopped, stalled, refused]
    if isinstance(lan, Lan):
        a, b = (partial(launch, prefix=host.prefix) for host in _hosts(lan))
        at, way = "10.7.1.1", "10.7.1.1:{}".format
        jobs.append(Job.begin(tmp_path / "cut-off", a, b, address=at, way=way))
        lan.cut("one")
    stopped.host.process.send_signal(signal.SIGSTOP)
    roads.proxies[0].stall()
    roads.proxies[1].refuse()
    time.sleep(OUTAGE)
    stopped.host.process.send_signal(signal.SIGCONT)
    roads.proxies[0].flow()
    roads.proxies[1].accept()
    if isinstance(lan, Lan):
        lan.mend("one")

    for job in jobs:
        job.assert_undisturbed()
    if isinstance(lan, str):
        pytest.skip(f"all but the network of hosts, without namespaces: {lan}")


def _hosts(lan: Lan) -> list[Host]:
    hosts = [lan.host("node-a"), lan.host("node-b")]
    for number, host in enumerate(hosts, start=1):
        host.plug("eth0", "one", f"10.7.1.{number}/24")
    return hosts


def test_connections_that_are_reset_are_taken_up_again(
    launch: Launch, roads: Roads, tmp_path: Path
) -> None:
    grace = "reconnect_grace=20"
    job = Job.begin(tmp_path / "job", launch, launch, way=roads.to, conf=grace)
    for _ in range(3):
        roads.proxies[0].reset()

    job.assert_undisturbed()
