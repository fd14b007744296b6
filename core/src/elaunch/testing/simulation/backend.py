"""What a simulation needs to know of the store that its job meets in."""

from collections.abc import Callable
from typing import Protocol

from elaunch.api import Keyspace, RendezvousOptions, Store
from elaunch.testing.simulation.loop import Process, SimulatedLoop
from elaunch.testing.simulation.network import Network
from elaunch.testing.simulation.scenario import Scenario


class NumberedStore(Store, Protocol):
    """A store client that tells which store it belongs to."""

    @property
    def number(self) -> int:
        """Number of the store, see `Server`."""


class Server(Protocol):
    """The server of a store, in a process that can be killed.

    Attributes:
        process: The process it runs in; another one after a restart.
        keyspace: What it holds.
        number: Number of this store: one that forgot everything is another.
        requests: How many requests it has served.
        on_give_up: Told of a client that did not come back within its grace.
    """

    process: Process
    keyspace: Keyspace
    number: int
    requests: int
    on_give_up: Callable[[Process], None]

    def start(self, *, forget: bool = True) -> None:
        """Start serving; without ``forget`` with what was stored, where it can be."""

    def stop(self) -> None:
        """Die, as a killed process does."""

    def compact(self, client: Process) -> None:
        """Tell a client that what its watches wait for is forgotten."""


class Backend(Server, Protocol):
    """A store to run scenarios on: its server, and the way to it.

    Attributes:
        loop: The loop that it lives on.
        network: The network between it and its clients.
        options: What options its rendezvous has.
    """

    loop: SimulatedLoop
    network: Network
    options: type[RendezvousOptions]

    async def open(self, process: Process, options: RendezvousOptions) -> NumberedStore:
        """Connect a process of a node."""


NewBackend = Callable[[SimulatedLoop, Network, Scenario], Backend]
"""Starts the server of a backend for one run."""
