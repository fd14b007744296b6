"""The monitor `sections`: parts of workers' code that take too long.

It is in every run, and few have sections: what they need is imported with the first.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

from elaunch.api import (
    Finding,
    MessageKind,
    MonitorParameters,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.monitors.listening import Listening
from elaunch.monitors.options import SectionsOptions


if TYPE_CHECKING:
    from elaunch.monitors.blocks import Limits


class Sections:
    """Enforces the limits of sections; see `elaunch.monitor.Monitor`.

    Args:
        params: What every monitor gets.
        options: Limits beside those that workers set.
    """

    def __init__(self, params: MonitorParameters, options: SectionsOptions) -> None:
        self._options = options
        self._listening = Listening(params.messages)
        self._limits: Limits | None = None

    def environment(self) -> Mapping[str, str]:
        """Listen to the next group; its workers need know nothing of this monitor."""
        self._listening.begin()
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield a finding for each section that takes too long, and for its end.

        Args:
            group: Whom to watch.
        """
        first = await self._first_section()
        from elaunch.monitors.blocks import Blocks, Limits
        from elaunch.monitors.ends import Ends
        from elaunch.monitors.waiting import Waiting, nap_of

        self._limits = limits = self._limits or Limits(self._options)
        waiting = Waiting(nap_of(limits.given))
        blocks = Blocks(limits, group, Ends(group.pids).below)

        def take(message: WorkerMessage) -> None:
            waiting.mind(message.limit)
            waiting.expect(blocks.take(message))

        take(first)
        with self._listening.to(take):
            while True:
                blocks.awake(await waiting.until(blocks.next_deadline()))
                for finding in blocks.due(waiting.now):
                    yield finding

    async def _first_section(self) -> WorkerMessage:
        """Wait for the first section of a group; keep what is said after it."""
        loop = asyncio.get_running_loop()
        first: asyncio.Future[WorkerMessage] = loop.create_future()

        def look(message: WorkerMessage) -> None:
            if first.done():
                self._listening.keep(message)
            elif message.kind is MessageKind.SECTION:
                first.set_result(message)

        with self._listening.to(look):
            return await first
