"""The world of one scenario: its loop, network, store and nodes, and who watches it."""

import itertools
from collections import Counter
from collections.abc import Callable
from random import Random

import attrs

from elaunch.api import JobSettings, RendezvousOptions
from elaunch.testing.simulation.backend import NewBackend, Server
from elaunch.testing.simulation.checks import check_of
from elaunch.testing.simulation.laws import Laws
from elaunch.testing.simulation.loop import Process, SimulatedLoop
from elaunch.testing.simulation.moments import Moments
from elaunch.testing.simulation.network import Network
from elaunch.testing.simulation.node import OpenStore, SimulatedNode
from elaunch.testing.simulation.policy import SimulatedPolicy
from elaunch.testing.simulation.scenario import Scenario
from elaunch.testing.simulation.store_server import StoreServer
from elaunch.testing.simulation.streams import Streams
from elaunch.testing.simulation.workers import Habits


@attrs.define(eq=False)
class World:
    """The world of one scenario.

    Attributes:
        scenario: What happens in it.
        backend: Starts the store that it happens to; `None` for the simulated store.
        loop: Its loop.
        network: Its network.
        server: Its store.
        nodes: Its nodes by name.
        laws: Who watches it.
        moments: The stimuli that wait for a moment.
        faults: What was applied, and how often.
        random: Draws what varies.
    """

    scenario: Scenario
    backend: NewBackend | None = None
    loop: SimulatedLoop = attrs.field(init=False)
    network: Network = attrs.field(init=False)
    server: Server = attrs.field(init=False)
    nodes: dict[str, SimulatedNode] = attrs.field(factory=dict, init=False)
    laws: Laws = attrs.field(init=False)
    moments: Moments = attrs.field(init=False)
    faults: Counter[str] = attrs.field(factory=Counter, init=False)
    random: Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        scenario = self.scenario
        self.loop = SimulatedLoop(scenario.seed)
        self.random = Random(scenario.seed + 1)  # noqa: S311 - reproducible
        self.network = Network(self.loop, self.random, slowest=scenario.slowest)
        self.loop.streams = Streams(self.network)
        self.server, options, open_store = self._serve()
        self.laws = Laws(self.loop, self.server, self.nodes)
        self.moments = Moments()
        self.server.on_give_up = self._given_up
        self.watch_store()
        self._add_nodes(options, open_store)

    def watch_store(self) -> None:
        """Follow the store, which is a new one or the old one again."""
        self.laws.watch_store()
        self.moments.watch(self.server.keyspace)

    def later(self, delay: float, action: Callable[[], object]) -> None:
        """Do something after a while."""
        self.loop.call_later(delay, action, context=self.loop.root.context)

    def _serve(self) -> tuple[Server, type[RendezvousOptions], OpenStore | None]:
        """Start the store; return it, its options, and the way to a special one."""
        if self.backend:
            server = self.backend(self.loop, self.network, self.scenario)
            return server, server.options, server.open
        own = StoreServer(self.loop, self.network, history=self.scenario.history)
        return own, RendezvousOptions, None

    def _add_nodes(
        self, kind: type[RendezvousOptions], open_store: OpenStore | None
    ) -> None:
        scenario = self.scenario
        self.laws.decisions.scale_interval = scenario.scale_interval
        self.laws.holds.limit = scenario.scale_hold_limit
        policy = SimulatedPolicy(
            max_restarts=scenario.max_restarts,
            excludes=scenario.excludes,
            cool_down=scenario.cool_down,
            delay=scenario.delay,
            on_question=self.laws.decisions.asked,
        )
        options = kind(
            scale_debounce=scenario.scale_debounce,
            scale_interval=scenario.scale_interval,
            scale_hold_limit=scenario.scale_hold_limit,
            last_call_timeout=scenario.last_call_timeout,
            keep_alive_interval=scenario.keep_alive_interval,
            keep_alive_max_attempt=3,
            node_unit=scenario.node_unit,
            population=scenario.population,
            close_timeout=10.0,
        )
        settings = options.complete(
            JobSettings(
                min_nodes=scenario.min_nodes,
                max_nodes=scenario.max_nodes,
                max_restarts=scenario.max_restarts,
                shutdown_timeout=scenario.shutdown_timeout,
            )
        )
        ports = itertools.count(1)
        for number in range(scenario.nodes):
            name = f"n{number}"
            habits = Habits(stop_time=0.02 * (1 + number))
            self.nodes[name] = SimulatedNode(
                name=name,
                loop=self.loop,
                network=self.network,
                random=self.random,
                settings=settings,
                options=options,
                ports=ports,
                observer=self.laws,
                slot=number if scenario.slots else None,
                local_world_size=1 + number % 2,
                repeats=scenario.repeats,
                policy=policy,
                open_store=open_store,
                habits=habits,
                preflights=(check_of(habits),) if scenario.checked else (),
            )

    def _given_up(self, process: Process) -> None:
        for node in self.nodes.values():
            if node.process is process and not process.dead:
                node.excused = "its connection was away for too long"
