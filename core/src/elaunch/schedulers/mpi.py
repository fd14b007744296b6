"""MPI: what ``mpirun`` and ``mpiexec`` tell a process, one to a node."""

import re
from collections.abc import Iterator, Mapping

import attrs

from elaunch.api import Detected, Suggestion
from elaunch.schedulers.hostlist import read_hosts
from elaunch.schedulers.pbs import hosts_of, job_number
from elaunch.schedulers.reading import counted, endpoint, id_of, number, port_of


@attrs.frozen
class Flavour:
    """The variables of one family of launchers.

    Attributes:
        name: Name of the family.
        rank: Variable with the rank of the process.
        size: Variable with the number of processes.
        local_sizes: Variables of which one has the number of processes on this node.
        one_per_node: Flags that start one process on each node.
    """

    name: str
    rank: str
    size: str
    local_sizes: tuple[str, ...]
    one_per_node: str


FLAVOURS = (
    Flavour(
        "Open MPI",
        "OMPI_COMM_WORLD_RANK",
        "OMPI_COMM_WORLD_SIZE",
        ("OMPI_COMM_WORLD_LOCAL_SIZE",),
        "mpirun --map-by ppr:1:node",
    ),
    Flavour(
        "MVAPICH2",
        "MV2_COMM_WORLD_RANK",
        "MV2_COMM_WORLD_SIZE",
        ("MV2_COMM_WORLD_LOCAL_SIZE",),
        "mpiexec -ppn 1",
    ),
    Flavour(
        "MPI",
        "PMI_RANK",
        "PMI_SIZE",
        ("MPI_LOCALNRANKS", "PMI_LOCAL_SIZE"),
        "mpiexec -ppn 1",
    ),
)
"""The families; the last is MPICH, Intel MPI and Cray's, by the variables of PMI."""

VARIABLES: Mapping[str, str] = {
    **{flavour.rank: f"`--node-rank` ({flavour.name})" for flavour in FLAVOURS},
    **{flavour.size: f"`--nnodes` ({flavour.name})" for flavour in FLAVOURS},
    **{
        name: "processes of this node: more than one can't be agents"
        for flavour in FLAVOURS
        for name in flavour.local_sizes
    },
    "PMIX_NAMESPACE": "`--rdzv-id`; with Open MPI 5 names the host of `mpirun`",
    "OMPI_MCA_ess_base_jobid": "`--rdzv-id` with Open MPI 4",
    "OMPI_MCA_orte_hnp_uri": "address of `mpirun` with Open MPI 4",
}
"""What is read, and what it is for."""

_LISTS = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST")
_SERVER = re.compile(r"prterun-(.+)-[0-9]+@[0-9]+")
_ADDRESSES = re.compile(r"tcp6?://([^:;/]+|\[[^\]]+\]):[0-9]+")


@attrs.frozen
class Mpi:
    """Reads what a launcher of MPI tells."""

    def detect(self, environment: Mapping[str, str]) -> Detected | None:
        """Return what a process is told, of which there is one on each node."""
        for flavour in FLAVOURS:
            rank = number(environment, flavour.rank)
            size = number(environment, flavour.size)
            here = counted(environment, flavour.local_sizes)
            if rank is not None and size and here:
                return _detected(flavour, environment, rank, size, here)
        return None


def _detected(
    flavour: Flavour,
    environment: Mapping[str, str],
    rank: int,
    size: int,
    here: Suggestion,
) -> Detected:
    if here.value != "1":
        return Detected(
            scheduler=flavour.name,
            problem=f"{here.value} processes were started on this node "
            f"({here.rule}), and elaunch is one agent per node, which starts the "
            f"workers of its node: use {flavour.one_per_node} elaunch run "
            f"--nproc-per-node N, or --standalone if each process is a job of its own",
        )
    values = {
        "nnodes": Suggestion(str(size), flavour.size),
        "node_rank": Suggestion(str(rank), flavour.rank),
    }
    job = next(_jobs(environment), None)
    if job:
        name, text, port = job
        values["rdzv_id"] = Suggestion(id_of(text), name)
        first = next(_first_hosts(environment, size), None)
        if first:
            values["rdzv_endpoint"] = Suggestion(
                endpoint(first.value, port), f"{first.rule}; port by {name}"
            )
    return Detected(scheduler=flavour.name, values=values)


def _jobs(environment: Mapping[str, str]) -> Iterator[tuple[str, str, int]]:
    """Yield what identifies the job: variable, id and port."""
    for name in ("PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid", "SLURM_JOB_ID"):
        text = environment.get(name, "")
        if text:
            numbers = re.findall(r"[0-9]+", text)
            yield name, text, port_of(sum(map(int, (n[-9:] for n in numbers[-2:]))))
    text = environment.get("PBS_JOBID", "")
    if text:
        yield "PBS_JOBID", text, port_of(job_number(text))


def _first_hosts(environment: Mapping[str, str], size: int) -> Iterator[Suggestion]:
    """Yield hosts that run an agent: the first of an allocation that is used whole."""
    for name in _LISTS:
        try:
            hosts = read_hosts(environment[name])
        except (KeyError, ValueError):
            continue
        if hosts.count == size:
            yield Suggestion(hosts.first, f"first host of {name}")
    listed = hosts_of(environment)
    if len(listed) == size:
        yield Suggestion(listed[0], "first host of PBS_NODEFILE")
    server = _SERVER.fullmatch(environment.get("PMIX_NAMESPACE", ""))
    if server:
        yield Suggestion(server[1], "host of mpirun (PMIX_NAMESPACE)")
    found = _ADDRESSES.search(environment.get("OMPI_MCA_orte_hnp_uri", ""))
    for address in found[1].strip("[]").split(",") if found else ():
        if not address.startswith("127.") and address != "::1":
            yield Suggestion(address, "host of mpirun (OMPI_MCA_orte_hnp_uri)")
