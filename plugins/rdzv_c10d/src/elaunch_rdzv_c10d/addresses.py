"""Endpoints and the sockets that listen at them."""

import asyncio
import errno
import ipaddress
import re
import socket
from collections.abc import Sequence
from typing import Any

import attrs

from elaunch.api import UsageError


DEFAULT_PORT = 29400
"""Port of an endpoint that names none."""

EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - to be replaced
"""Where to reach on this host what listens at all its addresses."""

BACKLOG = 4096
"""Connections that may wait to be accepted: all workers connect in one moment."""

_MAX_PORT = 65_535
_V6_PARTS = 4  # of a place: address, port, flow and scope
_PORT_TRIES = 16
_ENDPOINT = re.compile(
    r"(?:\[(?P<six>[^\]]+)\]|(?P<name>[^\[\]:]+))(?::(?P<port>\d+))?"
)

_MEANS_LOOPBACK = re.compile("localhost|loopback", re.IGNORECASE)

Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]
"""What a socket can be bound to."""


IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def literal(host: str) -> IpAddress | None:
    """Return a host as an address, or `None` if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


@attrs.frozen
class Endpoint:
    """Where a store is.

    Attributes:
        host: Name or address.
        port: Port; 0 lets the host's system choose one.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int = DEFAULT_PORT) -> "Endpoint":
        """Read ``host``, ``host:port``, ``[ipv6]:port`` or, for this host, nothing.

        Args:
            text: What the user wrote.
            default_port: Port if the text names a host only.

        Raises:
            UsageError: If it is none of these.
        """
        if not text:
            return cls("127.0.0.1", 0)
        found = _ENDPOINT.fullmatch(text.strip())
        port = int(found["port"] or default_port) if found else 0
        host = (found["six"] or found["name"]) if found else ""
        may_be = literal if found and found["six"] else _may_be_name
        if not host or port > _MAX_PORT or not may_be(host):
            raise UsageError(
                f"{text!r} is not an endpoint; write 'host' or 'host:port' with a port "
                f"up to {_MAX_PORT}, and an IPv6 address in brackets, as in "
                "'[::1]:29400'"
            )
        if host == "localhost" and port == 0:
            host = "127.0.0.1"
        return cls(host, port)

    @property
    def address(self) -> IpAddress | None:
        """The host as an address, or `None` if it is a name."""
        return literal(self.host)

    def __str__(self) -> str:
        return (
            f"[{self.host}]:{self.port}"
            if ":" in self.host
            else f"{self.host}:{self.port}"
        )


def _may_be_name(name: str) -> bool:
    try:
        name.encode("idna")
    except UnicodeError:  # a part between two dots is empty or too long
        return False
    return True


async def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, in an order that is the same for everybody.

    Raises:
        OSError: If it has none.
    """
    found = await _look_up(host, port, socket.AI_PASSIVE)
    # Two agents of one host that try to listen at once must begin at the same address,
    # or each would take one and leave the hosting to the other.
    addresses = {
        (family, address)
        for family, _, _, _, address in found
        if isinstance(address[0], str)
    }
    return sorted(addresses, key=repr)


async def ways_to(host: str, port: int) -> list[str]:
    """Return the addresses of a host to connect to, the best first.

    Raises:
        OSError: If it has none.
    """
    if literal(host):
        return [host]
    ways = []
    for *_, place in await _look_up(host, port, 0):
        scope = f"%{place[3]}" if len(place) == _V6_PARTS and place[3] else ""
        ways.append(f"{place[0]}{scope}")
    return ways


async def _look_up(host: str, port: int, flags: int) -> list[tuple[Any, ...]]:
    try:
        return await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=flags
        )
    except UnicodeError:  # as above
        raise socket.gaierror(socket.EAI_NONAME, "it is no name of a host") from None


def for_others(host: str, addresses: Sequence[Address]) -> Sequence[Address]:
    """Return where to listen so that other nodes get to what they know by a name.

    Debian gives a node its own name as an address of loopback, and only the others
    have an address for it that they can use. Nothing here tells which one, so it takes
    all. A name that says that it means loopback is taken at its word.
    """
    outside = any(not ipaddress.ip_address(at[0]).is_loopback for _, at in addresses)
    if outside or literal(host) or _MEANS_LOOPBACK.search(host):
        return addresses
    port = addresses[0][1][1]
    return [
        (socket.AF_INET, ("0.0.0.0", port)),  # noqa: S104 - see above
        (socket.AF_INET6, ("::", port, 0, 0)),
    ]


def of_others(addresses: Sequence[Address]) -> list[str]:
    """Return which of a name's addresses other hosts must have.

    Those that this one has not, of a family in which it has one.
    """
    ours, foreign = set(), []
    for family, place in addresses:
        try:
            _listener(family, (place[0], 0, *place[2:])).close()
        except OSError:
            foreign.append((family, place[0]))
        else:
            ours.add(family)
    return [address for family, address in foreign if family in ours]


def listen(addresses: Sequence[Address]) -> list[socket.socket]:
    """Return a listening socket for each address that belongs to this host.

    All have one port. If the addresses leave it open, a free one is chosen.

    Raises:
        OSError: If none of the addresses belongs to this host, or if one that does
            can't be had; then no socket is left open.
    """
    for _ in range(_PORT_TRIES - 1):
        try:
            return _listen(addresses)
        except OSError as error:
            chosen = addresses[0][1][1] == 0
            if error.errno != errno.EADDRINUSE or not chosen:
                raise
    return _listen(addresses)


def _listen(addresses: Sequence[Address]) -> list[socket.socket]:
    listeners: list[socket.socket] = []
    foreign: OSError | None = None
    try:
        for family, address in addresses:
            # A port that the system chose for the first address goes for all.
            port = listeners[0].getsockname()[1] if listeners else address[1]
            try:
                listeners.append(_listener(family, (address[0], port, *address[2:])))
            except OSError as error:
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                foreign = error
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    if not listeners and foreign:
        raise foreign
    return listeners


def _listener(
    family: socket.AddressFamily, address: tuple[object, ...]
) -> socket.socket:
    # The protocol by its number: asyncio sets TCP_NODELAY on no other.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        # Now, not later: with SO_REUSEADDR it is listen that only one can do.
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - positional in the standard library
    except OSError:
        listener.close()
        raise
    return listener
