"""Jobs that meet in etcd outlive its members, their own nodes, and its absence."""

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import etcd
import pytest
from agents import Launch
from etcd_jobs import WORK, Job, binary, generations, goes_on, works

from elaunch_rdzv_etcd.server import EtcdServer
from elaunch_rdzv_etcd.testing import QUICK, EtcdCluster


pytestmark = pytest.mark.etcd

OUTAGE = 5.0  # seconds
LEASE = 6.0
NOBODY = "127.0.0.1:1"
NO_ANSWER = ".*(Connection refused|no answer in time)"  # the last one may be too late

MEET_AT_A_PORT = """
import os, socket, sys, time
from pathlib import Path

generation = os.environ["ELAUNCH_GENERATION"]
restarts = os.environ["ELAUNCH_RESTART_COUNT"]
rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
place = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
print("generation", generation, "rank", rank, "of", world, "restarts", restarts,
      "store", "%s:%d" % place, flush=True)

def connect():
    while True:
        try:
            return socket.create_connection(place)
        except ConnectionRefusedError:
            time.sleep(0.02)

if rank == 0:
    with socket.create_server(place) as server:
        others = [server.accept()[0] for _ in range(1, world)]
else:
    others = [connect()]
step, told = 0, False
while not told:
    step += 1
    if rank == 0:
        told = Path(sys.argv[1], "go").exists()
    for other in others:
        other.sendall(str(int(told)).encode())
    said = [other.recv(1) for other in others]
    if b"" in said:
        sys.exit("another worker is gone")
    told = told or b"1" in said
    print("step", step, "of generation", generation, "with", world, flush=True)
    time.sleep(0.05)
"""
"""A worker that does without a store: that of rank 0 listens itself."""


Begin = Callable[..., Job]


@pytest.fixture
def begin(launch: Launch, tmp_path: Path) -> Begin:
    """Begin a job with so many agents: ``(agents, endpoints, **facts)``."""
    numbers = itertools.count()

    def begin(agents: int, endpoints: str, **facts: Any) -> Job:
        job = Job(tmp_path / f"job{next(numbers)}", launch, endpoints, **facts)
        for _ in range(agents):
            job.start()
        return job

    return begin


@pytest.fixture
def cluster() -> Iterator[EtcdCluster]:
    binary()
    with EtcdCluster() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def server() -> Iterator[EtcdServer]:
    """A server that several tests use, each with jobs of other names."""
    binary()
    with EtcdServer(flags=QUICK) as server:
        yield server


def keys_of(
    server: EtcdServer | EtcdCluster, prefix: str
) -> dict[str, tuple[Any, str]]:
    """Return value and revision of each key with a prefix, by the v3 API."""
    member = server.member if isinstance(server, EtcdServer) else server.members[0]
    found = member.client().get_prefix(prefix)
    return {kv["key"].decode(): (value, kv["mod_revision"]) for value, kv in found}


def files_of(cluster: EtcdCluster, directory: str) -> list[str]:
    """Return the keys in a directory of the v2 API."""
    client = etcd.Client(host="127.0.0.1", port=cluster.members[0].port)
    try:
        found = client.read(directory, recursive=True)
    except etcd.EtcdKeyNotFound:
        return []
    return [leaf.key for leaf in found.leaves if not leaf.dir]


def test_jobs_survive_the_leader_a_node_and_a_restart_of_the_cluster(
    cluster: EtcdCluster, begin: Begin
) -> None:
    """By both APIs at the same time, beside a job that nothing happens to.

    That one is quiet for longer than its lease before etcd is gone.
    """
    facts = {"conf": "lease_ttl=16"}
    jobs = [
        begin(3, cluster.endpoints, **facts),
        begin(3, cluster.endpoints, backend="etcd-v2", **facts),
    ]
    other = begin(1, cluster.endpoints, run_id="job-b", nnodes="1", **facts)
    works(other.nodes, 1)
    for job in jobs:
        works(job.nodes, 1)
    leader = cluster.members[cluster.leader()]
    leader.kill()
    for job in jobs:
        goes_on(job.nodes)
        assert [generations(node) for node in job.nodes] == [[1], [1], [1]]
    for job in jobs:
        # Where it is, so is what the workers of the others meet in.
        job.node_of_rank(0).power_off()
    for job in jobs:
        works(job.living, 2)
    leader.start()
    cluster.stop_all()
    time.sleep(OUTAGE)
    cluster.start_all()
    for job in jobs:
        goes_on(job.living, steps=20)
        assert [generations(node) for node in job.living] == [[1, 2], [1, 2]]
    before = keys_of(cluster, "/elaunch/job-b/")

    for job in jobs:
        job.assert_ends_well()
        job.assert_one_at_a_time()
    assert keys_of(cluster, "/elaunch/job/") == {}
    assert files_of(cluster, "/elaunch/job") == []
    assert keys_of(cluster, "/elaunch/job-b/") == before != {}
    assert generations(other.nodes[0]) == [1]
    other.assert_ends_well()
    assert keys_of(cluster, "/") == {}


