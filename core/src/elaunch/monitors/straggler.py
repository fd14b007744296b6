"""The monitor `straggler`: how long steps take, and who is always slow."""

import asyncio
from collections.abc import AsyncGenerator, Mapping

import attrs

from elaunch.api import EventName, Finding, MonitorParameters, WatchedGroup
from elaunch.monitors.options import StragglerOptions
from elaunch.monitors.pace import Report, Steps


PACE_INTERVAL = 10.0
"""Seconds after which the job is told of the pace again, at most."""


@attrs.define(eq=False)
class Straggler:
    """Tells how long steps take; see `elaunch.monitor.Monitor`.

    Attributes:
        params: What every monitor gets.
        options: What is slow.
    """

    params: MonitorParameters
    options: StragglerOptions

    def environment(self) -> Mapping[str, str]:
        """Workers need know nothing of it."""
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield a finding for each worker that is chronically slow, or no longer.

        Args:
            group: Whom to watch.
        """
        loop = asyncio.get_running_loop()
        steps = Steps(self.options, group)
        with self.params.messages.told_to(steps.take):
            end = loop.time() + self.options.interval
            while True:
                await asyncio.sleep(min(PACE_INTERVAL, max(0.0, end - loop.time())))
                if pace := steps.pace():
                    self.params.paces.tell(pace)
                if loop.time() < end:
                    continue
                end = loop.time() + self.options.interval
                if report := steps.report(self.params.job_pace()):
                    self._record(group, report)
                    for finding in steps.findings(report):
                        yield finding

    def _record(self, group: WatchedGroup, report: Report) -> None:
        pace = report.pace
        self.params.record(
            EventName.STRAGGLER_REPORT,
            ranks=pace.ranks,
            fastest=pace.fastest,
            median=pace.median,
            slowest=pace.slowest,
            slowest_rank=pace.slowest_rank,
            step=pace.step,
            compared_with=report.median,
            of_job=report.of_job,
            slow=[group.rank(rank) for rank in report.slow],
        )
