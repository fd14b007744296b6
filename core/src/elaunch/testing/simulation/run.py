"""One run of a scenario, from its first stimulus to the end of its job."""

import asyncio
import itertools
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping

import attrs

from elaunch.api import JobSettings, RendezvousOptions
from elaunch.testing.simulation.laws import Laws
from elaunch.testing.simulation.loop import Process, SimulatedLoop, Stuck
from elaunch.testing.simulation.network import Network
from elaunch.testing.simulation.node import SimulatedNode
from elaunch.testing.simulation.scenario import COORDINATOR, Scenario, Stimulus
from elaunch.testing.simulation.store_server import StoreServer
from elaunch.testing.simulation.workers import Habits


STEP_LIMIT = 2_000_000
"""Steps after which a run counts as one that never ends."""

FAREWELL = 150.0
"""Virtual seconds in which all agents must have ended once their workers are done."""


@attrs.frozen(kw_only=True)
class Report:
    """What came of a run.

    Attributes:
        scenario: What was run.
        broken: The laws that were broken; empty if all held.
        steps: Callbacks that ran.
        seconds: Virtual seconds that passed.
        faults: How often each kind of stimulus was applied.
        generations: Generations that were sealed.
        messages: Messages that were sent.
        requests: Requests that the store served.
        story: What happened.
    """

    scenario: Scenario
    broken: tuple[str, ...]
    steps: int
    seconds: float
    faults: Mapping[str, int]
    generations: int
    messages: int
    requests: int
    story: tuple[str, ...] = attrs.field(repr=False)


class _Over(Exception):
    """A law was broken, or there was no end."""


@attrs.define(eq=False)
class Simulation:
    """The world of one scenario.

    Attributes:
        scenario: What happens in it.
        loop: Its loop.
        network: Its network.
        server: Its store.
        nodes: Its nodes by name.
        laws: Who watches it.
        faults: What was applied, and how often.
    """

    scenario: Scenario
    loop: SimulatedLoop = attrs.field(init=False)
    network: Network = attrs.field(init=False)
    server: StoreServer = attrs.field(init=False)
    nodes: dict[str, SimulatedNode] = attrs.field(factory=dict, init=False)
    laws: Laws = attrs.field(init=False)
    faults: Counter[str] = attrs.field(factory=Counter, init=False)
    _random: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        scenario = self.scenario
        self.loop = SimulatedLoop(scenario.seed)
        self._random = random.Random(scenario.seed + 1)  # noqa: S311 - reproducible
        self.network = Network(self.loop, self._random, slowest=scenario.slowest)
        self.server = StoreServer(self.loop, self.network, history=scenario.history)
        self.laws = Laws(self.loop, self.server, self.nodes)
        self.server.on_give_up = self._given_up
        self.laws.watch_store()
        self._add_nodes()

    def _add_nodes(self) -> None:
        scenario = self.scenario
        options = RendezvousOptions(
            last_call_timeout=scenario.last_call_timeout,
            keep_alive_interval=scenario.keep_alive_interval,
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
            self.nodes[name] = SimulatedNode(
                name=name,
                loop=self.loop,
                network=self.network,
                random=self._random,
                settings=settings,
                options=options,
                ports=ports,
                observer=self.laws,
                slot=number if scenario.slots else None,
                local_world_size=1 + number % 2,
                repeats=scenario.repeats,
                habits=Habits(stop_time=0.02 * (1 + number)),
            )

    def run(self) -> Report:
        """Run it to its end, or to the first law that is broken."""
        self.loop.after_step = self._after_step
        try:
            self.loop.run_until_complete(self._direct())
        except (_Over, Stuck) as error:
            if isinstance(error, Stuck):
                self.laws.broken.append(str(error))
        finally:
            self.loop.after_step = None
            steps, seconds = self.loop.steps, self.loop.now
            self._end()
        return Report(
            scenario=self.scenario,
            broken=tuple(self.laws.broken),
            steps=steps,
            seconds=seconds,
            faults=self.faults,
            generations=self.laws.generations,
            messages=self.network.messages,
            requests=self.server.requests,
            story=tuple(self.laws.story),
        )

    def _after_step(self) -> None:
        self.laws.check()
        if self.loop.steps > STEP_LIMIT:
            self.laws.broken.append(f"no end after {STEP_LIMIT} steps")
        if self.laws.broken:
            raise _Over

    async def _direct(self) -> None:
        """Let happen what the scenario says, then heal everything and see the end."""
        for stimulus in self.scenario.stimuli:
            await self._until(stimulus.at)
            self.faults[stimulus.what] += 1
            self._apply(stimulus)
        await asyncio.sleep(self.scenario.quiet)
        self.laws.tell("-- it has been quiet")
        self.laws.check_progress()
        for node in self.nodes.values():
            node.habits.finishing = True
            if node.group and node.process:
                self.loop.call_soon(node.group.exit, 0, context=node.process.context)
        await self._farewell()
        self._send_home()
        await self._farewell()
        self.laws.check_end()

    async def _farewell(self) -> None:
        """Give the agents time to end."""
        end = self.loop.now + FAREWELL
        while self.loop.now < end:
            if not any(node.is_running for node in self.nodes.values()):
                return
            await asyncio.sleep(1.0)

    def _apply(self, stimulus: Stimulus) -> None:
        if stimulus.node == COORDINATOR:
            name = self.laws.coordinator or "n0"
            stimulus = attrs.evolve(stimulus, node=name)
        self.laws.tell(f"-- {stimulus}")
        ACTIONS[stimulus.what](self, stimulus)

    def _send_home(self) -> None:
        """Tell nodes that still wait for others, which will not come, to go."""
        least = self.scenario.min_nodes
        waiting = [node for node in self.nodes.values() if node.is_running]
        if len(waiting) < least or self.scenario.node_unit > 1:
            for node in waiting:
                if node.process:
                    self.loop.signal(node.process, signal.SIGTERM)

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self.loop.now))

    def _given_up(self, process: Process) -> None:
        for node in self.nodes.values():
            if node.process is process and not process.dead:
                node.excused = "its connection was away for too long"

    def later(self, delay: float, action: Callable[[], object]) -> None:
        """Do something after a while."""
        self.loop.call_later(delay, action, context=self.loop.root.context)

    def _end(self) -> None:
        """Let every task of every process end, so that nothing is left behind."""
        self.loop.faults.clear()
        self.network.close()
        self.loop.bury()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        if tasks:
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=600.0))
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def run(scenario: Scenario) -> Report:
    """Run a scenario."""
    return Simulation(scenario).run()


