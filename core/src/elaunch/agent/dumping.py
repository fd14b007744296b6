"""The stacks of a group that hangs: written down once, before it is stopped."""

import asyncio
import logging

import attrs

from elaunch.agent.tasks import Task, Tasks
from elaunch.spawner import WorkerGroup


logger = logging.getLogger(__name__)

HANG_DUMP = 5.0
"""Seconds that it takes at most, unless the user says how many."""

_MARGIN = 1.0
"""Seconds beyond that for which a spawner is waited for that does not keep to it."""


@attrs.define(eq=False, repr=False)
class HangDump:
    """Writes the stacks of one group down, when a monitor first finds that it hangs.

    Who finds something at the same time, or later, gets the same files: the group is
    about to be stopped.

    Attributes:
        group: Whose stacks.
        seconds: How long it may take.
        tasks: Where it is a task: whoever waits for it may give up.
    """

    group: WorkerGroup
    seconds: float
    tasks: Tasks
    _writing: Task | None = attrs.field(default=None, init=False)
    _files: dict[int, str] = attrs.field(factory=dict, init=False)

    @property
    def begun(self) -> bool:
        """Whether they were written down, or are about to be."""
        return self._writing is not None

    async def settled(self, seconds: float) -> float:
        """Wait for what is being written, so many seconds at most.

        Returns:
            How many of them are left.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        if self._writing:
            await asyncio.wait((self._writing,), timeout=seconds)
        return max(0.0, end - loop.time())

    async def files(self, local_rank: int | None) -> tuple[str, ...]:
        """Write them down, if nobody has; return the files.

        Args:
            local_rank: The worker whose file comes first.
        """
        if self._writing is None:
            self._writing = self.tasks.start(self._write())
        await asyncio.wait((self._writing,))
        ranks = sorted(self._files, key=lambda rank: (rank != local_rank, rank))
        return tuple(self._files[rank] for rank in ranks)

    async def _write(self) -> None:
        try:
            async with asyncio.timeout(self.seconds + _MARGIN):
                self._files = dict(await self.group.dump_stacks(self.seconds))
        except Exception:
            logger.exception("can't write down the stacks of workers that hang")
