"""How long nodes take to meet in etcd, and what that costs etcd; beside torchrun's.

    python benchmarks/rendezvous_etcd.py [--nodes 8 64 ...] [--leases N] [--no-torch]

Each row is one act of a job of so many nodes, whose agents' own code runs in one
process, over real etcd servers of this machine; those write to the disk, too.

- form: from nothing to a sealed generation on every node;
- restart: from the failure of one node to the next generation on every node;
- leave: from a goodbye to the next generation on every other node;
- join: from one more node's start to the next generation on every node.

Seconds are the median and the best of a few rounds, each of a job of its own; the
garbage collector rests meanwhile, as in timeit. Requests and bytes are those of all
nodes at their sockets, divided by the nodes; "other" is the end of a lease. torchrun's
handler for its backend `etcd-v2` does the first two acts on the same server, in a
process of its own, one thread for each node.

With the v3 API up to 0.1 s of form and join is the wait for the first news: so often
etcd looks after watches that begin before what others have written since.

Then so many agents' leases are kept alive. A renewal is late by the time between the
moment at which it was due and its answer.

The last rows are whole agents, from the command to the first line of the script.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import etcd_traffic
from etcd_job import Act, new_run_id, play
from etcd_leases import TTL, hold
from nodes import free_endpoint
from rendezvous import (
    TORCH_LIMIT,
    TORCH_MOST,
    Theirs,
    allow_descriptors,
    load,
    torchrun,
)
from rendezvous_job import FORM, RESTART
from start import to_user_code, tool

from elaunch_rdzv_etcd.server import EtcdServer
from elaunch_rdzv_etcd.testing import EtcdCluster


NODES = (8, 64, 256)
BACKENDS = ("etcd", "etcd-v2")
LEASES = 1_000
LEASES_SECONDS = 10.0
"""How long the leases are watched."""

NODE_DESCRIPTORS, LEASE_DESCRIPTORS = 12, 4
"""What one may need at most: its connections, one for each thread."""

STARTS = 7


def row(members: int, size: int, backend: str, name: str, act: Act) -> str:
    """Return the figures of one act of ours."""
    requests = "".join(f"{act.requests[kind]:6.2f}" for kind in etcd_traffic.KINDS)
    return (
        f"{members:7} {size:5} {name:7} {backend:7} {act.median:7.3f} "
        f"{min(act.seconds):7.3f} {act.requests.total():6.2f}{requests} "
        f"{act.bytes / 1000:6.1f}"
    )


def beside(act: Act, theirs: Theirs | None) -> str:
    """Return torchrun's figures for the same act, as ratios to ours."""
    if theirs is None:
        return f"> {TORCH_LIMIT:.0f} s, > {TORCH_LIMIT / act.median:.0f}x"
    return (
        f"{theirs.seconds:6.2f} s {theirs.seconds / act.median:4.0f}x, "
        f"requests {theirs.requests / act.requests.total():4.1f}x, "
        f"bytes {theirs.bytes / act.bytes:4.1f}x"
    )


def meetings(
    members: int, endpoint: str, nodes: Sequence[int], rounds: int, *, torch: bool
) -> Iterator[str]:
    """Measure jobs of so many nodes; return a line for each act, and one in the end."""
    totals: dict[str, list[str]] = {backend: [] for backend in BACKENDS}
    for size in nodes:
        asked = torch and size <= TORCH_MOST
        theirs = torchrun(size, "etcd-v2", endpoint, new_run_id()) if asked else {}
        for backend in BACKENDS:
            played = play(backend, endpoint, size, rounds)
            for name, act in played.items():
                line = row(members, size, backend, name, act)
                known = asked and name in {FORM, RESTART}
                yield f"{line}  {beside(act, theirs.get(name))}" if known else line
            # Renewals are as many as the time takes.
            total = sum(
                act.requests.total() - act.requests[etcd_traffic.RENEW]
                for act in played.values()
            )
            totals[backend].append(f"{total:.1f} of {size}")
    for backend, told in totals.items():
        yield (
            f"requests of a node in all acts without renewals, {backend}: "
            f"{', '.join(told)} nodes"
        )


