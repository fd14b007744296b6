"""Which address of this node others can reach, and by which rule."""

import asyncio
import socket
from collections.abc import Sequence

import attrs

from elaunch.errors import UsageError


RESOLVE_TIMEOUT = 5.0
"""Seconds to find the own address; beyond it the host name must do."""

LOOPBACK = "127.0.0.1"

EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - to be told apart
"""What a host that listens at all its addresses may have as endpoint."""

_FAR = {"0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}  # noqa: S104 - likewise
"""Addresses for documentation: the route to them is the default route."""


@attrs.frozen
class Advertised:
    """Where other nodes reach this one.

    Attributes:
        address: Address or name.
        rule: Why it is that one.
    """

    address: str
    rule: str


@attrs.frozen
class Route:
    """How this node would send to an address.

    Attributes:
        destination: The address.
        source: The own address that it would send from.
    """

    destination: str
    source: str

    @property
    def is_loopback(self) -> bool:
        """Whether it stays on this node by an address that every node has."""
        return self.source.startswith("127.") or self.source == "::1"

    @property
    def stays(self) -> bool:
        """Whether it stays on this node."""
        return self.is_loopback or self.source == self.destination


def split_endpoint(endpoint: str) -> str:
    """Return the host part of ``host``, ``host:port``, ``[v6]:port`` or a bare v6."""
    first = endpoint.split(",", maxsplit=1)[0].strip()
    if first.startswith("["):
        return first[1:].partition("]")[0]
    if first.count(":") > 1:
        return first
    return first.partition(":")[0]


def given_address(text: str) -> Advertised:
    """Return what the user says that others reach this node at.

    Raises:
        UsageError: If it is neither a name nor an address.
    """
    address = text.strip()
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    if not address or set(address) & set("/[] \t,") or address.count(":") == 1:
        raise UsageError(
            f"--local-addr is a name or an address of this node, without a port, "
            f"not {text!r}"
        )
    return Advertised(address, "--local-addr")


async def advertised_address(endpoint: str, max_nodes: int) -> Advertised:
    """Return at which address the nodes that share an endpoint can reach this one.

    Nothing is sent: the system only looks up routes. Where nothing better is known, it
    is the host name.

    Args:
        endpoint: Where all nodes meet.
        max_nodes: How many may come.
    """
    if max_nodes == 1:
        return Advertised(LOOPBACK, "a job of one node")
    if "/" in endpoint:
        return _host_name("the endpoint is a directory")
    host = split_endpoint(endpoint)
    if host in EVERYWHERE:
        # Where the others have another endpoint, which is not known here.
        routes = await _routes(_FAR[host])
        if routes:
            return Advertised(routes[0].source, "the default route")
        return _host_name("there is no default route")
    routes = await _routes(host)
    if not routes:
        return _host_name(f"there is no route to {host!r}")
    return choose(host, routes)


def choose(host: str, routes: Sequence[Route]) -> Advertised:
    """Choose by the routes to the host of the endpoint, of which there is one at least.

    A name of this node that leads to its loopback, or to several of its addresses, is
    best left to the others: they use it already, each by what it knows of it.
    """
    named = host not in {route.destination for route in routes}
    ours = [route for route in routes if route.stays]
    if named and ours == list(routes) and (ours[0].is_loopback or len(ours) > 1):
        return Advertised(host, "the endpoint is a name of this node")
    return Advertised((ours or routes)[0].source, "the route to the endpoint")


async def _routes(host: str) -> list[Route]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            infos = await loop.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    routes = []
    for family, kind, protocol, _, place in infos:
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.connect(place)
                source = str(probe.getsockname()[0])
        except OSError:
            continue
        routes.append(Route(str(place[0]), source))
    return routes


def _host_name(reason: str) -> Advertised:
    return Advertised(socket.gethostname(), f"the host name, since {reason}")
