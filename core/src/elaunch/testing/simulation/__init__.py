"""Deterministic simulation: the real agents and rendezvous in virtual time.

Everything that could differ between two runs is drawn from a seed: whose turn it is,
how long messages take, what breaks and when. `run` runs one `Scenario`, in which nodes
come and go, processes stall, connections break and the store restarts, and checks the
promises of a rendezvous after every step; `explore` runs many; `tell` finds the
shortest story of one that breaks a promise.

`run` and the others take a `Backend` of your own: its real server and clients are then
explored; `keep_diary` and `endure_outage` try it alone. `SimulatedLoop`, `Network` and
`StoreServer` are useful by themselves, too: any asyncio code runs on the loop that
needs no threads; with `Streams` also what connects and listens.
"""

from elaunch.testing.simulation.actions import ACTIONS
from elaunch.testing.simulation.backend import (
    Backend,
    NewBackend,
    NumberedStore,
    Server,
)
from elaunch.testing.simulation.explore import Tally, explore, shrink, tell
from elaunch.testing.simulation.laws import Laws
from elaunch.testing.simulation.loop import Process, SimulatedLoop, Stuck
from elaunch.testing.simulation.network import End, Network
from elaunch.testing.simulation.node import SimulatedNode
from elaunch.testing.simulation.run import Report, Simulation, run
from elaunch.testing.simulation.scenario import (
    COORDINATOR,
    FAMILIES,
    MOMENTS,
    WHOSE,
    Scenario,
    Stimulus,
    generate,
)
from elaunch.testing.simulation.store import SimulatedStore
from elaunch.testing.simulation.store_server import StoreServer
from elaunch.testing.simulation.streams import SimulatedServer, Streams
from elaunch.testing.simulation.transports import SimulatedSocket, SimulatedTransport
from elaunch.testing.simulation.trials import (
    Diary,
    Outage,
    endure_outage,
    keep_diary,
    lose_packets,
    stand_still,
)
from elaunch.testing.simulation.workers import (
    Habits,
    SimulatedBootstrap,
    SimulatedGroup,
    SimulatedSpawner,
)


__all__ = [
    "ACTIONS",
    "COORDINATOR",
    "FAMILIES",
    "MOMENTS",
    "WHOSE",
    "Backend",
    "Diary",
    "End",
    "Habits",
    "Laws",
    "Network",
    "NewBackend",
    "NumberedStore",
    "Outage",
    "Process",
    "Report",
    "Scenario",
    "Server",
    "SimulatedBootstrap",
    "SimulatedGroup",
    "SimulatedLoop",
    "SimulatedNode",
    "SimulatedServer",
    "SimulatedSocket",
    "SimulatedSpawner",
    "SimulatedStore",
    "SimulatedTransport",
    "Simulation",
    "Stimulus",
    "StoreServer",
    "Streams",
    "Stuck",
    "Tally",
    "endure_outage",
    "explore",
    "generate",
    "keep_diary",
    "lose_packets",
    "run",
    "shrink",
    "stand_still",
    "tell",
]