def test_an_outage_beyond_the_lease_stops_the_workers_until_it_is_over(
    cluster: EtcdCluster, begin: Begin
) -> None:
    """Also workers that don't want to stop; and a job that won't wait says why."""
    patient, hasty = (
        begin(0, cluster.endpoints, run_id=run_id, nnodes="2", conf=conf)
        for run_id, conf in (
            ("patient", f"lease_ttl={LEASE:g}"),
            ("hasty", f"lease_ttl={LEASE:g},connect_timeout=3"),
        )
    )
    for job in (patient, hasty):
        for _ in range(2):
            job.start(STUBBORN_IN="1")
    for job in (patient, hasty):
        works(job.nodes, 1)
    stopped = time.monotonic()
    cluster.stop_all()
    for node in patient.nodes:
        node.wait_for("waiting for the store: etcd at")
    statuses = [node.wait() for node in hasty.nodes]
    cluster.start_all()
    works(patient.nodes, 2)

    for job in (patient, hasty):
        assert job.lives()[1][1] < stopped + LEASE
    patient.assert_ends_well()
    patient.assert_one_at_a_time()
    assert statuses == [4, 4]
    for node in hasty.nodes:
        for member in cluster.members:
            node.wait_for(f"error: .*'{member.endpoint}': {NO_ANSWER}")


@pytest.mark.parametrize(
    ("work", "flags"),
    [
        pytest.param(WORK, (), id="c10d"),
        pytest.param(MEET_AT_A_PORT, ("--block-plugin", "rdzv_c10d"), id="port"),
    ],
)
def test_the_workers_of_each_generation_meet_at_a_new_place(
    server: EtcdServer, begin: Begin, work: str, flags: tuple[str, ...]
) -> None:
    flags = ("--max-restarts", "2", *flags)
    job = begin(2, server.endpoint, run_id="place", nnodes="2", work=work, flags=flags)
    places = {works(job.nodes, 1)}
    for number, victim in enumerate(job.nodes, start=1):
        (worker,) = victim.workers()
        worker.send_signal(signal.SIGKILL)
        places.add(works(job.nodes, number + 1, restarts=number))

    assert len(places) == 3
    job.assert_ends_well()


def test_a_failure_that_no_loss_explains_ends_the_job_before_a_lease_does(
    server: EtcdServer, begin: Begin
) -> None:
    """Nobody waits for leases of a minute: the other node says that it lives."""
    job = begin(2, server.endpoint, run_id="fails", nnodes="2", conf="lease_ttl=60")
    works(job.nodes, 1)
    (worker,) = job.nodes[0].workers()
    worker.send_signal(signal.SIGKILL)

    assert [node.wait() for node in job.nodes] == [128 + signal.SIGKILL] * 2
    job.nodes[1].wait_for(
        "SIGKILL; asking first whether .* was the cause; stopping the workers"
    )
    assert keys_of(server, "/elaunch/fails/") == {}


def test_an_agent_waits_for_etcd_of_which_it_finds_a_part(
    begin: Begin, tmp_path: Path
) -> None:
    binary()
    with EtcdServer(tmp_path / "etcd") as server:
        server.stop()
        job = begin(2, f"{NOBODY},{server.endpoint}", nnodes="2")
        for node in job.nodes:
            node.wait_for(f"waiting for the store: etcd at '{NOBODY},.*refused")
        server.start()
        works(job.nodes, 1)

        for node in job.nodes:
            node.wait_for(f"connected to the store at '{server.endpoint}': etcd v3 API")
        job.assert_ends_well()


def test_where_there_is_no_etcd_the_agent_says_so(begin: Begin, endpoint: str) -> None:
    job = begin(1, f"{NOBODY},{endpoint}", conf="connect_timeout=2")

    assert job.nodes[0].wait() == 4
    job.nodes[0].wait_for(
        f"error: etcd at '{NOBODY},{endpoint}' has not answered for 2 s: '{NOBODY}': "
        f"{NO_ANSWER}, '{endpoint}': {NO_ANSWER}; is it running"
    )


def test_the_id_of_a_job_serves_again_after_its_end_and_its_death(
    server: EtcdServer, begin: Begin
) -> None:
    facts = {"run_id": "again", "nnodes": "2", "conf": "lease_ttl=5"}
    first = begin(2, server.endpoint, **facts)
    works(first.nodes, 1)
    first.assert_ends_well()
    second = begin(2, server.endpoint, **facts)
    works(second.nodes, 1)
    for node in second.nodes:
        node.power_off()
    assert keys_of(server, "/elaunch/again/") != {}
    third = begin(2, server.endpoint, **facts)
    # What is left of the one before tells the number of its generation.
    works(third.nodes, 2)

    third.assert_ends_well()
    assert keys_of(server, "/elaunch/again/") == {}
