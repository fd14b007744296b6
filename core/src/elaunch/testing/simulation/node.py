"""A simulated node: the real agent and the real rendezvous in a process of its own."""

import contextlib
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import attrs

from elaunch.agent.agent import Agent
from elaunch.agent.controls import Controls
from elaunch.agent.messages import Result
from elaunch.agent.notices import Notices
from elaunch.api import (
    CommandEntry,
    EventName,
    Feed,
    JobSettings,
    Membership,
    NodeFacts,
    Notice,
    Outcome,
    OutcomeState,
    RendezvousOptions,
    RendezvousParameters,
    RendezvousUnreachable,
    RestartPolicy,
    Store,
    StoreRendezvous,
    Vitals,
    WorkerMessage,
)
from elaunch.errors import ControlFailed
from elaunch.events import Value
from elaunch.monitor import NamedMonitor
from elaunch.preflight import NamedPreflight
from elaunch.testing.simulation.backend import NumberedStore
from elaunch.testing.simulation.loop import Process, SimulatedLoop
from elaunch.testing.simulation.network import Network
from elaunch.testing.simulation.store import SimulatedStore
from elaunch.testing.simulation.workers import (
    Habits,
    SimulatedBootstrap,
    SimulatedGroup,
    SimulatedSpawner,
)


OpenStore = Callable[[Process, RendezvousOptions], Awaitable[NumberedStore]]
"""Connects a process to a store."""


class Observer(Protocol):
    """Who watches the laws of a simulation."""

    def started(self, node: "SimulatedNode", group: SimulatedGroup) -> None:
        """Workers of a node run."""

    def ended(self, node: "SimulatedNode", group: SimulatedGroup) -> None:
        """None of them is alive any more."""

    def noticed(
        self, node: "SimulatedNode", group: SimulatedGroup, notice: Notice
    ) -> None:
        """Workers of a node were told of a notice."""

    def closed(self, node: "SimulatedNode", endpoint: str) -> None:
        """A meeting point of workers is closed."""

    def joined(self, node: "SimulatedNode", membership: Membership) -> None:
        """A node is a member."""

    def happened(
        self, node: "SimulatedNode", name: str, facts: dict[str, Value]
    ) -> None:
        """An agent has recorded an event."""


class ObservedRendezvous(StoreRendezvous):
    """The real rendezvous, with an observer of what it returns."""

    on_join: Callable[[Membership], None]

    async def join(self) -> Membership:
        """Join, and tell the observer."""
        membership = await super().join()
        self.on_join(membership)
        return membership


