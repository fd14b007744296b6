"""The steps of a stop, as an agent notes them."""

from collections.abc import Sequence

import attrs

from elaunch.agent.happenings import Happenings
from elaunch.spawner import StopStep


@attrs.define(eq=False, repr=False)
class Steps:
    """Records each step that is taken, and keeps who can't be killed.

    Attributes:
        happenings: Records for the node.
        left: Process ids of those whom the kernel holds.
    """

    happenings: Happenings
    left: tuple[int, ...] = ()

    def __call__(
        self,
        step: StopStep,
        signum: int,
        pids: Sequence[int],
        files: Sequence[str] = (),
    ) -> None:
        """Take note of a step; see `elaunch.spawner.OnStop`."""
        if step is StopStep.LEFT:
            self.left = tuple(pids)
        self.happenings.step(step, signum, pids, files)
