"""Who hosts the store, and at which address nodes find each other, by real jobs.

Two hosts in network namespaces, on two networks, with a hosts file each. Where there
are none, what is left of it on loopback.
"""

import socket
from collections.abc import Callable, Iterator

import attrs
import pytest
from agents import Agent, Launch, Script
from forks import behind
from lan import Host, Lan, NoNamespacesError


OURS = "the address is this node's"
THEIRS = "the address is another node's"
TAKEN = "the port is taken on this node"

EVERYWHERE = "0.0.0.0"  # noqa: S104 - in namespaces of our own

KNOWN_TO_ALL = (
    "10.7.1.1 node-a node-a.example",
    "10.7.1.2 node-b node-b.example",
    "fd00:7:1::1 six",
    "10.7.1.1 both",
    "fd00:7:1::1 both",
    "10.7.2.1 second",
)
KNOWN_TO_A = (*KNOWN_TO_ALL, "127.0.1.1 debian.example debian")
KNOWN_TO_B = (*KNOWN_TO_ALL, "10.7.1.1 debian.example debian", "10.7.1.1 foreign")

MEET = """
import os, socket
from elaunch_rdzv_c10d import Store
rank, me = os.environ["RANK"], socket.gethostname()
with Store.from_env(timeout=15) as store:
    store.set("rank " + rank, me)
    other = store.get("rank " + str(1 - int(rank))).decode()
print("met", other, "at", os.environ["MASTER_ADDR"], flush=True)
"""


@attrs.frozen(kw_only=True)
class Case:
    """One way to tell two nodes where to meet.

    Attributes:
        endpoint: What both are given.
        there: What the other node is given if it is something else.
        address: What the host advertises; where it is also the endpoint, left out.
        by: By which rule it is that address.
        host: Options of the one that shall host.
        other: Options of the other.
        rule: By which rule the one hosts.
        other_rule: By which rule the other does not.
    """

    endpoint: str
    there: str = ""
    address: str = ""
    by: str = "the route to the endpoint"
    host: str = ""
    other: str = ""
    rule: str = OURS
    other_rule: str = THEIRS


NAME = "the endpoint is a name of this node"

CASES = {
    "short-name": Case(endpoint="node-a", address="10.7.1.1"),
    "fqdn": Case(endpoint="node-a.example", address="10.7.1.1"),
    "ipv4": Case(endpoint="10.7.1.1"),
    "ipv6": Case(endpoint="[fd00:7:1::1]"),
    "ipv6-name": Case(endpoint="six", address="fd00:7:1::1"),
    "dual-stack": Case(endpoint="both", by=NAME),
    "second-interface": Case(endpoint="second", address="10.7.2.1"),
    "debian-short": Case(endpoint="debian", by=NAME),
    "debian-fqdn": Case(endpoint="debian.example", by=NAME),
    "forced": Case(
        endpoint="node-a",
        address="10.7.1.1",
        host="is_host=true",
        other="is_host=false",
        rule="is_host=true",
        other_rule="is_host=false",
    ),
    "everywhere": Case(
        endpoint=EVERYWHERE,
        there="node-a",
        host="is_host=true",
        rule="is_host=true",
        address="node-a",
        by="the host name, since there is no default route",
    ),
    "everywhere-ipv6": Case(
        endpoint="[::]",
        there="six",
        host="is_host=true",
        rule="is_host=true",
        address="node-a",
        by="the host name, since there is no default route",
    ),
    "known-to-others-only": Case(endpoint="10.7.1.1", there="foreign"),
}

ROUTES = ("ipv4", "ipv6", "dual-stack", "second-interface")
"""Those that differ in what the other node advertises."""


@pytest.fixture(scope="module")
def lan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lan]:
    try:
        lan = Lan(tmp_path_factory.mktemp("lan"), ("one", "two"))
    except NoNamespacesError as error:
        pytest.skip(f"no network namespaces: {error}")
    yield lan
    lan.close()


@pytest.fixture(scope="module")
def hosts(lan: Lan) -> Iterator[tuple[Host, Host]]:
    a, b = lan.host("node-a"), lan.host("node-b")
    for number, host in enumerate((a, b), start=1):
        host.plug("eth0", "one", f"10.7.1.{number}/24", f"fd00:7:1::{number}/64")
        host.plug("eth1", "two", f"10.7.2.{number}/24")
    a.knows(*KNOWN_TO_A)
    b.knows(*KNOWN_TO_B)
    with behind(a.prefix), behind(b.prefix):
        yield a, b


Start = Callable[..., Agent]


@pytest.fixture
def start(launch: Launch) -> Start:
    """Start an agent on a host."""
    return lambda host, *arguments: launch(*arguments, prefix=host.prefix)


def node(endpoint: str, rank: int, conf: str = "", nodes: int = 2) -> list[str]:
    return [
        *("-v", "--rdzv-id", "job", "--nnodes", str(nodes), "--node-rank", str(rank)),
        *("--rdzv-endpoint", endpoint, "--rdzv-conf", conf),
    ]


def assert_succeed(*agents: Agent) -> None:
    statuses = [agent.wait() for agent in agents]

    assert set(statuses) == {0}, "\n\n".join(agent.output for agent in agents)


