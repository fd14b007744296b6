"""What ten seconds without the store cost healthy workers: nothing.

That holds whenever they begin: `test_simulation.py` of the plugin goes through all
moments. Here it is one of them, in real time.
"""

import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import attrs
import pytest
from agents import Launch
from healthy_job import Job
from lan import Host, Lan, NoNamespacesError
from proxy import Proxy


OUTAGE = 10.0  # seconds


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
