"""From what a launch asks for to the CPUs of each worker; it never ends a job."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

import attrs

from elaunch.api import NumaBinding, WorkerSpec, inherited_environment
from elaunch_spawn_local.cpus.devices import Devices, homes, read_devices
from elaunch_spawn_local.cpus.plan import Plan, plan
from elaunch_spawn_local.cpus.topology import Topology, listed, read_topology
from elaunch_spawn_local.worker import BoundWorker


logger = logging.getLogger(__name__)

THREADS = "OMP_NUM_THREADS"


@attrs.frozen
class _Machine:
    """This host, as it was when these CPUs could be used."""

    allowed: frozenset[int]
    topology: Topology
    devices: Devices | None


@attrs.define(eq=False)
class Binder:
    """Chooses the CPUs of workers.

    Args:
        mode: What the launch asks for.
        root: The root directory, below which the system tells of its parts.
    """

    _mode: NumaBinding
    _root: Path = Path("/")
    _machine: _Machine | None = attrs.field(default=None, init=False)
    _warned: str = attrs.field(default="", init=False)

    def bind(self, workers: Sequence[WorkerSpec]) -> list[BoundWorker]:
        """Return the workers with their CPUs; blocks, the first time for longest."""
        mode = self._mode
        if not hasattr(os, "sched_setaffinity"):
            self._warn(mode, "this system binds no process; workers run unbound")
            return [BoundWorker(spec) for spec in workers]
        made = self._plan(mode, workers)
        if made.notes:
            self._warn(mode, "; ".join(made.notes))
        logger.info("--numa-binding %s: %s", mode, _told(workers, made))
        return [
            BoundWorker(_with_threads(spec, count), cpus)
            for spec, cpus, count in zip(workers, made.cpus, made.threads, strict=True)
        ]

    def _plan(self, mode: NumaBinding, workers: Sequence[WorkerSpec]) -> Plan:
        machine = self._look()
        if mode is NumaBinding.CORES:
            return plan(mode, machine.topology, len(workers))
        inherited = inherited_environment(os.environ)
        environments = [{**inherited, **spec.environment} for spec in workers]
        where = homes(machine.devices, environments)
        made = plan(mode, machine.topology, len(workers), where.nodes)
        return attrs.evolve(made, notes=(*where.notes, *made.notes))

    def _look(self) -> _Machine:
        """Return what there is; large machines have thousands of files to read."""
        allowed = frozenset(os.sched_getaffinity(0))
        if self._machine is None or self._machine.allowed != allowed:
            topology = read_topology(self._root, allowed)
            self._machine = _Machine(allowed, topology, read_devices(self._root))
        return self._machine

    def _warn(self, mode: NumaBinding, what: str) -> None:
        """Say it once, and again only if it is another thing after a restart."""
        if what != self._warned:
            logger.warning("--numa-binding %s: %s", mode, what)
            self._warned = what


def _with_threads(spec: WorkerSpec, threads: int) -> WorkerSpec:
    if THREADS not in spec.guessed:
        return spec
    return attrs.evolve(spec, environment={**spec.environment, THREADS: str(threads)})


def _told(workers: Sequence[WorkerSpec], made: Plan) -> str:
    return "; ".join(
        f"local rank {spec.ranks.local_rank}: CPUs {listed(cpus)}"
        + (f", {THREADS} {threads}" if THREADS in spec.guessed else "")
        for spec, cpus, threads in zip(workers, made.cpus, made.threads, strict=True)
    )
