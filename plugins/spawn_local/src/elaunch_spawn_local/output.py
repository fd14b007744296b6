"""Where the output of a group's workers goes."""

import io
import os
from collections.abc import Callable

import attrs

from elaunch.api import WorkerSpec
from elaunch_spawn_local.pump import Pump
from elaunch_spawn_local.stdio import Stdio


@attrs.define(eq=False)
class Output:
    """Takes the output of workers and carries it to the console.

    Args:
        on_end: Called in another thread with a local rank when all output of that
            worker was carried.
        on_done: Called in another thread when all output of all workers was.
    """

    _on_end: Callable[[int], None]
    _on_done: Callable[[], None]
    _pump: Pump = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._pump = Pump(self._on_end, self._on_done)

    def open(self, spec: WorkerSpec) -> Stdio:
        """Return what a worker is to have as stdin, stdout and stderr.

        The caller closes them when the worker was started, or could not be.

        Raises:
            OSError: If the system gives no more descriptors.
        """
        stdout = os.pipe()
        try:
            stderr = os.pipe()
        except OSError:
            _close(*stdout)
            raise
        try:
            stdin = os.open(os.devnull, os.O_RDONLY)
        except OSError:
            _close(*stdout, *stderr)
            raise
        self._pump.add(
            spec.ranks.local_rank,
            io.FileIO(stdout[0]),
            io.FileIO(stderr[0]),
            spec.label,
        )
        return Stdio(stdin, stdout[1], stderr[1])

    def begin(self) -> None:
        """Start to carry, now that all workers are there.

        Raises:
            RuntimeError: If the system gives no thread for it.
        """
        self._pump.start()

    @property
    def begun(self) -> bool:
        """Whether `begin` succeeded."""
        return self._pump.started

    def worker_ended(self, rank: int) -> None:
        """Carry what a worker has left, and wait for no more for long."""
        self._pump.worker_ended(rank)

    def stderr_tail(self, rank: int) -> tuple[str, ...]:
        """Return the last lines that a worker wrote to stderr."""
        return self._pump.stderr_tail(rank)

    def close(self) -> None:
        """Release everything; call after ``on_done``, or before `begin`."""
        self._pump.close()


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
