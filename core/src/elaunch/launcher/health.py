"""The agent's health check: what it tells, and from when to when."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import attrs

from elaunch.config import LaunchConfig
from elaunch.endpoint.states import STATES
from elaunch.errors import UsageError
from elaunch.events import Event, EventName, EventRecorder
from elaunch.health import HealthCheckServer, parse_place
from elaunch.launcher.switches import HEALTH_CHECK_PORT


logger = logging.getLogger(__name__)

TIMEOUT = 60.0
"""Seconds for which the agent may stand still."""

BEAT = 1.0
"""Seconds between two beats of its loop."""


@attrs.define(eq=False)
class Health:
    """Knows how the agent is; see `elaunch.events.EventRecorder`.

    Attributes:
        run_id: Id of the job.
        state: A word for what it does.
        generation: Number of its generation; 0 before the first.
    """

    run_id: str
    state: str = "joining"
    generation: int = 0
    _last_beat: float = attrs.field(factory=time.monotonic, init=False)

    def record(self, event: Event) -> None:
        """Take note of what has happened."""
        self.state = STATES.get(event.name, self.state)
        if event.name == EventName.GENERATION_JOINED:
            self.generation = int(str(event.metadata["generation"]))

    def close(self) -> None:
        """Nothing is held."""

    def facts(self) -> Mapping[str, object]:
        """Return what to tell."""
        return {
            "run_id": self.run_id,
            "state": self.state,
            "generation": self.generation,
        }

    def last_beat(self) -> float:
        """Return the Unix time at which its loop went round last."""
        # Whoever sets the clock makes it neither older nor younger.
        return time.time() - (time.monotonic() - self._last_beat)

    async def beat(self) -> None:
        """Show again and again that the loop goes round."""
        while True:
            self._last_beat = time.monotonic()
            await asyncio.sleep(BEAT)


@contextlib.asynccontextmanager
async def health_check(
    config: LaunchConfig, environment: Mapping[str, str]
) -> AsyncIterator[Sequence[EventRecorder]]:
    """Answer whoever asks, while the block runs.

    Args:
        config: Says where, or the environment does.
        environment: The agent's environment.

    Yields:
        Recorders that must hear what happens: one or none.

    Raises:
        UsageError: If the place that the configuration names can't be used.
    """
    place = config.health_check or environment[HEALTH_CHECK_PORT]
    health = Health(config.run_id)
    try:
        host, port = parse_place(place)
        server = HealthCheckServer(health.last_beat, port, TIMEOUT, host, health.facts)
        await asyncio.to_thread(server.start)
    except (ValueError, OSError) as error:
        if config.health_check:
            raise UsageError(f"health_check {place!r}: {error}") from error
        logger.warning("%s=%r is of no use: %s", HEALTH_CHECK_PORT, place, error)
        yield ()
        return
    beating = asyncio.create_task(health.beat())
    try:
        yield (health,)
    finally:
        beating.cancel()
        await asyncio.to_thread(server.stop)