@attrs.define(eq=False, kw_only=True)
class SimulatedNode:
    """One node of the job, which may start several times.

    Attributes:
        name: Host name.
        loop: The loop.
        network: Over which it reaches the store.
        random: Draws what varies.
        settings: Settings of the job.
        options: Options of the rendezvous.
        ports: Gives ports to bootstraps.
        observer: Who watches.
        slot: Rank that a scheduler gives it.
        local_world_size: Its workers.
        repeats: Whether its store client repeats unanswered writes.
        policy: Decides what follows from failures.
        open_store: Connects a process to the store of another backend; `None` for the
            simulated store.
        habits: How its workers behave.
        monitors: Who watches its workers.
        preflights: What it must pass to take a place.
        process: The process of its agent; another one after each start.
        store: The store client that was opened last.
        handler: The rendezvous of its agent.
        bootstrap: What its agent opens for the workers.
        controls: What its agent can be told.
        messages: What its workers tell.
        memberships: Its places, from the first start on.
        group: Its running workers.
        result: How its agent ended, `None` while it runs.
        excused: Why its workers may overlap with those of the others, or empty.
    """

    name: str
    loop: SimulatedLoop
    network: Network
    random: random.Random
    settings: JobSettings
    options: RendezvousOptions
    ports: Iterator[int]
    observer: Observer
    policy: RestartPolicy
    slot: int | None = None
    local_world_size: int = 2
    repeats: bool = True
    open_store: OpenStore | None = None
    habits: Habits = attrs.field(factory=Habits)
    monitors: Sequence[NamedMonitor] = ()
    preflights: Sequence[NamedPreflight] = ()
    process: Process | None = attrs.field(default=None, init=False)
    store: NumberedStore | None = attrs.field(default=None, init=False)
    handler: StoreRendezvous | None = attrs.field(default=None, init=False)
    bootstrap: SimulatedBootstrap | None = attrs.field(default=None, init=False)
    controls: Controls | None = attrs.field(default=None, init=False)
    messages: Feed[WorkerMessage] = attrs.field(factory=Feed, init=False)
    memberships: list[Membership] = attrs.field(factory=list, init=False)
    group: SimulatedGroup | None = attrs.field(default=None, init=False)
    result: Result | Exception | None = attrs.field(default=None, init=False)
    excused: str = attrs.field(default="", init=False)
    _starts: int = attrs.field(default=0, init=False)

    @property
    def agent(self) -> str:
        """Its agent, by the name that the job knows it by."""
        return f"{self.name}-{self._starts}"

    @property
    def is_running(self) -> bool:
        """Whether its agent runs, paused or not."""
        return self.process is not None and not self.process.dead and not self.result

    def start(self) -> None:
        """Start an agent."""
        self._starts += 1
        offset = self.random.uniform(0, 1e6)
        self.process = self.loop.process(f"{self.name}#{self._starts}", offset)
        self.result, self.excused = None, ""
        self.loop.spawn(self.process, self._run(self.process))

    def kill(self) -> None:
        """Kill agent and workers, as the loss of a node does."""
        if self.process:
            self.loop.kill(self.process)
            self.network.bury(self.process)
        if self.group:
            self.group.vanish()

    def power_off(self) -> None:
        """Kill agent and workers; nobody is told, and no connection ends."""
        if self.process:
            self.loop.kill(self.process)
            self.network.vanish(self.process)
        if self.group:
            self.group.vanish()

    async def close(self, reason: str) -> None:
        """End the job as its user, if this node is a member and the store answers."""
        outcome = Outcome(state=OutcomeState.FAILED, reason=reason)
        if self.handler:
            with contextlib.suppress(RendezvousUnreachable):
                await self.handler.close(outcome)

    async def drain(self) -> None:
        """Tell the agent to leave its job, which it may refuse."""
        if self.controls:
            with contextlib.suppress(ControlFailed, RendezvousUnreachable):
                await self.controls.drain("a user wants it", "user")

    async def restart(self, reason: str) -> None:
        """Ask for a restart, if this node is a member and the store answers."""
        if self.handler:
            with contextlib.suppress(RendezvousUnreachable):
                await self.handler.restart(reason)

    async def tell(self, progress: float) -> None:
        """Tell of progress, if this node is a member and the store answers."""
        if self.handler and self.memberships:
            vitals = Vitals(
                generation=self.memberships[-1].generation, progress=progress
            )
            with contextlib.suppress(RendezvousUnreachable):
                await self.handler.tell(vitals)

    async def _run(self, process: Process) -> None:
        facts = NodeFacts(
            host=self.name,
            address=self.name,
            local_world_size=self.local_world_size,
            slot=self.slot,
        )
        self.messages = Feed()
        self.handler = self._open(process, facts)
        self.bootstrap = SimulatedBootstrap(
            self.name, self.ports, self.habits, self._closed
        )
        agent = Agent(
            handler=self.handler,
            spawner=SimulatedSpawner(
                self.habits,
                self.random,
                self._started,
                self._ended,
                self._noticed,
            ),
            bootstrap=self.bootstrap,
            monitors=self.monitors,
            preflights=self.preflights,
            entry=CommandEntry(("true",), "true"),
            node=facts,
            max_restarts=self.settings.max_restarts,
            notices=Notices(
                host=self.name,
                shutdown_timeout=self.settings.shutdown_timeout,
                clock=self.loop.time,
            ),
            record=self._record,
            messages=self.messages,
        )
        self.controls = agent.controls
        try:
            self.result = await agent.run()
        except Exception as error:  # noqa: BLE001 - the observer judges it
            self.result = error
        self.network.bury(process)

    def _open(self, process: Process, facts: NodeFacts) -> StoreRendezvous:
        async def open_store() -> Store:
            if self.open_store:
                self.store = await self.open_store(process, self.options)
                return self.store
            store = self.store = SimulatedStore(
                self.network,
                process,
                "store",
                self.random,
                grace=self.options.reconnect_grace,
                request_timeout=self.options.silence_limit,
                repeats=self.repeats,
            )
            return await store.connect(self.options.join_limit)

        params = RendezvousParameters(
            backend="simulated",
            run_id="job",
            min_nodes=self.settings.min_nodes,
            max_nodes=self.settings.max_nodes,
            node=facts,
            settings=self.settings,
            policy=self.policy,
            record=self._record,
            clock=lambda: self.loop.now,
        )
        handler = ObservedRendezvous(
            open_store, params, self.options, str(self._starts)
        )
        handler.on_join = self._joined
        return handler

    def _joined(self, membership: Membership) -> None:
        self.memberships.append(membership)
        self.observer.joined(self, membership)

    def _record(self, name: EventName, /, **facts: Value) -> None:
        self.observer.happened(self, str(name), facts)

    def _started(self, group: SimulatedGroup) -> None:
        self.group = group
        self.observer.started(self, group)

    def _noticed(self, group: SimulatedGroup, notice: Notice) -> None:
        self.observer.noticed(self, group, notice)

    def _closed(self, endpoint: str) -> None:
        self.observer.closed(self, endpoint)

    def _ended(self, group: SimulatedGroup) -> None:
        if self.group is group:
            self.group = None
        self.observer.ended(self, group)
