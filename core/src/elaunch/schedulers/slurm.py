"""Slurm: a step of one task per node is a job, a node each."""

import re
from collections.abc import Mapping, Sequence

import attrs

from elaunch.api import Detected, Suggestion
from elaunch.schedulers.hostlist import read_hosts
from elaunch.schedulers.reading import counted, endpoint, first_set, number, port_of


VARIABLES: Mapping[str, str] = {
    "SLURM_JOB_ID": "a job of Slurm: the id, and the port of the endpoint",
    "SLURM_STEP_ID": "a task of `srun`: likewise; without it only this node is told of",
    "SLURM_RESTART_COUNT": "part of the id: a job that was requeued is a new one",
    "SLURM_STEP_NUM_NODES": "`--nnodes`: nodes of the step",
    "SLURM_NNODES": "the same; outside of a step, nodes that `srun` would use",
    "SLURM_JOB_NUM_NODES": "the same, where `SLURM_NNODES` is not set",
    "SLURM_NODEID": "`--node-rank`: number of this node in the step",
    "SLURM_STEP_NUM_TASKS": "tasks of the step: more than nodes can't be agents",
    "SLURM_NTASKS": "the same, where `SLURM_STEP_NUM_TASKS` is not set",
    "SLURM_STEP_NODELIST": "host of `--rdzv-endpoint`: the first of the step",
    "SLURM_JOB_NODELIST": "the same, where the step's list is not set",
    "SLURM_GPUS_ON_NODE": "`--nproc-per-node`: GPUs of this node for the step",
    "SLURM_GPUS_PER_NODE": "the same, as asked for",
    "SLURM_GPUS_PER_TASK": "the same, as asked for",
}
"""What is read, and what it is for."""

_NODES = ("SLURM_STEP_NUM_NODES", "SLURM_NNODES", "SLURM_JOB_NUM_NODES")
_TASKS = ("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS")
_LISTS = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST")
_HERE = ("SLURM_GPUS_ON_NODE",)
_GPUS = (*_HERE, "SLURM_GPUS_PER_NODE", "SLURM_GPUS_PER_TASK")
"""GPUs of this node, and what was asked for, which `salloc` sets elsewhere, too."""

_LAST_STEP = 10**9
"""Numbers beyond it mean a batch script, an interactive shell and the like."""

_AMOUNT = re.compile(r"(?:[A-Za-z_][\w.-]*:)?([0-9]{1,9})")
"""``4``, or ``a100:4``; where a node may have several kinds, nobody knows."""


@attrs.frozen
class Slurm:
    """Reads the variables of Slurm."""

    def detect(self, environment: Mapping[str, str]) -> Detected | None:
        """Return what a task of ``srun`` is told, or what a batch script is."""
        job = number(environment, "SLURM_JOB_ID")
        if job is None:
            return None
        step = number(environment, "SLURM_STEP_ID")
        if step is None or step > _LAST_STEP:
            return _outside(environment, job)
        nodes = counted(environment, _NODES)
        tasks = counted(environment, _TASKS)
        if nodes and tasks and int(tasks.value) > int(nodes.value):
            return Detected(
                scheduler="Slurm",
                problem=f"srun started {tasks.value} tasks on {nodes.value} "
                f"{'nodes' if nodes.value != '1' else 'node'} ({tasks.rule}, "
                f"{nodes.rule}), and elaunch is one agent per node, which starts the "
                f"workers of its node: use srun --ntasks-per-node=1 elaunch run "
                f"--nproc-per-node N, or --standalone if each task is a job of its own",
            )
        values = {"rdzv_id": _run_id(environment, job, step)}
        if nodes:
            values["nnodes"] = nodes
        rank = number(environment, "SLURM_NODEID")
        if rank is not None:
            values["node_rank"] = Suggestion(str(rank), "SLURM_NODEID")
        first = _first_host(environment)
        if first:
            values["rdzv_endpoint"] = Suggestion(
                endpoint(first.value, port_of(job, step)),
                f"first host of {first.rule}; port by SLURM_JOB_ID and SLURM_STEP_ID",
            )
        return Detected(
            scheduler="Slurm", values={**values, **_workers(environment, _GPUS)}
        )


def _outside(environment: Mapping[str, str], job: int) -> Detected:
    """Tell of this node alone: nobody has started an agent on the others."""
    nodes = counted(environment, ("SLURM_NNODES", "SLURM_JOB_NUM_NODES"))
    notes = _alone(nodes) if nodes and nodes.value != "1" else ()
    values = {"rdzv_id": _run_id(environment, job, None)}
    return Detected(
        scheduler="Slurm",
        values={**values, **_workers(environment, _HERE)},
        notes=notes,
    )


def _alone(nodes: Suggestion) -> tuple[str, ...]:
    note = (
        f"Slurm gave this job {nodes.value} nodes ({nodes.rule}), and this agent runs "
        f"alone on one of them: to use all of them, "
        f"srun --ntasks-per-node=1 elaunch run ..."
    )
    return (note,)


def _run_id(environment: Mapping[str, str], job: int, step: int | None) -> Suggestion:
    restarts = number(environment, "SLURM_RESTART_COUNT")
    parts = [("SLURM_JOB_ID", str(job))]
    if step is not None:
        parts.append(("SLURM_STEP_ID", f".{step}"))
    if restarts:
        parts.append(("SLURM_RESTART_COUNT", f".r{restarts}"))
    return Suggestion(
        "".join(text for _, text in parts), ", ".join(name for name, _ in parts)
    )


def _first_host(environment: Mapping[str, str]) -> Suggestion | None:
    name = first_set(environment, _LISTS)
    try:
        return Suggestion(read_hosts(environment[name]).first, name) if name else None
    except ValueError:
        return None


def _workers(
    environment: Mapping[str, str], names: Sequence[str]
) -> dict[str, Suggestion]:
    """Return the GPUs of this node, if there are any and their number is known."""
    for name in names:
        found = _AMOUNT.fullmatch(environment.get(name, "").strip())
        if found and int(found[1]):
            return {"nproc_per_node": Suggestion(str(int(found[1])), name)}
    return {}
