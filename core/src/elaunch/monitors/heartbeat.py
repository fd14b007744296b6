"""The monitor `heartbeat`: workers that say nothing any more (`elaunch.worker`)."""

from collections.abc import AsyncGenerator, Mapping

import attrs

from elaunch.api import Finding, MonitorParameters, WatchedGroup, WorkerMessage
from elaunch.monitors.ends import Ends
from elaunch.monitors.learning import Learned
from elaunch.monitors.options import HeartbeatOptions
from elaunch.monitors.silence import Silence
from elaunch.monitors.waiting import Waiting, nap_of


@attrs.define(eq=False)
class Heartbeat:
    """Finds who is silent for too long; see `elaunch.monitor.Monitor`.

    What it has learned of the length of silence it knows in the next generation, too.

    Attributes:
        params: What every monitor gets.
        options: Limits.
    """

    params: MonitorParameters
    options: HeartbeatOptions
    _learned: Learned = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._learned = Learned(self.options.factor, self.options.floor)

    def environment(self) -> Mapping[str, str]:
        """Workers need know nothing of it."""
        return {}

    async def watch(self, group: WatchedGroup) -> AsyncGenerator[Finding, None]:
        """Yield a finding for each silence, and for its end.

        Args:
            group: Whom to watch.
        """
        waiting = Waiting(nap_of(self._limits))
        ended = Ends(group.pids)
        silence = Silence(self.options, self._learned, group, ended, waiting.now)

        def take(message: WorkerMessage) -> None:
            waiting.expect(silence.take(message))

        with self.params.messages.told_to(take):
            while True:
                silence.awake(await waiting.until(silence.next_deadline()))
                for finding in silence.due(waiting.now):
                    yield finding

    @property
    def _limits(self) -> tuple[float, ...]:
        return (self.options.limit or self.options.floor, self.options.startup)
