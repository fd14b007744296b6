"""The monitor `sections`: parts of workers' code that take too long.

It is in every run, and few have sections: what they need is imported with the first.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import TYPE_CHECKING

from elaunch.api import (
    Finding,
    MessageKind,
    MonitorParameters,
    WatchedGroup,
    WorkerMessage,
)
from elaunch.monitors.section_options import SectionsOptions


if TYPE_CHECKING:
    from elaunch.monitors.blocks import Limits


class Sections:
    """Enforces the limits of sections; see `elaunch.monitor.Monitor`.

    Args:
        params: What every monitor gets.
        options: Limits beside those that workers set.
    """

    def __init__(self, params: MonitorParameters, options: SectionsOptions) -> None:
        self._messages = params.messages
        self._options = options
        self._limits: Limits | None = None

    def environment(self) -> Mapping[str, str]:
        """Workers need know nothing of it."""
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield a finding for each section that takes too long, and for its end.

        Args:
            group: Whom to watch.
        """
        early = await self._first_sections()
        from elaunch.monitors.blocks import Blocks, Limits
        from elaunch.monitors.ends import Ends
        from elaunch.monitors.waiting import Waiting, nap_of

        self._limits = limits = self._limits or Limits(self._options)
        waiting = Waiting(nap_of(limits.given))
        blocks = Blocks(limits, group, Ends(group.pids).below)

        def take(message: WorkerMessage) -> None:
            waiting.mind(message.limit)
            waiting.expect(blocks.take(message))

        with self._messages.told_to(take):
            for message in early:
                take(message)
            while True:
                blocks.awake(await waiting.until(blocks.next_deadline()))
                for finding in blocks.due(waiting.now):
                    yield finding

    async def _first_sections(self) -> Sequence[WorkerMessage]:
        """Wait for the first section of a group; return it, and what came with it."""
        begun = asyncio.Event()
        messages: list[WorkerMessage] = []

        def keep(message: WorkerMessage) -> None:
            if messages or message.kind is MessageKind.SECTION:
                messages.append(message)
                begun.set()

        with self._messages.told_to(keep):
            await begun.wait()
        return messages
