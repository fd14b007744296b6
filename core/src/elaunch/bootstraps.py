"""Bootstraps that host nothing: the workers' meeting point is in one of them."""

import asyncio
import ipaddress
import socket
from collections.abc import Collection, Mapping

import attrs

from elaunch.errors import SpawnError


RESOLVE_TIMEOUT = 5.0
"""Seconds to find the addresses of the name that this node advertises."""


@attrs.define(eq=False, repr=False)
class PortBootstrap:
    """A free port on the node of group rank 0, where worker rank 0 opens the store."""

    address: str

    @property
    def is_open(self) -> bool:
        """Nothing: the store is in a worker, and ends with it."""
        return False

    async def open(
        self,
        generation: int,
        peers: Collection[str],  # noqa: ARG002 - the port's signature
    ) -> Mapping[str, str]:
        """Find a port that is free now.

        Raises:
            SpawnError: If there is none, or the address is not this node's.
        """
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT):
                infos = await asyncio.get_running_loop().getaddrinfo(
                    self.address, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
                )
            family, kind, protocol, _, place = infos[0]
            with socket.socket(family, kind, protocol) as own:
                own.bind(place)  # which fails at the address of another node
            port = _free_port()
        except OSError as error:
            raise SpawnError(
                f"no port can be found on {self.address!r} for the workers of "
                f"generation {generation}: {error}; "
                f"name an address of this node with --local-addr"
            ) from error
        return {"address": self.address, "port": str(port)}

    def environment(self, info: Mapping[str, str]) -> Mapping[str, str]:
        """Return the address for worker rank 0 to open."""
        return {
            "MASTER_ADDR": info["address"],
            "MASTER_PORT": info["port"],
            "TORCHELASTIC_USE_AGENT_STORE": "False",
        }

    async def close(self) -> None:
        """Nothing is open."""


@attrs.define(eq=False, repr=False)
class JaxBootstrap(PortBootstrap):
    """Such a port for JAX, whose process 0 runs the coordinator of all.

    `jax.distributed.initialize` reads the addresses by itself; the other two names are
    what its callers agree on, since it reads none for them.
    """

    def environment(self, info: Mapping[str, str]) -> Mapping[str, str]:
        """Return where the coordinator is, and which of the processes this one is."""
        address, port = info["address"], info["port"]
        return {
            "JAX_COORDINATOR_ADDRESS": _host_and_port(address, port),
            "JAX_COORDINATOR_BIND_ADDRESS": _host_and_port(_listening(address), port),
            "JAX_NUM_PROCESSES": "{world_size}",
            "JAX_PROCESS_ID": "{rank}",
        }


def _listening(address: str) -> str:
    """Return at which address to listen so that others come in by this one.

    A name may lead elsewhere on its own node: to loopback, in Debian's hosts file.
    """
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"  # noqa: S104 - see above
    return address


def _host_and_port(host: str, port: str) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _free_port() -> int:
    """Return a port that is free at all addresses: torch's store listens at all.

    Nothing has ever connected to it, so there is no old connection in the way.
    """
    dual = socket.has_dualstack_ipv6()
    with socket.socket(socket.AF_INET6 if dual else socket.AF_INET) as probe:
        if dual:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


@attrs.define(eq=False, repr=False)
class NoBootstrap:
    """Workers that need not find each other, or know how by themselves."""

    @property
    def is_open(self) -> bool:
        """Nothing is."""
        return False

    async def open(
        self,
        generation: int,  # noqa: ARG002 - the port's signature
        peers: Collection[str],  # noqa: ARG002 - the port's signature
    ) -> Mapping[str, str]:
        """Open nothing."""
        return {}

    def environment(self, info: Mapping[str, str]) -> Mapping[str, str]:  # noqa: ARG002 - the port's signature
        """Add nothing."""
        return {}

    async def close(self) -> None:
        """Nothing is open."""
