"""Who gets an answer from the workers' store of two nodes, on a network of three."""

import sys
from collections.abc import Iterator

import pytest
from agents import Agent, Launch, Script
from lan import Host, Lan, NoNamespacesError


HERE, THERE, ALSO_THERE, STRANGER = "10.8.1.1", "10.8.1.2", "10.8.1.3", "10.8.1.9"

MEET = """
import os, signal
from elaunch_rdzv_c10d import Store
rank, port = os.environ["RANK"], os.environ["MASTER_PORT"]
with Store.from_env(timeout=15) as store:
    store.set("rank " + rank, "here")
    store.wait(["rank 0", "rank 1"])
    print("met at port", port, flush=True)
    signal.pause()
"""

ASK = """
import socket, sys
from elaunch_rdzv_c10d.wire import hello
source, host, port = sys.argv[1:]
with socket.create_connection((host, int(port)), 10, (source, 0)) as connection:
    connection.sendall(hello(1))
    try:
        print("served" if connection.recv(4) else "refused")
    except ConnectionResetError:
        print("refused")
"""


@pytest.fixture(scope="module")
def hosts(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Host, Host, Host]]:
    """Two nodes, the second with two addresses, and a host that is none."""
    try:
        lan = Lan(tmp_path_factory.mktemp("lan"), ("one",))
    except NoNamespacesError as error:
        pytest.skip(f"no network namespaces: {error}")
    here, there, stranger = (lan.host(name) for name in ("here", "there", "stranger"))
    here.plug("eth0", "one", f"{HERE}/24")
    there.plug("eth0", "one", f"{THERE}/24", f"{ALSO_THERE}/24")
    stranger.plug("eth0", "one", f"{STRANGER}/24")
    yield here, there, stranger
    lan.close()


def ask(host: Host, source: str, port: str) -> str:
    """Return how the store answers to a host that comes from an address."""
    return host.shell.run(f"{sys.executable} -c '{ASK}' {source} {HERE} {port}")


def start(launch: Launch, hosts: tuple[Host, ...], *arguments: str) -> list[Agent]:
    job = ("--rdzv-endpoint", HERE, "--rdzv-id", "job", "--nnodes", "2")
    return [
        launch(*job, "--node-rank", str(rank), *arguments, prefix=host.prefix)
        for rank, host in enumerate(hosts[:2])
    ]


def test_members_are_served_from_all_their_addresses_and_strangers_are_not(
    hosts: tuple[Host, Host, Host], launch: Launch, script: Script
) -> None:
    here, there, stranger = hosts
    agent, _ = start(launch, hosts, script(MEET))
    port = agent.wait_for(r"met at port (\d+)")[0][1]

    assert ask(here, HERE, port) == "served"
    assert ask(there, THERE, port) == "served"
    assert ask(there, ALSO_THERE, port) == "served"
    assert ask(stranger, STRANGER, port) == "refused"
    agent.wait_for(f"refused a connection from {STRANGER} .* generation 1: .*peers=any")


def test_strangers_are_served_where_that_is_asked_for(
    hosts: tuple[Host, Host, Host], launch: Launch, script: Script
) -> None:
    agent, _ = start(launch, hosts, "--bootstrap", "c10d:peers=any", script(MEET))
    port = agent.wait_for(r"met at port (\d+)")[0][1]

    assert ask(hosts[2], STRANGER, port) == "served"
