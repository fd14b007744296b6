"""Which address of this node others can reach."""

import asyncio
import socket


RESOLVE_TIMEOUT = 5.0
"""Seconds to find the own address; beyond it the host name must do."""


def split_endpoint(endpoint: str) -> str:
    """Return the host part of ``host``, ``host:port``, ``[v6]:port`` or a bare v6."""
    first = endpoint.split(",", maxsplit=1)[0].strip()
    if first.startswith("["):
        return first[1:].partition("]")[0]
    if first.count(":") > 1:
        return first
    return first.partition(":")[0]


async def advertised_address(endpoint: str) -> str:
    """Return the address of this node on the route to the endpoint.

    That is where the nodes that share the endpoint most likely reach this one. Nothing
    is sent: the system only looks up the route. Where there is none, or the endpoint
    is a path, which has no host, it is the host name.
    """
    if "/" in endpoint:
        return socket.gethostname()
    host = split_endpoint(endpoint)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT):
            infos = await loop.getaddrinfo(host, 9, type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError):
        return socket.gethostname()
    for family, kind, protocol, _, place in infos:
        with socket.socket(family, kind, protocol) as probe:
            try:
                probe.connect(place)
            except OSError:
                continue
            return str(probe.getsockname()[0])
    return socket.gethostname()
