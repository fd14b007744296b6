"""A node whose link is cut stops its workers before the others go on without it.

Members of etcd and agents in network namespaces, a node each: three nodes have both,
the fourth one an agent alone.
"""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import pytest
from agents import Agent, Launch
from etcd_jobs import Job, binary, works
from lan import Host, Lan, NoNamespacesError

from elaunch_rdzv_etcd.testing import QUICK


pytestmark = pytest.mark.etcd

MEMBERS = 3
CONF = "lease_ttl=6,request_timeout=0.5"


def address(number: int) -> str:
    return f"10.7.1.{number}"


@attrs.frozen
class Site:
    """Four nodes on one bridge, the first three with a member of etcd."""

    lan: Lan
    hosts: Sequence[Host]

    @property
    def endpoints(self) -> str:
        return ",".join(address(number) for number in range(1, MEMBERS + 1))

    def cut(self, number: int) -> None:
        """Let nothing through to or from a node; nobody is told."""
        self.hosts[number - 1].unplug("eth0")

    def heal(self, number: int) -> None:
        self.hosts[number - 1].replug("eth0", "one")

    def muffle(self, number: int) -> None:
        """Let a node reach the members, but not hear them."""
        self._route("add", number)

    def unmuffle(self, number: int) -> None:
        self._route("delete", number)

    def _route(self, what: str, number: int) -> None:
        for host in self.hosts[:MEMBERS]:
            host.shell.run(f"ip route {what} blackhole {address(number)}")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    etcd = binary()
    try:
        lan = Lan(tmp_path, ("one",))
    except NoNamespacesError as error:
        pytest.skip(f"no network namespaces: {error}")
    hosts = [lan.host(f"node-{number}") for number in range(1, MEMBERS + 2)]
    for number, host in enumerate(hosts, start=1):
        host.plug("eth0", "one", f"{address(number)}/24")
    members = [
        start_member(etcd, tmp_path, number, hosts[number - 1])
        for number in range(1, MEMBERS + 1)
    ]
    yield Site(lan, hosts)
    lan.close()
    for member in members:
        member.wait()


def start_member(
    etcd: str, directory: Path, number: int, host: Host
) -> "subprocess.Popen[bytes]":
    """Start one that ends with the network."""
    clients, peers = (f"http://{address(number)}:{port}" for port in (2379, 2380))
    everyone = ",".join(f"{n}=http://{address(n)}:2380" for n in range(1, MEMBERS + 1))
    with (directory / f"etcd-{number}.log").open("wb") as log:
        return subprocess.Popen(
            [
                *(*host.prefix, etcd, "--name", str(number)),
                *("--data-dir", str(directory / f"etcd-{number}")),
                *("--listen-client-urls", clients, "--advertise-client-urls", clients),
                *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
                *("--initial-cluster", everyone, "--unsafe-no-fsync", *QUICK),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def test_whoever_is_cut_off_stops_before_the_others_go_on(
    site: Site, launch: Launch, tmp_path: Path
) -> None:
    job = Job(tmp_path / "job", launch, site.endpoints, nnodes="2:4", conf=CONF)
    first, *others = site.hosts
    nodes = [
        job.start(first.prefix, STUBBORN_IN="1"),
        *(job.start(host.prefix) for host in others),
    ]
    works(nodes, 1)
    # All use the endpoint that is the first in the list.
    site.cut(1)
    works(nodes[1:], 2)
    assert_fenced(nodes[0])
    site.heal(1)
    works(nodes, 3)
    others[0].shell.run("ip link set eth0 down")
    works([nodes[0], *nodes[2:]], 4)
    assert_fenced(nodes[1])
    others[0].shell.run("ip link set eth0 up")
    works(nodes, 5)
    site.muffle(4)
    works(nodes[:3], 6)
    assert_fenced(nodes[3])
    site.unmuffle(4)
    works(nodes, 7)

    job.assert_ends_well()
    job.assert_one_at_a_time()


def assert_fenced(node: Agent) -> None:
    node.wait_for("lost the job: etcd at .* has not answered")
    node.wait_for("group.stopped reason=.etcd at .* has not answered")
