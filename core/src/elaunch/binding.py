"""Which CPUs a worker may use: what a launch can ask for."""

import enum
from typing import Any

import attrs


class NumaBinding(enum.StrEnum):
    """How the CPUs of a node are shared out among its workers.

    Each takes only CPUs that the agent itself may use. Where a worker has an
    accelerator, its NUMA node is the one that the accelerator is attached to.
    """

    NODE = "node"
    """All CPUs of the worker's NUMA node."""
    SOCKET = "socket"
    """All CPUs of the socket that this node belongs to."""
    EXCLUSIVE = "exclusive"
    """Whole cores of this node, shared out among the workers that it has."""
    CORE_COMPLEX = "core-complex"
    """The CPUs of this node that share one last-level cache."""
    CORES = "cores"
    """Whole cores, all of them shared out among the workers, whatever their devices."""


@attrs.frozen(kw_only=True)
class BindingSettings:
    """Which CPUs the workers are bound to.

    Attributes:
        mode: How the CPUs are shared out; `None` leaves workers unbound.
    """

    mode: NumaBinding | None = None


def mode_of(options: Any) -> str | None:
    """Return the mode in torch's ``NumaOptions``, or in an object like it.

    Args:
        options: An object with an ``affinity_mode``, a word or an enum of words; `None`
            for none.
    """
    mode = getattr(options, "affinity_mode", options)
    return None if mode is None else str(getattr(mode, "value", mode))
