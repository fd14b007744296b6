"""One run of a scenario, from its first stimulus to the end of its job."""

import asyncio
import signal
from collections.abc import Mapping

import attrs

from elaunch.testing.simulation.actions import ACTIONS
from elaunch.testing.simulation.backend import NewBackend
from elaunch.testing.simulation.loop import Stuck
from elaunch.testing.simulation.scenario import COORDINATOR, Scenario, Stimulus
from elaunch.testing.simulation.world import World


STEP_LIMIT = 2_000_000
"""Steps after which a run counts as one that never ends."""

FAREWELL = 150.0
"""Virtual seconds in which all agents must have ended once their workers are done."""


LAST_MOMENT = 5.0
"""Virtual seconds in which a moment must come that the last stimuli wait for."""


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
class Simulation(World):
    """One run of a scenario in its world."""

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
        self.moments.on_moment = self._seize
        for stimulus in self.scenario.stimuli:
            await self._until(stimulus.at)
            if stimulus.upon:
                self.moments.wait(stimulus)
            else:
                self._apply(stimulus)
        if self.moments:
            await asyncio.sleep(LAST_MOMENT)
            self.moments.give_up()
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
        self.faults[stimulus.what] += 1
        self.laws.tell(f"-- {stimulus}")
        ACTIONS[stimulus.what](self, stimulus)

    def _seize(self, stimulus: Stimulus) -> None:
        """Let happen what waited for this moment, while it is still told."""
        delay = self.random.uniform(0.0, 2 * self.network.slowest)
        self.later(delay, lambda: self._apply(stimulus))

    def _send_home(self) -> None:
        """Tell nodes that still wait for others, which will not come, to go."""
        least = self.scenario.min_nodes
        waiting = [node for node in self.nodes.values() if node.is_running]
        left_out = any(map(self.laws.why_left_out, waiting))
        if len(waiting) < least or self.scenario.node_unit > 1 or left_out:
            for node in waiting:
                if node.process:
                    self.loop.signal(node.process, signal.SIGTERM)

    async def _until(self, moment: float) -> None:
        await asyncio.sleep(max(0.0, moment - self.loop.now))

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


def run(scenario: Scenario, backend: NewBackend | None = None) -> Report:
    """Run a scenario on the simulated store, or on that of another backend."""
    return Simulation(scenario, backend).run()
