"""Kubernetes: Indexed Jobs, JobSets and the variables of a PyTorchJob."""

import re
from collections.abc import Mapping

import attrs

from elaunch.api import Detected, Suggestion
from elaunch.schedulers.reading import endpoint, id_of, number


VARIABLES: Mapping[str, str] = {
    "KUBERNETES_SERVICE_HOST": "a pod of Kubernetes",
    "JOB_COMPLETION_INDEX": "`--node-rank` in an Indexed Job: its pods are the nodes",
    "JOBSET_NAME": "a pod of a JobSet: `--rdzv-id`, and part of the endpoint's host",
    "REPLICATED_JOB_NAME": "part of the endpoint's host in a JobSet",
    "JOB_INDEX": "which job of the JobSet's replicated job: that of 0 has ranks",
    "JOBSET_SUBDOMAIN": "the JobSet's network subdomain where it is not its name",
    "JOBSET_RESTART_ATTEMPT": "part of the id, so that a restarted JobSet is a new job",
}
"""What is read, and what it is for."""

REPLICA = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK")
"""What a replica of a PyTorchJob has; a worker of a launcher has it, too, and more."""

PORT = 29400
"""Port of the endpoint: a pod has an address of its own, so nobody else is there."""


@attrs.frozen
class Kubernetes:
    """Reads the variables of a pod.

    Attributes:
        host: Host name of the pod.
    """

    host: str

    def detect(self, environment: Mapping[str, str]) -> Detected | None:
        """Return what a pod of one of these kinds is told."""
        if "JOBSET_NAME" in environment and environment.get("REPLICATED_JOB_NAME"):
            return self._job_set(environment)
        if _is_replica(environment):
            return self._replica(environment)
        if number(environment, "JOB_COMPLETION_INDEX") is not None:
            return self._indexed(environment)
        return None

    def _indexed(self, environment: Mapping[str, str]) -> Detected:
        index = environment["JOB_COMPLETION_INDEX"].strip()
        values = {"node_rank": Suggestion(index, "JOB_COMPLETION_INDEX")}
        name = self.host.removesuffix(f"-{index}")
        if name != self.host:
            first = f"{name}-0.{name}"
            values["rdzv_id"] = Suggestion(id_of(name), "name of the job")
            values["rdzv_endpoint"] = Suggestion(
                endpoint(first, PORT),
                "pod of index 0, in a headless service of the job's name",
            )
        return Detected(scheduler="Kubernetes", values=values, notes=_alone(int(index)))

    def _job_set(self, environment: Mapping[str, str]) -> Detected:
        name, job = environment["JOBSET_NAME"], environment["REPLICATED_JOB_NAME"]
        subdomain = environment.get("JOBSET_SUBDOMAIN") or name
        attempt = number(environment, "JOBSET_RESTART_ATTEMPT")
        restarted = f".r{attempt}" if attempt else ""
        values = {
            "rdzv_id": Suggestion(
                id_of(f"{name}-{job}{restarted}"), "JOBSET_NAME, REPLICATED_JOB_NAME"
            ),
            "rdzv_endpoint": Suggestion(
                endpoint(f"{name}-{job}-0-0.{subdomain}", PORT),
                "first pod of REPLICATED_JOB_NAME in JOBSET_NAME",
            ),
        }
        index = number(environment, "JOB_COMPLETION_INDEX")
        # Pods of a second job are counted from 0 again.
        if index is not None and not number(environment, "JOB_INDEX"):
            values["node_rank"] = Suggestion(str(index), "JOB_COMPLETION_INDEX")
        return Detected(scheduler="JobSet", values=values, notes=_alone(index or 0))

    def _replica(self, environment: Mapping[str, str]) -> Detected:
        rank = number(environment, "RANK")
        nodes = number(environment, "WORLD_SIZE") or 0
        address, rule = environment["MASTER_ADDR"], "MASTER_ADDR"
        if address == "localhost" and rank == 0:
            # So does the old operator name the first to itself.
            address, rule = self.host, "host name of the pod of RANK 0"
        values = {
            "nnodes": Suggestion(str(nodes), "WORLD_SIZE of a replica"),
            "node_rank": Suggestion(str(rank), "RANK of a replica"),
            "rdzv_endpoint": Suggestion(
                endpoint(address, number(environment, "MASTER_PORT") or PORT),
                f"{rule} and MASTER_PORT of a replica",
            ),
        }
        name = re.fullmatch(r"(.+)-(?:master|worker)-[0-9]+", self.host)
        if name:
            values["rdzv_id"] = Suggestion(id_of(name[1]), "name of the PyTorchJob")
        return Detected(scheduler="PyTorchJob", values=values)


def _alone(index: int) -> tuple[str, ...]:
    """Tell a pod of several that it is: nothing says how many there are."""
    if not index:
        return ()
    note = (
        f"this pod has index {index} (JOB_COMPLETION_INDEX), so its job has several, "
        f"and this agent runs alone in one of them: to use all of them, give --nnodes"
    )
    return (note,)


def _is_replica(environment: Mapping[str, str]) -> bool:
    """Whether this is a pod of a PyTorchJob, and no worker that a launcher started."""
    if "KUBERNETES_SERVICE_HOST" not in environment or "LOCAL_RANK" in environment:
        return False
    if number(environment, "RANK") is None or not number(environment, "WORLD_SIZE"):
        return False
    # Newer operators count workers in it, and say what is meant in variables of PET_.
    several = environment.get("PET_NPROC_PER_NODE", "1") != "1"
    return not several and all(environment.get(name) for name in REPLICA)
