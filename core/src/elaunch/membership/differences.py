"""Where the settings of a node and of its job differ, by the flags that give them."""

from collections.abc import Mapping

from elaunch.rendezvous import JobSettings


_FLAGS: Mapping[str, str] = {
    "max_restarts": "--max-restarts",
    "on_failure": "--on-failure",
    "restart_policy": "--restart-policy",
    "shutdown_timeout": "--shutdown-timeout",
    "node_unit": "--rdzv-conf node_unit",
    "population": "--rdzv-conf population",
}


def differences(ours: JobSettings, jobs: JobSettings) -> str:
    """Return where a node's settings differ from the job's, by flag, or ``""``."""
    found = []
    if (ours.min_nodes, ours.max_nodes) != (jobs.min_nodes, jobs.max_nodes):
        found.append(
            f"--nnodes is {ours.min_nodes}:{ours.max_nodes} here "
            f"and {jobs.min_nodes}:{jobs.max_nodes} in the job"
        )
    for field, flag in _FLAGS.items():
        here, there = getattr(ours, field), getattr(jobs, field)
        if here != there:
            found.append(f"{flag} is {_said(here)} here and {_said(there)} in the job")
    return "; ".join(found)


def _said(value: object) -> str:
    """Return a setting as a user would have given it."""
    if isinstance(value, tuple):
        return " ".join(map(repr, value)) or "not given"
    return str(value)