def leases(server: EtcdServer, count: int) -> Iterator[str]:
    """Measure so many agents' leases; return a line for each backend."""
    pid = server.member.pid
    if pid is None:
        raise RuntimeError("the etcd server has ended")
    yield (
        f"{f'{count:,} leases of {TTL:g} s':21} {'renewals/s':>11} {'etcd CPU':>9} "
        f"{'agents CPU':>11} {'late: median':>13} {'99 %':>8} {'most':>8} {'lost':>5}"
    )
    for backend in BACKENDS:
        load = hold(backend, server.endpoint, pid, count, LEASES_SECONDS)
        median, rare, most = (
            load.late[int(part * (len(load.late) - 1))] for part in (0.5, 0.99, 1)
        )
        yield (
            f"{backend:21} {load.renewals:11.1f} {load.server:9.1%} "
            f"{load.client:11.1%} {median * 1000:10.1f} ms {rare * 1000:5.1f} ms "
            f"{most * 1000:5.1f} ms {load.lost:5}"
        )


def starts(endpoint: str, rounds: int) -> Iterator[str]:
    """Measure agents of one node and one worker; return a line for each backend."""
    elaunch = tool("elaunch")
    if elaunch is None:
        sys.exit("elaunch is not installed for this interpreter: make setup")
    taken: dict[str, list[float]] = {backend: [] for backend in ("c10d", *BACKENDS)}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for backend, seconds in taken.items():
                where = free_endpoint() if backend == "c10d" else endpoint
                command = [elaunch, "run", "-q", "--nnodes", "1"]
                command += ["--rdzv-backend", backend, "--rdzv-endpoint", where]
                command += ["--rdzv-id", new_run_id()]
                seconds.append(to_user_code(command, Path(folder)))
    least = statistics.median(taken["c10d"])
    for backend, seconds in taken.items():
        median = statistics.median(seconds)
        yield (
            f"command to user code, 1 node, {backend:8} {median:6.3f} s "
            f"{median / least:5.2f}x"
        )


def lines(arguments: argparse.Namespace, *, torch: bool) -> Iterator[str]:
    """Measure everything that was asked for; return all lines."""
    nodes, rounds = arguments.nodes, arguments.rounds
    yield f"{os.cpu_count()} cores, load {load()}"
    yield (
        f"{'':32}{'seconds':^15} {'requests of a node':^42}\n"
        f"{'members':7} {'nodes':>5} {'act':7} {'backend':7} {'median':>7} "
        f"{'best':>7} {'all':>6}"
        + "".join(f"{kind:>6}" for kind in etcd_traffic.KINDS)
        + f" {'kB':>6}  torchrun's etcd-v2"
    )
    with EtcdServer() as server:
        yield from meetings(1, server.endpoint, nodes, rounds, torch=torch)
    with EtcdCluster() as cluster:
        members = len(cluster.members)
        yield from meetings(members, cluster.endpoints, nodes, rounds, torch=False)
    with EtcdServer() as server:
        if arguments.leases:
            yield from leases(server, arguments.leases)
        if arguments.starts:
            yield from starts(server.endpoint, arguments.starts)
    yield f"load {load()}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=NODES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--leases", type=int, default=LEASES, help="0 for none")
    parser.add_argument("--starts", type=int, default=STARTS, help="0 for none")
    parser.add_argument("--no-torch", action="store_true")
    arguments = parser.parse_args()
    torch = not arguments.no_torch
    if torch and find_spec("torch") is None:
        print("no torch here, so nothing beside it: make test-interop installs it")
        torch = False
    needed = max(
        max(arguments.nodes) * NODE_DESCRIPTORS,
        arguments.leases * LEASE_DESCRIPTORS,
    )
    if needed > (allowed := allow_descriptors()):
        sys.exit(f"this needs {needed:,} descriptors; {allowed:,} are allowed")
    etcd_traffic.count()
    for line in lines(arguments, torch=torch):
        print(line, flush=True)


if __name__ == "__main__":
    main()
