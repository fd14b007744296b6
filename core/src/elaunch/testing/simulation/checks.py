"""Simulated checks of a node: it is as fit as its habits say."""

import asyncio

import attrs

from elaunch.api import PreflightContext, PreflightOptions, PreflightResult
from elaunch.preflight import NamedPreflight
from elaunch.testing.simulation.workers import Habits


def check_of(habits: Habits) -> NamedPreflight:
    """Return the check of a node with these habits."""
    options = PreflightOptions(timeout=15.0, retry=1.0, repeat=3.0)
    return NamedPreflight("simulated", SimulatedCheck(habits, options), options)


@attrs.define(eq=False)
class SimulatedCheck:
    """Finds what the habits of a node say.

    Attributes:
        habits: How the node is.
        options: How long it may take, and when it looks again.
    """

    habits: Habits
    options: PreflightOptions

    async def check(self, _: PreflightContext) -> PreflightResult:
        """Look for as long as the habits say."""
        await asyncio.sleep(self.habits.check_time)
        return PreflightResult(problem="it is ill" if self.habits.unfit else "")
