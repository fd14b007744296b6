"""PBS: what ``pbsdsh`` tells a task."""

import re
from collections.abc import Mapping
from pathlib import Path

import attrs

from elaunch.api import Detected, Suggestion
from elaunch.schedulers.reading import endpoint, id_of, number, port_of


VARIABLES: Mapping[str, str] = {
    "PBS_JOBID": "a job of PBS: `--rdzv-id`, and the port of the endpoint",
    "PBS_NODEFILE": "file of hosts: `--nnodes`; the first for `--rdzv-endpoint`",
    "PBS_NUM_NODES": "`--nnodes` where the file is not there (Torque)",
    "PBS_NODENUM": "`--node-rank`: number of this node",
    "PBS_TASKNUM": "1 in the job's script, which runs on the first node alone",
}
"""What is read, and what it is for."""

_MOST_BYTES = 1 << 20
"""Of the file with the hosts, in case it is something else."""


@attrs.frozen
class Pbs:
    """Reads the variables of OpenPBS, PBS Professional and Torque."""

    def detect(self, environment: Mapping[str, str]) -> Detected | None:
        """Return what a task of ``pbsdsh`` is told, or what the job's script is."""
        job = environment.get("PBS_JOBID", "")
        if not job:
            return None
        listed = hosts_of(environment)
        nodes = _nodes(environment, listed)
        values = {"rdzv_id": Suggestion(id_of(job), "PBS_JOBID")}
        rank = number(environment, "PBS_NODENUM")
        if not rank and number(environment, "PBS_TASKNUM") in (None, 1):
            return Detected(scheduler="PBS", values=values, notes=_alone(nodes))
        if nodes:
            values["nnodes"] = nodes
        if rank is not None:
            values["node_rank"] = Suggestion(str(rank), "PBS_NODENUM")
        if listed:
            values["rdzv_endpoint"] = Suggestion(
                endpoint(listed[0], port_of(job_number(job))),
                "first host of PBS_NODEFILE; port by PBS_JOBID",
            )
        return Detected(scheduler="PBS", values=values)


def job_number(job: str) -> int:
    """Return a number of a job such as ``1234.server`` or ``1234[5].server``."""
    numbers = re.findall(r"[0-9]+", job.partition(".")[0])
    return sum(int(text[-9:]) for text in numbers)


def hosts_of(environment: Mapping[str, str]) -> list[str]:
    """Return the hosts of the job, each once, as far as this node has the list."""
    path = Path(environment.get("PBS_NODEFILE", ""))
    try:
        if not path.is_file():  # a pipe would be waited for
            return []
        with path.open(encoding="utf-8", errors="replace") as file:
            lines = file.read(_MOST_BYTES).split()
    except (OSError, ValueError):
        return []
    return list(dict.fromkeys(lines))


def _nodes(environment: Mapping[str, str], listed: list[str]) -> Suggestion | None:
    if listed:
        return Suggestion(str(len(listed)), "hosts in PBS_NODEFILE")
    count = number(environment, "PBS_NUM_NODES")
    return Suggestion(str(count), "PBS_NUM_NODES") if count else None


def _alone(nodes: Suggestion | None) -> tuple[str, ...]:
    if not nodes or nodes.value == "1":
        return ()
    note = (
        f"PBS gave this job {nodes.value} nodes ({nodes.rule}), and this agent runs "
        f"alone on the first: to use all of them, mpiexec -ppn 1 elaunch run ..., or "
        f"pbsdsh -- elaunch run ..."
    )
    return (note,)