# -- what can happen ---------------------------------------------------------------


def _start(sim: Simulation, it: Stimulus) -> None:
    node = sim.nodes[it.node]
    if not node.is_running:
        node.start()


def _kill(sim: Simulation, it: Stimulus) -> None:
    sim.nodes[it.node].kill()


def _join_again(sim: Simulation, it: Stimulus) -> None:
    """Kill a node and start it again after ``value`` seconds."""
    sim.nodes[it.node].kill()
    sim.later(it.value, lambda: _start(sim, it))


def _term(sim: Simulation, it: Stimulus) -> None:
    node = sim.nodes[it.node]
    if node.process and node.is_running:
        sim.loop.signal(node.process, signal.SIGTERM)
        if node.process.dead:
            node.kill()


def _term_twice(sim: Simulation, it: Stimulus) -> None:
    _term(sim, it)
    sim.later(it.value, lambda: _term(sim, it))


def _exit(sim: Simulation, it: Stimulus) -> None:
    """One worker of the node ends with exit code ``value``."""
    node = sim.nodes[it.node]
    if node.group and node.process:
        sim.laws.failures += 1
        sim.loop.call_soon(
            node.group.exit, max(1, int(it.value)), 0, context=node.process.context
        )


def _crash_loop(sim: Simulation, it: Stimulus) -> None:
    """The next ``value`` groups of the node crash as soon as they run."""
    times = int(it.value)
    sim.laws.failures += times
    sim.nodes[it.node].habits.crashes += times


def _done(sim: Simulation, _: Stimulus) -> None:
    """All workers of the job end well, one node after the other."""
    for number, node in enumerate(sim.nodes.values()):
        node.habits.finishing = True
        if node.group and node.process:
            sim.loop.arrive(0.1 * number, node.process, node.group.exit, 0)


def _slow_stop(sim: Simulation, it: Stimulus) -> None:
    """The workers of the node take ``value`` seconds to stop."""
    sim.nodes[it.node].habits.stop_time = it.value


def _reset(sim: Simulation, it: Stimulus) -> None:
    node = sim.nodes[it.node]
    if node.process:
        sim.network.reset(node.process)


def _silence(sim: Simulation, it: Stimulus) -> None:
    """Cut the node off for ``value`` seconds."""
    process = sim.nodes[it.node].process
    if process:
        sim.network.silence(process)
        sim.later(it.value, lambda: sim.network.heal(process))


def _pause(sim: Simulation, it: Stimulus) -> None:
    """Stop the whole host of the node for ``value`` seconds."""
    node = sim.nodes[it.node]
    process = node.process
    if process and not process.paused:
        node.excused = "its host stood still"
        sim.loop.pause(process)
        sim.later(it.value, lambda: sim.loop.resume(process))


def _slow(sim: Simulation, it: Stimulus) -> None:
    """Let every callback of the node take ``value`` seconds, for five seconds."""
    process = sim.nodes[it.node].process
    if process:
        process.cost = it.value
        sim.later(5.0, lambda: setattr(process, "cost", 0.0))


def _store_outage(sim: Simulation, it: Stimulus) -> None:
    """The store is down for ``value`` seconds and keeps what it holds."""
    _store_restarts(sim, it.value, forget=False)


def _store_forgets(sim: Simulation, it: Stimulus) -> None:
    """The store is down for ``value`` seconds and comes back empty."""
    _store_restarts(sim, it.value, forget=True)


def _store_restarts(sim: Simulation, seconds: float, *, forget: bool) -> None:
    if sim.server.process.dead:
        return
    sim.server.stop()

    def start() -> None:
        sim.server.start(forget=forget)
        sim.laws.watch_store()

    sim.later(seconds, start)


def _store_pause(sim: Simulation, it: Stimulus) -> None:
    """The store's process stands still for ``value`` seconds."""
    process = sim.server.process
    if not process.paused:
        sim.loop.pause(process)
        sim.later(it.value, lambda: sim.loop.resume(process))


def _store_slow(sim: Simulation, it: Stimulus) -> None:
    """Let every request take the store ``value`` seconds, for five seconds."""
    process = sim.server.process
    process.cost = it.value
    sim.later(5.0, lambda: setattr(process, "cost", 0.0))


ACTIONS: Mapping[str, Callable[[Simulation, Stimulus], None]] = {
    "start": _start,
    "kill": _kill,
    "join-again": _join_again,
    "term": _term,
    "term-twice": _term_twice,
    "exit": _exit,
    "crash-loop": _crash_loop,
    "done": _done,
    "slow-stop": _slow_stop,
    "reset": _reset,
    "silence": _silence,
    "pause": _pause,
    "slow": _slow,
    "store-outage": _store_outage,
    "store-forgets": _store_forgets,
    "store-pause": _store_pause,
    "store-slow": _store_slow,
}
"""What each kind of stimulus does."""