@pytest.mark.parametrize(
    ("name", "first"),
    [*((name, "host") for name in CASES), *((name, "other") for name in ROUTES)],
)
def test_two_nodes_meet(
    hosts: tuple[Host, Host], start: Start, script: Script, name: str, first: str
) -> None:
    """The agent of rank 0 opens the workers' store, by the address it advertises."""
    case, worker = CASES[name], script(MEET)
    rank = 0 if first == "host" else 1
    here = start(hosts[0], *node(case.endpoint, rank, case.host), worker)
    endpoint = case.there or case.endpoint
    there = start(hosts[1], *node(endpoint, 1 - rank, case.other), worker)

    assert_succeed(here, there)
    here.wait_for(f"hosts the store at '.*:29400': {case.rule}$")
    there.wait_for(f"connected to the store at '.*:29400': {case.other_rule}$")
    address = case.address or case.endpoint.strip("[]")
    here.wait_for(f"reach this one at '{address}': {case.by}$")
    (found,) = there.wait_for("reach this one at '(.*)': the route to the endpoint$")
    at = address if rank == 0 else found[1]
    here.wait_for(f"met node-b at {at}$")
    there.wait_for(f"met node-a at {at}$")


def test_the_node_of_rank_0_is_known_to_the_others_by_name(
    hosts: tuple[Host, Host], start: Start, script: Script
) -> None:
    static = ("--rdzv-backend", "static")
    agents = [
        start(host, *static, *node("debian", rank), script(MEET))
        for rank, host in enumerate(hosts)
    ]

    assert_succeed(*agents)
    agents[0].wait_for("note: 'debian' is an address of loopback on this node")
    agents[0].wait_for("hosts the store at 'debian:29500': the node of rank 0 hosts$")
    agents[1].wait_for("met node-a at debian$")


def test_a_name_that_only_others_know_is_told(
    hosts: tuple[Host, Host], start: Start, script: Script
) -> None:
    """What it says helps: the case `known-to-others-only`."""
    brief = "connect_timeout=0.1"
    agent = start(hosts[0], *node("foreign", 0, brief), script("pass"))

    assert agent.wait() == 4
    agent.wait_for("waiting for the store: the store at 'foreign:29400': the name")
    agent.wait_for("the name can't be resolved .*give it an address that it has")


def test_of_two_agents_on_the_host_one_hosts(
    hosts: tuple[Host, Host], start: Start, script: Script
) -> None:
    agents = [
        start(host, *node("debian", rank, nodes=3), script("pass"))
        for rank, host in enumerate((hosts[0], hosts[0], hosts[1]))
    ]

    assert_succeed(*agents)
    said = "\n".join(agent.output for agent in agents)
    assert said.count(f"hosts the store at 'debian:29400': {OURS}") == 1
    assert said.count(f"connected to the store at 'debian:29400': {TAKEN}") == 1
    assert said.count(f"connected to the store at 'debian:29400': {THEIRS}") == 1


def test_the_default_route_tells_what_everywhere_is(
    hosts: tuple[Host, Host], start: Start, script: Script
) -> None:
    worker, (a, b) = script(MEET), hosts
    a.shell.run("ip route add default via 10.7.2.254")
    try:
        here = start(a, *node(EVERYWHERE, 0, "is_host=true"), worker)
        there = start(b, *node("node-a", 1), worker)
        assert_succeed(here, there)
    finally:
        a.shell.run("ip route delete default")

    here.wait_for("reach this one at '10.7.2.1': the default route$")
    there.wait_for("met node-a at 10.7.2.1$")


@pytest.mark.parametrize("given", ["10.7.2.2", "[fd00:7:1::2]", "node-b"])
def test_an_address_that_is_given_is_advertised(
    hosts: tuple[Host, Host], start: Start, script: Script, given: str
) -> None:
    worker, address = script(MEET), given.strip("[]")
    here = start(hosts[0], *node("10.7.1.1", 1), worker)
    there = start(hosts[1], *node("10.7.1.1", 0), "--local-addr", given, worker)

    assert_succeed(here, there)
    there.wait_for(f"reach this one at '{address}': --local-addr$")
    here.wait_for(f"met node-b at {address}$")


def test_one_node_alone_needs_no_network(
    lan: Lan, start: Start, script: Script
) -> None:
    worker = script("import os; print('at', os.environ['MASTER_ADDR'])")
    alone = start(lan.host("alone"), "-v", "--standalone", worker)

    assert_succeed(alone)
    alone.wait_for(rf"hosts the store at '127.0.0.1:[1-9]\d+': {OURS}$")
    alone.wait_for("reach this one at '127.0.0.1': a job of one node$")
    alone.wait_for("at 127.0.0.1$")


@pytest.mark.parametrize(
    ("address", "conf"),
    [
        ("127.0.0.1", ""),
        ("127.0.0.1", "is_host=true"),
        ("127.0.0.2", ""),
        ("::1", ""),
        ("localhost", ""),
    ],
)
def test_two_agents_of_one_node_meet_on_loopback(
    launch: Launch, script: Script, address: str, conf: str
) -> None:
    """What is left of the above where there are no namespaces."""
    port, worker = free_port(address), script(MEET)
    endpoint = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    first = launch(*node(endpoint, 0, conf), worker)
    first.wait_for(f"hosts the store at '.*': {conf or OURS}$")
    second = launch(*node(endpoint, 1), worker)

    assert_succeed(first, second)
    second.wait_for(f"connected to the store at '.*': {TAKEN}$")
    second.wait_for(f"met {socket.gethostname()} at (127.0.0.1|::1|localhost)$")


def free_port(address: str) -> int:
    """Return a port that is free now, or skip the test."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.create_server((address, 0), family=family) as closed:
            port: int = closed.getsockname()[1]
            return port
    except OSError as error:
        pytest.skip(f"this machine has no address {address!r}: {error}")
