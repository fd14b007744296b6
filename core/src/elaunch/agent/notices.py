"""What an agent makes of signals and stops: notices to its workers and to the job."""

import math
import signal
import time
from collections.abc import Callable

import attrs

from elaunch.agent.messages import Stop
from elaunch.failures import signal_name
from elaunch.notice import Notice, NoticeKind
from elaunch.spawner import StopSchedule


ANNOUNCE_PATIENCE = 2.0
"""Seconds after which this node's workers are told, whether the store has answered."""


@attrs.frozen(kw_only=True)
class Notices:
    """Writes the notices of one node.

    Attributes:
        host: Host name of the node.
        stop_signal: What stops its workers.
        shutdown_timeout: Seconds that they get for it.
        dump_stacks: Seconds of it in which workers' stacks are written down when they
            are stopped because of a failure; 0 not to do it.
        clock: Tells the time in Unix seconds.
    """

    host: str
    stop_signal: int = signal.SIGTERM
    shutdown_timeout: float
    dump_stacks: float = 0.0
    clock: Callable[[], float] = time.time

    def preemption(self, signum: int, *, ends: bool) -> Notice:
        """Return what a signal to this agent means to the workers of the job.

        Args:
            signum: The signal.
            ends: Whether the agent stops its own workers now.
        """
        return Notice(
            kind=NoticeKind.PREEMPTION,
            reason=signal_name(signum),
            host=self.host,
            timestamp=self.clock(),
            grace=_finite(self.shutdown_timeout) if ends else None,
        )

    def schedule(self, stop: Stop) -> StopSchedule:
        """Return how workers are stopped, and what they are told before.

        A preemption that they know of stays one: what they do then is more than what
        they do for a stop.
        """
        grace = min(self.shutdown_timeout, stop.grace)
        told = stop.preemption or Notice(
            kind=NoticeKind.STOP, reason=stop.reason, host=self.host, timestamp=0.0
        )
        return StopSchedule(
            notice=attrs.evolve(told, timestamp=self.clock(), grace=_finite(grace)),
            signum=self.stop_signal,
            grace=grace,
            stacks=self.dump_stacks if stop.failed else 0.0,
        )


def _finite(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) else None
