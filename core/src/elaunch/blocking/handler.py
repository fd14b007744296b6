"""The interface of a rendezvous that blocks, under torchelastic's names."""

import abc
import contextlib
import socket
from typing import Any, ClassVar, Self

import attrs


@attrs.frozen
class RendezvousStoreInfo:
    """Where the workers' store is.

    Attributes:
        master_addr: Name or address of its host.
        master_port: Its port.
    """

    MASTER_ADDR_KEY: ClassVar[str] = "MASTER_ADDR"
    MASTER_PORT_KEY: ClassVar[str] = "MASTER_PORT"

    master_addr: str
    master_port: int

    @classmethod
    def build(
        cls,
        rank: int,
        store: Any,
        local_addr: str | None,
        server_port: int | None = None,
    ) -> Self:
        """Agree on it over a store; blocks until rank 0 has said it.

        Args:
            rank: Rank of this node.
            store: A store that blocks: torch's, or `elaunch_rdzv_c10d.Store`.
            local_addr: Address of this node, for rank 0; `None` for its name.
            server_port: Port of a store that runs already; `None` for one that is free
                now on the host of rank 0.
        """
        if rank == 0:
            address = local_addr or socket.getfqdn()
            port = server_port or get_free_port()
            store.set(cls.MASTER_ADDR_KEY, address.encode())
            store.set(cls.MASTER_PORT_KEY, str(port).encode())
        address = bytes(store.get(cls.MASTER_ADDR_KEY)).decode()
        return cls(address, int(bytes(store.get(cls.MASTER_PORT_KEY)).decode()))


@attrs.frozen(eq=False)
class RendezvousInfo:
    """A node's place after a rendezvous.

    Attributes:
        store: Shared by the nodes of this rendezvous; new for each. It blocks.
        rank: Rank of this node.
        world_size: Nodes.
        bootstrap_store_info: Where the workers' store would be. elaunch opens a new one
            for each generation instead.
    """

    store: Any
    rank: int
    world_size: int
    bootstrap_store_info: RendezvousStoreInfo | None = None


class RendezvousHandler(abc.ABC):
    """One node's side of a rendezvous, with calls that block.

    Whatever has these methods will do; nothing needs to inherit from this.
    """

    @abc.abstractmethod
    def get_backend(self) -> str:
        """Return the name of the backend."""

    @property
    def use_agent_store(self) -> bool:
        """Whether workers may use the store of `next_rendezvous`."""
        return False

    @abc.abstractmethod
    def next_rendezvous(self) -> RendezvousInfo:
        """Wait until this node is one of a complete group; leave the last one first.

        Raises:
            RendezvousClosed: If the job is over.
            RendezvousTimeout: If too few nodes came in time.
            RendezvousUnreachable: If the backend can't be reached.
            RendezvousCorrupt: If what it holds makes no sense.
        """

    @abc.abstractmethod
    def is_closed(self) -> bool:
        """Return whether no rendezvous of this job will succeed any more."""

    @abc.abstractmethod
    def set_closed(self) -> None:
        """Let no rendezvous of this job succeed any more."""

    @abc.abstractmethod
    def num_nodes_waiting(self) -> int:
        """Return how many nodes came too late for this group and fit into the next."""

    @abc.abstractmethod
    def get_run_id(self) -> str:
        """Return the id of the job."""

    @abc.abstractmethod
    def shutdown(self) -> bool:
        """Close the job and release everything; return whether that worked."""


def get_socket_with_port() -> socket.socket:
    """Return a socket that holds a free port of this host until it is closed.

    Raises:
        OSError: If there is none.
    """
    infos = socket.getaddrinfo("localhost", None, type=socket.SOCK_STREAM)
    with contextlib.ExitStack() as stack:
        problem = OSError("localhost has no address")
        for family, kind, protocol, _, _ in infos:
            try:
                own = socket.socket(family, kind, protocol)
                stack.callback(own.close)
                own.bind(("localhost", 0))
                own.listen(0)
            except OSError as error:
                problem = error
            else:
                stack.pop_all()
                return own
        raise problem


def get_free_port() -> int:
    """Return a port of this host that is free now; somebody else may take it."""
    with get_socket_with_port() as own:
        return int(own.getsockname()[1])
