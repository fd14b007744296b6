"""Three members on one host: elections, restarts from disk, and one end for all."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from elaunch.api import UsageError
from elaunch_rdzv_etcd.local import peer_ports
from elaunch_rdzv_etcd.testing import EtcdCluster, EtcdFailed, EtcdMember, Tls


pytestmark = pytest.mark.etcd

_LIMIT = 30.0  # seconds

OWNER = """
import signal
from elaunch_rdzv_etcd.testing import EtcdCluster

cluster = EtcdCluster()
cluster.start()
print(*(member.port for member in cluster.members), flush=True)
signal.pause()
"""


@pytest.fixture
def cluster() -> Iterator[EtcdCluster]:
    with EtcdCluster() as cluster:
        yield cluster


def value_at(member: EtcdMember) -> bytes:
    (value,) = member.client(_LIMIT).get("key")
    return value


def test_what_one_member_is_told_all_say(cluster: EtcdCluster) -> None:
    cluster.members[0].client(_LIMIT).put("key", "value")

    assert [value_at(member) for member in cluster.members] == [b"value"] * 3
    assert cluster.endpoints == ",".join(
        f"127.0.0.1:{member.port}" for member in cluster.members
    )


@pytest.mark.parametrize("way", ["kill", "pause"])
def test_without_its_leader_another_one_leads(cluster: EtcdCluster, way: str) -> None:
    before = cluster.leader()
    cluster.members[before].client(_LIMIT).put("key", "value")
    getattr(cluster.members[before], way)()
    after = cluster.leader()

    assert after != before
    assert value_at(cluster.members[after]) == b"value"
    cluster.members[before].resume()
    cluster.members[before].start()
    assert value_at(cluster.members[before]) == b"value"


def test_a_leader_that_is_stopped_in_good_order_is_succeeded(
    cluster: EtcdCluster,
) -> None:
    before = cluster.leader()
    cluster.members[before].stop()

    assert cluster.leader() != before


def test_nobody_leads_a_minority(cluster: EtcdCluster) -> None:
    leader = cluster.leader()
    for index, member in enumerate(cluster.members):
        if index != leader:
            member.kill()
    with pytest.raises(EtcdFailed, match=rf"none of '{cluster.endpoints}' leads"):
        cluster.leader(timeout=0)
    with pytest.raises(EtcdFailed, match=r"does not serve after 0\.5 s"):
        cluster.members[leader].start(timeout=0.5)
    cluster.start_all()

    assert cluster.leader() in range(3)


def test_all_come_back_from_disk(cluster: EtcdCluster) -> None:
    endpoints = cluster.endpoints
    cluster.members[0].client(_LIMIT).put("key", "value")
    cluster.stop_all()
    assert [member.pid for member in cluster.members] == [None] * 3
    cluster.start_all()

    assert cluster.endpoints == endpoints
    assert value_at(cluster.members[2]) == b"value"


def test_a_cluster_in_a_named_directory_is_found_again(tmp_path: Path) -> None:
    with EtcdCluster(tmp_path / "data") as cluster:
        cluster.members[0].client(_LIMIT).put("key", "value")
    with EtcdCluster(tmp_path / "data") as cluster:
        assert value_at(cluster.members[1]) == b"value"
    with pytest.raises(UsageError, match="a cluster of 3 members, not of 2"):
        EtcdCluster(tmp_path / "data", size=2).start()
    with pytest.raises(UsageError, match="holds a cluster of several members"):
        EtcdCluster(tmp_path / "data", size=1).start()


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "member0").mkdir()
    with pytest.raises(UsageError, match="holds something else than a cluster of 3"):
        EtcdCluster(tmp_path).start()

    assert (tmp_path / "member0").exists()


@pytest.mark.parametrize(
    "text", ["", "[1, 2", "{}", "1", '["1", 2, 3]', "[0, 1, 2]", "[70000, 1, 2]"]
)
def test_a_cluster_that_does_not_say_where_its_members_meet_is_refused(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "peer-ports.json").write_text(text)
    with pytest.raises(
        UsageError, match=r"peer-ports\.json' does not say where .*; write the ports"
    ):
        EtcdCluster(tmp_path).start()


def test_where_members_meet_is_written_all_or_not_at_all(tmp_path: Path) -> None:
    peer_ports.write(tmp_path, [1, 2, 3])
    (tmp_path / "peer-ports.new").mkdir()
    with pytest.raises(UsageError, match=r"peer-ports\.json' can't be written: .*Is a"):
        peer_ports.write(tmp_path, [4, 5, 6])

    assert peer_ports.read(tmp_path) == [1, 2, 3]


def test_a_start_that_fails_leaves_a_directory_that_can_be_used(tmp_path: Path) -> None:
    broken = EtcdCluster(tmp_path / "data", flags=("--no-such-flag",))
    with pytest.raises(EtcdFailed, match="no-such-flag"):
        broken.start()

    with EtcdCluster(tmp_path / "data") as cluster:
        assert cluster.leader() in range(3)


def test_members_speak_tls_to_clients(tls: Tls) -> None:
    with EtcdCluster(tls=attrs.evolve(tls, client_auth=True)) as cluster:
        cluster.members[cluster.leader()].client(_LIMIT).put("key", "value")

        assert value_at(cluster.members[0]) == b"value"


def test_all_members_die_with_an_owner_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdout=subprocess.PIPE
    ) as owner:
        assert owner.stdout is not None
        ports = map(int, owner.stdout.readline().split())
        lifelines = [
            socket.create_connection(("127.0.0.1", port), _LIMIT) for port in ports
        ]
        owner.kill()
        for lifeline in lifelines:
            with lifeline:
                assert lifeline.recv(1) == b""


@pytest.mark.parametrize("size", [0, -1])
def test_a_cluster_has_members(size: int) -> None:
    with pytest.raises(UsageError, match=f"at least one member, not {size}"):
        EtcdCluster(size=size)
