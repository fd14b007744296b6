"""What the core itself provides, declared like any plugin's."""

import asyncio
import socket
from collections.abc import Collection, Iterable, Mapping

import attrs

from elaunch.api import (
    BootstrapParameters,
    BootstrapProvider,
    BudgetPolicy,
    NoOptions,
    PolicyParameters,
    Provider,
    RendezvousOptions,
    RendezvousParameters,
    RendezvousProvider,
    RestartPolicy,
    RestartPolicyProvider,
    SpawnError,
    Store,
    StoreRendezvous,
    UsageError,
)
from elaunch.hookspecs import hookimpl


RESOLVE_TIMEOUT = 5.0
"""Seconds to find the addresses of the name that this node advertises."""


@attrs.define(eq=False)
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


@attrs.define(eq=False)
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


@attrs.frozen(kw_only=True)
class FileOptions(RendezvousOptions):
    """Options of the rendezvous ``file``, beside those that every rendezvous has.

    Attributes:
        poll_interval: Seconds between two looks at the directory.
    """

    poll_interval: float = attrs.field(default=0.1, validator=attrs.validators.gt(0))

    @property
    def sees_connections(self) -> bool:
        """Nobody is connected to a directory."""
        return False


def _create_file(params: RendezvousParameters, options: FileOptions) -> StoreRendezvous:
    # A name alone could be a host: meant for another backend, or filled in.
    if "/" not in params.endpoint:
        raise UsageError(
            f"backend 'file' meets in a directory that all nodes see, written with "
            f"a '/', for example --rdzv-endpoint ./meet, not {params.endpoint!r}"
        )

    async def open_store() -> Store:
        from elaunch.api import FileStore

        return await FileStore.connect(
            params.endpoint, poll_interval=options.poll_interval
        )

    return StoreRendezvous(open_store, params, options)


def _create_port(params: BootstrapParameters, _: NoOptions) -> PortBootstrap:
    return PortBootstrap(params.address)


def _create_none(_: BootstrapParameters, __: NoOptions) -> NoBootstrap:
    return NoBootstrap()


def _create_default(params: PolicyParameters, _: NoOptions) -> RestartPolicy:
    return BudgetPolicy(params.max_restarts)


@hookimpl
def elaunch_register_rendezvous() -> Iterable[RendezvousProvider]:
    """Declare ``file``."""
    return (
        Provider(
            "file", "nodes meet in a directory that all see", _create_file, FileOptions
        ),
    )


@hookimpl
def elaunch_register_bootstraps() -> Iterable[BootstrapProvider]:
    """Declare ``port`` and ``none``."""
    return (
        Provider(
            "port", "a free port on the first node, for rank 0 to open", _create_port
        ),
        Provider("none", "nothing: workers need not find each other", _create_none),
    )


@hookimpl
def elaunch_register_restart_policies() -> Iterable[RestartPolicyProvider]:
    """Declare ``default``."""
    return (Provider("default", "restart while --max-restarts lasts", _create_default),)
