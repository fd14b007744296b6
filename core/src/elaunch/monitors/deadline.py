"""The monitor `deadline`: a limit for the time of a job, or of one generation."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping

import attrs

from elaunch.api import Finding, Request, Severity, WatchedGroup
from elaunch.monitors.options import DeadlineOptions


@attrs.define(eq=False)
class Deadline:
    """Tells when the time is over; see `elaunch.monitor.Monitor`.

    It needs nothing of the workers, and no pause of the agent counts: what is limited
    is the time that a job takes, whatever it takes it for.

    Attributes:
        options: Limits.
        clock: Tells the time before there is a loop.
    """

    options: DeadlineOptions
    clock: Callable[[], float] = time.monotonic
    _began: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self.clock()

    def environment(self) -> Mapping[str, str]:
        """Workers need know nothing of it."""
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield one finding when the first limit is reached.

        Args:
            group: Whom to watch.
        """
        options = self.options
        job = (options.job or math.inf) - (self.clock() - self._began)
        generation = options.generation or math.inf
        await asyncio.sleep(max(0.0, min(job, generation)))
        if job <= generation:
            yield Finding(
                local_rank=None,
                severity=Severity.UNHEALTHY,
                reason=f"the job has taken {options.job:g} s, which is its limit",
                request=Request.NO_RESTART,
            )
        else:
            yield Finding(
                local_rank=None,
                severity=Severity.UNHEALTHY,
                reason=(
                    f"generation {group.generation} has run for "
                    f"{options.generation:g} s, which is its limit"
                ),
            )
