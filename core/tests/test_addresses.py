import socket

import pytest

from elaunch.addresses import (
    Advertised,
    Route,
    advertised_address,
    choose,
    given_address,
    split_endpoint,
)
from elaunch.errors import UsageError


BY_ROUTE = "the route to the endpoint"
BY_NAME = "the endpoint is a name of this node"


@pytest.mark.parametrize(
    ("host", "routes", "address", "rule"),
    [
        ("10.0.0.1", [("10.0.0.1", "10.0.0.1")], "10.0.0.1", BY_ROUTE),
        ("10.0.0.1", [("10.0.0.1", "10.0.0.2")], "10.0.0.2", BY_ROUTE),
        ("127.0.0.2", [("127.0.0.2", "127.0.0.1")], "127.0.0.1", BY_ROUTE),
        ("node", [("10.0.0.1", "10.0.0.1")], "10.0.0.1", BY_ROUTE),
        ("node", [("10.0.0.1", "10.0.0.2")], "10.0.0.2", BY_ROUTE),
        # A hosts file as Debian writes it.
        ("node", [("127.0.1.1", "127.0.0.1")], "node", BY_NAME),
        ("node", [("::1", "::1")], "node", BY_NAME),
        # Two families, or two interfaces.
        ("node", [("fd00::1", "fd00::1"), ("10.0.0.1", "10.0.0.1")], "node", BY_NAME),
        ("node", [("fd00::1", "fd00::2"), ("10.0.0.1", "10.0.0.2")], "fd00::2", None),
        # A name of several nodes.
        ("all", [("10.0.0.1", "10.0.0.2"), ("10.0.0.2", "10.0.0.2")], "10.0.0.2", None),
    ],
)
def test_an_address_is_chosen_by_the_routes_to_the_endpoint(
    host: str, routes: list[tuple[str, str]], address: str, rule: str | None
) -> None:
    found = choose(host, [Route(*route) for route in routes])

    assert found == Advertised(address, rule or BY_ROUTE)


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("endpoint", "max_nodes", "expected"),
    [
        ("10.0.0.1:29400", 1, Advertised("127.0.0.1", "a job of one node")),
        ("127.0.0.1:29400", 2, Advertised("127.0.0.1", BY_ROUTE)),
        ("[::1]:29400", 2, Advertised("::1", BY_ROUTE)),
    ],
)
async def test_an_address_is_found(
    endpoint: str, max_nodes: int, expected: Advertised
) -> None:
    assert await advertised_address(endpoint, max_nodes) == expected


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("./localhost", "the endpoint is a directory"),
        ("no-such-host.invalid:1", "there is no route to 'no-such-host.invalid'"),
    ],
)
async def test_the_host_name_is_the_last_resort(endpoint: str, reason: str) -> None:
    found = await advertised_address(endpoint, 2)

    assert found == Advertised(socket.gethostname(), f"the host name, since {reason}")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("node-0", "node-0"),
        (" 10.0.0.1 ", "10.0.0.1"),
        ("fd00::1", "fd00::1"),
        ("[fd00::1]", "fd00::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
    ],
)
def test_an_address_may_be_given(text: str, address: str) -> None:
    assert given_address(text) == Advertised(address, "--local-addr")


@pytest.mark.parametrize(
    "text", [" ", "node:1", "[fd00::1]:5", "http://node", "a b", "a,b"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="without a port"):
        given_address(text)


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("node", "node"),
        ("node:1", "node"),
        ("[::1]:5", "::1"),
        ("::1", "::1"),
        ("a:1,b:2", "a"),
    ],
)
def test_an_endpoint_has_a_host(endpoint: str, host: str) -> None:
    assert split_endpoint(endpoint) == host
